"""Videos become clips.

in:  a folder of videos (datasets.*.path), or nothing for a generated set
out: datasets/{dataset}/index.json with clips.csv, videos.csv, rejected.csv;
     the frames lie beside datasets/{dataset}/frames/{share}/index.json
"""


rule settings:
    """Write the part of the config that one stage depends on; it changes with that part only."""
    output:
        "settings/{stage}/{name}.json",
    log:
        "settings/{stage}/{name}.log",
    wildcard_constraints:
        stage=r"\w+",
        name=r"[\w-]+(/seed\d+)?",
    conda:
        "../../envs/rsvp.yaml"
    params:
        settings=PLAN.settings,
    message:
        "Settings of {wildcards.stage} for {wildcards.name}"
    shell:
        r"printf '%s\n' {params.settings:q} > {output} 2> {log}"


rule generate_videos:
    """Make the videos of a generated set, with the truth about their objects."""
    input:
        settings="settings/generate_videos/{dataset}.json",
    output:
        index="datasets/{dataset}/videos/index.json",
        truth="datasets/{dataset}/videos/truth.json",
        record="datasets/{dataset}/videos/run.json",
    log:
        "datasets/{dataset}/videos/log.txt",
    benchmark:
        "datasets/{dataset}/videos/benchmark.tsv"
    conda:
        "../../envs/rsvp.yaml"
    threads: workflow.cores or 1
    resources:
        mem_mb=2000,
        runtime="1h",
    params:
        *code_files("rsvp.stages.generate_videos"),
        code=planned_code("rsvp.stages.generate_videos"),
    message:
        "Generate the videos of {wildcards.dataset}"
    shell:
        '"$PYTHON" -m rsvp.stages.generate_videos'
        " --settings {input.settings}"
        " --index {output.index}"
        " --truth {output.truth}"
        " --jobs {threads}"
        " --record {output.record}"
        " --code {params.code}"
        " --log {log}"


rule decode:
    """Decode one share of the videos into small frames, each stored once."""
    input:
        settings="settings/decode/{dataset}.json",
        videos_index=PLAN.videos_index,
    output:
        index="datasets/{dataset}/frames/{share}/index.json",
        record="datasets/{dataset}/frames/{share}/run.json",
    log:
        "datasets/{dataset}/frames/{share}/log.txt",
    benchmark:
        "datasets/{dataset}/frames/{share}/benchmark.tsv"
    conda:
        "../../envs/rsvp.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime="12h",
    params:
        *code_files("rsvp.stages.decode"),
        sources=PLAN.sources_flag,
        state="datasets/{dataset}/frames/{share}/state",
        code=planned_code("rsvp.stages.decode"),
    message:
        "Decode share {wildcards.share} of {wildcards.dataset}"
    shell:
        '"$PYTHON" -m rsvp.stages.decode'
        " --settings {input.settings}"
        " --share {wildcards.share}"
        " {params.sources}"
        " --index {output.index}"
        " --state {params.state}"
        " --record {output.record}"
        " --code {params.code}"
        " --log {log}"


rule split:
    """Divide the videos into train, validation and test, and cut clips."""
    input:
        settings="settings/split/{dataset}.json",
        shares=PLAN.shares,
        videos_index=PLAN.videos_index,
        lists=PLAN.lists,
    output:
        index="datasets/{dataset}/index.json",
        clips=report(
            "datasets/{dataset}/clips.csv",
            caption="../report/clips.rst",
            category="Data",
        ),
        videos=report(
            "datasets/{dataset}/videos.csv",
            caption="../report/videos.rst",
            category="Data",
        ),
        rejected=report(
            "datasets/{dataset}/rejected.csv",
            caption="../report/rejected.rst",
            category="Data",
        ),
        record="datasets/{dataset}/run.json",
    log:
        "datasets/{dataset}/log.txt",
    benchmark:
        "datasets/{dataset}/benchmark.tsv"
    conda:
        "../../envs/rsvp.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime="1h",
    params:
        *code_files("rsvp.stages.split"),
        videos=PLAN.videos_flag,
        code=planned_code("rsvp.stages.split"),
    message:
        "Split {wildcards.dataset} and cut clips"
    shell:
        '"$PYTHON" -m rsvp.stages.split'
        " --settings {input.settings}"
        " --shares {input.shares}"
        " {params.videos}"
        " --index {output.index}"
        " --clips {output.clips}"
        " --videos {output.videos}"
        " --rejected {output.rejected}"
        " --record {output.record}"
        " --code {params.code}"
        " --log {log}"
