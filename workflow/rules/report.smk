"""The report on everything that the config names.

in:  evaluation/, predictions/, histories and run records of all stages
out: report/report.html, report/tables/, report/plots/
"""


rule report:
    """Write the tables, the plots and one page that holds them all."""
    input:
        settings="settings/report/report.json",
        evaluations=expand("evaluation/{row}/index.json", row=PLAN.rows),
        predictions=expand("predictions/{row}/index.json", row=PLAN.rows),
        semantics=expand("{folder}/index.json", folder=PLAN.semantics_folders),
        copies=expand("memorisation/{dataset}/index.json", dataset=PLAN.datasets),
        histories=expand("{folder}/history.csv", folder=PLAN.trained_folders),
        # A note in a run record alone (`make accept`) makes no report stale.
        records=ancient(expand("{folder}/run.json", folder=PLAN.all_folders)),
        datasets=expand("datasets/{dataset}/index.json", dataset=PLAN.datasets),
    output:
        page=report(
            "report/report.html",
            caption="../report/page.rst",
            category="Report",
            labels={"what": "the whole report"},
        ),
        results=report(
            "report/tables/results.csv",
            caption="../report/results.rst",
            category="Tables",
            labels={"table": "results"},
        ),
        results_more=multiext("report/tables/results", ".parquet", ".md", ".tex"),
        horizon=report(
            "report/tables/horizon.csv",
            caption="../report/horizon.rst",
            category="Tables",
            labels={"table": "by future frame"},
        ),
        horizon_more=multiext("report/tables/horizon", ".parquet", ".md", ".tex"),
        comparisons=report(
            "report/tables/comparisons.csv",
            caption="../report/comparisons.rst",
            category="Tables",
            labels={"table": "comparisons"},
        ),
        comparisons_more=multiext("report/tables/comparisons", ".parquet", ".md", ".tex"),
        curves=report(
            "report/tables/curves.csv",
            caption="../report/curves.rst",
            category="Tables",
            labels={"table": "distances by number of clips"},
        ),
        curves_more=multiext("report/tables/curves", ".parquet", ".md", ".tex"),
        decomposition=report(
            "report/tables/decomposition.csv",
            caption="../report/decomposition.rst",
            category="Tables",
            labels={"table": "scene, object and motion"},
        ),
        decomposition_more=multiext("report/tables/decomposition", ".parquet", ".md", ".tex"),
        memorisation=report(
            "report/tables/memorisation.csv",
            caption="../report/memorisation.rst",
            category="Tables",
            labels={"table": "nearest training clips"},
        ),
        memorisation_more=multiext("report/tables/memorisation", ".parquet", ".md", ".tex"),
        budgets=report(
            "report/tables/budgets.csv",
            caption="../report/budgets.rst",
            category="Tables",
            labels={"table": "budgets"},
        ),
        budgets_more=multiext("report/tables/budgets", ".parquet", ".md", ".tex"),
        cost=report(
            "report/tables/cost.csv",
            caption="../report/cost.rst",
            category="Tables",
            labels={"table": "cost"},
        ),
        cost_more=multiext("report/tables/cost", ".parquet", ".md", ".tex"),
        horizon_plot=report(
            "report/plots/horizon.svg",
            caption="../report/horizon.rst",
            category="Plots",
            labels={"plot": "by future frame"},
        ),
        curves_plot=report(
            "report/plots/curves.svg",
            caption="../report/curves.rst",
            category="Plots",
            labels={"plot": "distances by number of clips"},
        ),
        learning_plot=report(
            "report/plots/learning.svg",
            caption="../report/learning.rst",
            category="Plots",
            labels={"plot": "learning curves"},
        ),
        copies_plot=report(
            "report/plots/copies.svg",
            caption="../report/copies.rst",
            category="Plots",
            labels={"plot": "nearest training clips"},
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
        *code_files("rsvp.stages.report"),
        code=planned_code("rsvp.stages.report"),
    message:
        "Write the report"
    shell:
        '"$PYTHON" -m rsvp.stages.report'
        " --settings {input.settings}"
        " --evaluations {input.evaluations}"
        " --predictions {input.predictions}"
        " --semantics {input.semantics}"
        " --copies {input.copies}"
        " --histories {input.histories}"
        " --records {input.records}"
        " --datasets {input.datasets}"
        " --page {output.page}"
        " --results {output.results} {output.results_more}"
        " --horizon {output.horizon} {output.horizon_more}"
        " --comparisons {output.comparisons} {output.comparisons_more}"
        " --curves {output.curves} {output.curves_more}"
        " --decomposition {output.decomposition} {output.decomposition_more}"
        " --memorisation {output.memorisation} {output.memorisation_more}"
        " --budgets {output.budgets} {output.budgets_more}"
        " --cost {output.cost} {output.cost_more}"
        " --horizon-plot {output.horizon_plot}"
        " --curves-plot {output.curves_plot}"
        " --learning-plot {output.learning_plot}"
        " --copies-plot {output.copies_plot}"
        " --record {output.record}"
        " --code {params.code}"
        " --log {log}"
