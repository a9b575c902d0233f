"""rsvp: from a folder of videos to a trained video predictor and a report. See README.md."""

import os
import sys

sys.path[:0] = [workflow.basedir, f"{workflow.basedir}/workflow"]

from config_file import read_config_file
from jobs import ASIDE
from plan import Plan
from session import (
    ENVIRONMENT,
    await_orphans,
    begin,
    check_wanted,
    forget_journals,
    hold_results,
    is_held,
    limit_gpus,
    print_failures,
    print_verdict,
    run_own_code,
    speak_of,
    stop_in_one_line,
    use_scratch,
)
from terminal import show_jobs

from rsvp.runtime.code import keep_sources

begin(workflow.is_main_process)
with stop_in_one_line():
    for file in workflow.overwrite_configfiles or ["config.yaml"]:
        read_config_file(file)

# Files named by --configfile replace config.yaml; Snakemake would merge the two. The path is
# absolute since `snakemake --report` reads it again from the results folder.
if not workflow.overwrite_configfiles:

    configfile: os.path.abspath("config.yaml")


with stop_in_one_line():
    PLAN = Plan(config, os.getcwd(), looks=workflow.is_main_process)
run_own_code(PLAN, workflow.is_main_process)
with stop_in_one_line():
    if workflow.is_main_process:
        if is_held(PLAN.results):
            PLAN.state.jobs = ASIDE
        speak_of(PLAN)
        show_jobs(PLAN.why, is_dry=workflow.output_settings.dryrun)
        keep_sources()
        limit_gpus(workflow)
    else:
        check_wanted(PLAN.results)


workdir: PLAN.results


report: "workflow/report/workflow.rst"


# Names hold no dot, so that "rsvp.reconstruction" and "shapes.copy-last" are told from predictors.
wildcard_constraints:
    side=f"(?:{PLAN.side})",
    dataset=r"[\w-]+",
    autoencoder=r"[\w-]+",
    predictor=r"[\w-]+",
    baseline=r"(?!reconstruction)[\w-]+",
    row=r"[\w-]+(\.[\w-]+)?",
    share=r"\d+",
    part=r"(/shares/\d+)?",
    seed=r"\d+",


localrules:
    all,


include: "workflow/rules/data.smk"
include: "workflow/rules/autoencoder.smk"
include: "workflow/rules/diffusion.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/report.smk"


rule all:
    """Everything up to the report, and each predictor in a folder of its own."""
    default_target: True
    input:
        f"{PLAN.side}report/report.html",
        PLAN.bundles,


onstart:
    hold_results()
    await_orphans(PLAN)
    use_scratch(PLAN)


onsuccess:
    forget_journals(PLAN)
    print_verdict(PLAN)


onerror:
    forget_journals(PLAN)
    print_failures(PLAN)
