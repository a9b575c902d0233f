"""The report on everything that the config names.

in:  evaluation/, predictions/, histories and run records of all stages
out: report/report.html, report/tables/, report/plots/
"""


from rsvp.runtime.files import write_json

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


rule report_inputs:
    """List the files that the report reads: too many for a command line."""
    output:
        "settings/report.inputs.json",
    log:
        "settings/report.inputs.log",
    params:
        inputs=PLAN.report_inputs,
    message:
        "Inputs of the report"
    run:
        write_json(output[0], params.inputs)


rule report:
    """Write the tables, the plots and one page that holds them all."""
    input:
        # A record alone makes no report stale.
        ancient(PLAN.report_inputs["records"]),
        *(path for kind in PLAN.report_inputs for path in PLAN.report_inputs[kind] if kind != "records"),
        settings="settings/report/report.json",
        inputs="settings/report.inputs.json",
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
        formats=expand("report/tables/{name}.{format}", name=REPORT_TABLES, format=["parquet", "md", "tex"]),
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
        "../../envs/rsvp.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime="1h",
    params:
        *code_files("rsvp.stages.report"),
        folder="report",
        code=planned_code("rsvp.stages.report"),
    message:
        "Write the report"
    shell:
        '"$PYTHON" -m rsvp.stages.report'
        " --settings {input.settings}"
        " --inputs {input.inputs}"
        " --folder {params.folder}"
        " --record {output.record}"
        " --code {params.code}"
        " --log {log}"
