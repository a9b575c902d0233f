"""Comparison: baselines and floor, the autoencoder's ceiling, and every row's scores.

in:  datasets/{dataset}/index.json, autoencoders/…/finetuned/, predictions/{row}/seed{seed}/
out: predictions/{row}/seed{seed}/index.json, real_features/{dataset}/index.json,
     evaluation/{row}/seed{seed}/index.json, semantics/{autoencoder}/seed{seed}/index.json,
     memorisation/{dataset}/index.json
"""


rule predict_baseline:
    """Predict the test clips without learning; "real" is the floor: other real clips."""
    input:
        unpack(PLAN.handed("predict_baseline")),
    output:
        predictions="{side}predictions/{dataset}.{baseline}/seed0/index.json",
        record="{side}predictions/{dataset}.{baseline}/seed0/run.json",
    log:
        "{side}predictions/{dataset}.{baseline}/seed0/log.txt",
    benchmark:
        "{side}predictions/{dataset}.{baseline}/seed0/benchmark.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    params:
        state="{side}predictions/{dataset}.{baseline}/seed0/state",
    message:
        "Predict {wildcards.dataset} by {wildcards.baseline}"
    shell:
        'exec "$PYTHON" -m rsvp.stages.predict_baseline'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --baseline {wildcards.baseline}"
        " --state {params.state}"
        " --predictions {output.predictions}"
        " --record {output.record}"
        " --log {log}"


rule reconstruct:
    """Reconstruct the test clips: no predictor on this autoencoder can do better."""
    input:
        unpack(PLAN.handed("reconstruct")),
        weights=ancient("autoencoders/{autoencoder}/seed{seed}/finetuned/weights.safetensors"),
    output:
        predictions="{side}predictions/{autoencoder}.reconstruction/seed{seed}/index.json",
        record="{side}predictions/{autoencoder}.reconstruction/seed{seed}/run.json",
    log:
        "{side}predictions/{autoencoder}.reconstruction/seed{seed}/log.txt",
    benchmark:
        "{side}predictions/{autoencoder}.reconstruction/seed{seed}/benchmark.tsv"
    conda:
        ENVIRONMENT
    threads: PLAN.threads
    resources:
        gpu=PLAN.gpu,
    params:
        state="{side}predictions/{autoencoder}.reconstruction/seed{seed}/state",
    message:
        "Reconstruct with {wildcards.autoencoder} (seed {wildcards.seed})"
    shell:
        'exec "$PYTHON" -m rsvp.stages.reconstruct'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --autoencoder {input.autoencoder}"
        " --state {params.state}"
        " --predictions {output.predictions}"
        " --record {output.record}"
        " --log {log}"


rule real_features:
    """Compute the features of the real test clips, once for all rows."""
    input:
        unpack(PLAN.handed("real_features")),
    output:
        index="{side}real_features/{dataset}/index.json",
        features="{side}real_features/{dataset}/features.safetensors",
        record="{side}real_features/{dataset}/run.json",
    log:
        "{side}real_features/{dataset}/log.txt",
    benchmark:
        "{side}real_features/{dataset}/benchmark.tsv"
    conda:
        ENVIRONMENT
    threads: PLAN.measuring_threads
    resources:
        gpu=PLAN.gpu,
    params:
        state="{side}real_features/{dataset}/state",
    message:
        "Compute features of the real clips of {wildcards.dataset}"
    shell:
        'exec "$PYTHON" -m rsvp.stages.real_features'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --state {params.state}"
        " --index {output.index}"
        " --features {output.features}"
        " --record {output.record}"
        " --log {log}"


rule evaluate:
    """Score one row: frame by frame against the truth, and as a distribution."""
    input:
        unpack(PLAN.handed("evaluate")),
    output:
        index="{side}evaluation/{row}/seed{seed}{part}/index.json",
        scores="{side}evaluation/{row}/seed{seed}{part}/scores.parquet",
        features="{side}evaluation/{row}/seed{seed}{part}/features.safetensors",
        record="{side}evaluation/{row}/seed{seed}{part}/run.json",
    log:
        "{side}evaluation/{row}/seed{seed}{part}/log.txt",
    benchmark:
        "{side}evaluation/{row}/seed{seed}{part}/benchmark.tsv"
    conda:
        ENVIRONMENT
    threads: PLAN.measuring_threads
    resources:
        gpu=PLAN.gpu,
    params:
        state="{side}evaluation/{row}/seed{seed}{part}/state",
    message:
        "Evaluate {wildcards.row} (seed {wildcards.seed}{wildcards.part})"
    shell:
        'exec "$PYTHON" -m rsvp.stages.evaluate'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --predictions {input.predictions}"
        " --real {input.real}"
        " --shares {input.shares}"
        " --state {params.state}"
        " --index {output.index}"
        " --scores {output.scores}"
        " --features {output.features}"
        " --record {output.record}"
        " --log {log}"


rule measure_semantics:
    """Measure and show what scene, object and motion of an autoencoder mean."""
    input:
        unpack(PLAN.handed("measure_semantics")),
        weights=ancient("autoencoders/{autoencoder}/seed{seed}/finetuned/weights.safetensors"),
    output:
        index="{side}semantics/{autoencoder}/seed{seed}/index.json",
        scores="{side}semantics/{autoencoder}/seed{seed}/scores.parquet",
        record="{side}semantics/{autoencoder}/seed{seed}/run.json",
    log:
        "{side}semantics/{autoencoder}/seed{seed}/log.txt",
    benchmark:
        "{side}semantics/{autoencoder}/seed{seed}/benchmark.tsv"
    conda:
        ENVIRONMENT
    threads: PLAN.measuring_threads
    resources:
        gpu=PLAN.gpu,
    message:
        "Measure the semantics of {wildcards.autoencoder} (seed {wildcards.seed})"
    shell:
        'exec "$PYTHON" -m rsvp.stages.measure_semantics'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --autoencoder {input.autoencoder}"
        " --latents {input.latents}"
        " --index {output.index}"
        " --scores {output.scores}"
        " --record {output.record}"
        " --log {log}"


rule check_memorisation:
    """Check whether the predictors on a dataset copy its training clips."""
    input:
        unpack(PLAN.handed("check_memorisation")),
    output:
        index="{side}memorisation/{dataset}/index.json",
        record="{side}memorisation/{dataset}/run.json",
    log:
        "{side}memorisation/{dataset}/log.txt",
    benchmark:
        "{side}memorisation/{dataset}/benchmark.tsv"
    conda:
        ENVIRONMENT
    threads: PLAN.measuring_threads
    resources:
        gpu=PLAN.gpu,
    params:
        state="{side}memorisation/{dataset}/state",
    message:
        "Check predictions on {wildcards.dataset} for copies"
    shell:
        'exec "$PYTHON" -m rsvp.stages.check_memorisation'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --inputs .snakemake/rsvp/{wildcards.side}memorisation/{wildcards.dataset}.inputs.json"
        " --state {params.state}"
        " --index {output.index}"
        " --record {output.record}"
        " --log {log}"
