"""The report on everything that the config names.

in:  evaluation/, predictions/, histories and run records of all stages
out: report/report.html, report/tables/, report/plots/
"""

REPORT_TABLES = {
    "results": "results",
    "horizon": "by future frame",
    "comparisons": "comparisons",
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
        records=ancient(PLAN.report_inputs["records"]),
    output:
        page=report(
            "report/report.html",
            caption="../report/page.rst",
            category="Report",
            labels={"what": "the whole report"},
        ),
        tables=[
            report(
                f"report/tables/{name}.csv",
                caption=f"../report/{name}.rst",
                category="Tables",
                labels={"table": label},
            )
            for name, label in REPORT_TABLES.items()
        ],
        verdict="report/verdict.txt",
        formats=expand(
            "report/tables/{name}.{format}", name=REPORT_TABLES, format=["parquet", "md", "tex"]
        ),
        plots=[
            report(
                f"report/plots/{name}.svg",
                caption=f"../report/{name}.rst",
                category="Plots",
                labels={"plot": label},
            )
            for name, label in REPORT_PLOTS.items()
        ],
        record="report/run.json",
    log:
        "report/log.txt",
    benchmark:
        "report/benchmark.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    message:
        "Write the report"
    shell:
        'exec "$PYTHON" -m rsvp.stages.report'
        " --settings {input.settings}"
        " --inputs .snakemake/rsvp/report.inputs.json"
        " --folder report"
        " --record {output.record}"
        " --log {log}"
