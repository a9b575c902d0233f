"""Videos become clips.

in:  a folder of videos (datasets.*.path), or nothing for a generated set
out: datasets/{dataset}/index.json with clips.csv, videos.csv, rejected.csv;
     the frames lie beside datasets/{dataset}/frames/{share}/index.json
"""


rule generate_videos:
    """Make the videos of a generated set, with the truth about their objects."""
    input:
        unpack(PLAN.handed("generate_videos")),
    output:
        index="datasets/{dataset}/videos/index.json",
        record="datasets/{dataset}/videos/run.json",
    log:
        "datasets/{dataset}/videos/log.txt",
    benchmark:
        "datasets/{dataset}/videos/benchmark.tsv"
    conda:
        ENVIRONMENT
    threads: 8
    message:
        "Generate the videos of {wildcards.dataset}"
    shell:
        'exec "$PYTHON" -m rsvp.stages.generate_videos'
        " --settings {input.settings}"
        " --jobs {threads}"
        " --index {output.index}"
        " --record {output.record}"
        " --log {log}"


rule decode:
    """Decode one share of the videos into small frames, each stored once."""
    input:
        unpack(PLAN.handed("decode")),
    output:
        index="datasets/{dataset}/frames/{share}/index.json",
        record="datasets/{dataset}/frames/{share}/run.json",
    log:
        "datasets/{dataset}/frames/{share}/log.txt",
    benchmark:
        "datasets/{dataset}/frames/{share}/benchmark.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    params:
        state="datasets/{dataset}/frames/{share}/state",
        sources=PLAN.sources_flag,
    message:
        "Decode share {wildcards.share} of {wildcards.dataset}"
    shell:
        'exec "$PYTHON" -m rsvp.stages.decode'
        " --settings {input.settings}"
        " --share {wildcards.share}"
        " {params.sources}"
        " --state {params.state}"
        " --index {output.index}"
        " --record {output.record}"
        " --log {log}"


rule split:
    """Divide the videos into train, validation and test, and cut clips."""
    input:
        unpack(PLAN.handed("split")),
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
        ENVIRONMENT
    threads: 1
    params:
        frames="datasets/{dataset}/frames",
        videos=PLAN.videos_flag,
    message:
        "Split {wildcards.dataset} and cut clips"
    shell:
        'exec "$PYTHON" -m rsvp.stages.split'
        " --settings {input.settings}"
        " --frames {params.frames}"
        " {params.videos}"
        " --index {output.index}"
        " --clips {output.clips}"
        " --videos {output.videos}"
        " --rejected {output.rejected}"
        " --record {output.record}"
        " --log {log}"
