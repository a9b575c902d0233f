"""The report on everything that the config names.

in:  evaluation/, predictions/, histories and run records of all stages
out: report/report.html, report/tables/, report/plots/
"""


rule report:
    """Write the tables, the plots and one page that holds them all."""
    input:
        settings="settings/report/report.json",
        evaluations=expand("evaluation/{row}/index.json", row=PLAN.rows),
        predictions=expand(
            "predictions/{predictor}/seed{seed}/index.json",
            predictor=PLAN.predictors,
            seed=PLAN.seeds,
        ),
        histories=expand("{folder}/history.csv", folder=PLAN.trained_folders),
        records=expand("{folder}/run.json", folder=PLAN.all_folders),
        datasets=expand("datasets/{dataset}/index.json", dataset=PLAN.datasets),
    output:
        page=report(
            "report/report.html",
            caption="../report/page.rst",
            category="Report",
        ),
        results=report(
            "report/tables/results.csv",
            caption="../report/results.rst",
            category="Tables",
        ),
        results_markdown="report/tables/results.md",
        horizon=report(
            "report/tables/horizon.csv",
            caption="../report/horizon.rst",
            category="Tables",
        ),
        comparisons=report(
            "report/tables/comparisons.csv",
            caption="../report/comparisons.rst",
            category="Tables",
        ),
        horizon_plot=report(
            "report/plots/horizon.svg",
            caption="../report/horizon.rst",
            category="Plots",
        ),
        learning_plot=report(
            "report/plots/learning.svg",
            caption="../report/learning.rst",
            category="Plots",
        ),
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
        code=code_digest("rsvp.report"),
    message:
        "Write the report"
    shell:
        '"$PYTHON" -m rsvp.report'
        " --settings {input.settings}"
        " --evaluations {input.evaluations}"
        " --predictions {input.predictions}"
        " --histories {input.histories}"
        " --records {input.records}"
        " --datasets {input.datasets}"
        " --page {output.page}"
        " --results {output.results}"
        " --results-markdown {output.results_markdown}"
        " --horizon {output.horizon}"
        " --comparisons {output.comparisons}"
        " --horizon-plot {output.horizon_plot}"
        " --learning-plot {output.learning_plot}"
        " --record {output.record}"
        " --code {params.code}"
        " --log {log}"
