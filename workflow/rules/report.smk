"""The report on everything that the config names, and each predictor as a folder of its own.

in:  evaluation/, predictions/, histories and run records of all stages
out: report/report.html, report/tables/, report/plots/, predictors/{predictor}/seed{seed}/bundle/
"""

REPORT_TABLES = {
    "results": "results",
    "horizon": "by future frame",
    "comparisons": "comparisons",
    "motion": "by motion of the truth",
    "curves": "distances by number of clips",
    "decomposition": "scene, object and motion",
    "memorisation": "nearest training clips",
    "budgets": "budgets",
    "cost": "cost",
}
REPORT_PLOTS = {
    "horizon": "by future frame",
    "curves": "distances by number of clips",
    "learning": "learning curves",
    "copies": "nearest training clips",
}


rule report:
    """Write the tables, the plots and one page that holds them all."""
    input:
        unpack(PLAN.handed("report")),
        # A record alone makes no report stale.
        records=ancient(PLAN.records),
    output:
        page=report(
            "{side}report/report.html",
            caption="../report/page.rst",
            category="Report",
            labels={"what": "the whole report"},
        ),
        tables=[
            report(
                f"{{side}}report/tables/{name}.csv",
                caption=f"../report/{name}.rst",
                category="Tables",
                labels={"table": label},
            )
            for name, label in REPORT_TABLES.items()
        ],
        verdict="{side}report/verdict.txt",
        formats=expand(
            "{{side}}report/tables/{name}.{format}",
            name=REPORT_TABLES,
            format=["parquet", "md", "tex"],
        ),
        plots=[
            report(
                f"{{side}}report/plots/{name}.svg",
                caption=f"../report/{name}.rst",
                category="Plots",
                labels={"plot": label},
            )
            for name, label in REPORT_PLOTS.items()
        ],
        record="{side}report/run.json",
    log:
        "{side}report/log.txt",
    benchmark:
        "{side}report/benchmark.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    message:
        "Write the report"
    shell:
        'exec "$PYTHON" -m rsvp.stages.report'
        " --settings {input.settings}"
        " --inputs .snakemake/rsvp/{wildcards.side}report.inputs.json"
        " --folder {wildcards.side}report"
        " --record {output.record}"
        " --log {log}"


rule bundle:
    """Gather a trained predictor in a folder that works by itself, with its model card."""
    input:
        unpack(PLAN.handed("bundle")),
        weights=ancient(PLAN.weights_below),
    output:
        config="{side}predictors/{predictor}/seed{seed}/bundle/config.json",
        card="{side}predictors/{predictor}/seed{seed}/bundle/README.md",
        record="{side}predictors/{predictor}/seed{seed}/bundle/run.json",
    log:
        "{side}predictors/{predictor}/seed{seed}/bundling/log.txt",
    benchmark:
        "{side}predictors/{predictor}/seed{seed}/bundling/benchmark.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    params:
        lock="{side}predictors/{predictor}/seed{seed}/bundling",
    message:
        "Bundle the predictor {wildcards.predictor} (seed {wildcards.seed})"
    shell:
        'exec "$PYTHON" -m rsvp.stages.bundle'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --autoencoder {input.autoencoder}"
        " --denoiser {input.denoiser}"
        " --predictions {input.predictions}"
        " --evaluations {input.evaluations}"
        " --lock {params.lock}"
        " --config {output.config}"
        " --card {output.card}"
        " --record {output.record}"
        " --log {log}"
