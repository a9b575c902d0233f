"""What is compared: baselines and floor, the autoencoder's ceiling, and every row's scores.

in:  datasets/{dataset}/index.json, autoencoders/…/finetuned/, predictions/{row}/seed{seed}/
out: predictions/{row}/seed{seed}/index.json, evaluation/{row}/seed{seed}/index.json
"""


rule predict_baseline:
    """Predict the test clips without learning; "real" is the floor: other real clips."""
    input:
        settings="settings/predict_baseline/{dataset}.json",
        dataset="datasets/{dataset}/index.json",
    output:
        predictions="predictions/{dataset}.{baseline}/seed0/index.json",
        record="predictions/{dataset}.{baseline}/seed0/run.json",
    log:
        "predictions/{dataset}.{baseline}/seed0/log.txt",
    benchmark:
        "predictions/{dataset}.{baseline}/seed0/benchmark.tsv"
    conda:
        "../../envs/rsvp.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime="12h",
    params:
        code=code_digest("rsvp.predict_baseline"),
    message:
        "Predict {wildcards.dataset} by {wildcards.baseline}"
    shell:
        '"$PYTHON" -m rsvp.predict_baseline'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --baseline {wildcards.baseline}"
        " --predictions {output.predictions}"
        " --record {output.record}"
        " --code {params.code}"
        " --log {log}"


rule reconstruct:
    """Reconstruct the test clips: no predictor on this autoencoder can do better."""
    input:
        settings="settings/reconstruct/{autoencoder}/seed{seed}.json",
        dataset=PLAN.dataset,
        autoencoder="autoencoders/{autoencoder}/seed{seed}/finetuned/index.json",
        weights=ancient("autoencoders/{autoencoder}/seed{seed}/finetuned/weights.safetensors"),
    output:
        predictions="predictions/{autoencoder}.reconstruction/seed{seed}/index.json",
        record="predictions/{autoencoder}.reconstruction/seed{seed}/run.json",
    log:
        "predictions/{autoencoder}.reconstruction/seed{seed}/log.txt",
    benchmark:
        "predictions/{autoencoder}.reconstruction/seed{seed}/benchmark.tsv"
    conda:
        "../../envs/rsvp.yaml"
    threads: PLAN.threads
    resources:
        gpu=PLAN.gpu,
        mem_mb=16000,
        runtime="12h",
    params:
        code=code_digest("rsvp.reconstruct"),
    message:
        "Reconstruct with {wildcards.autoencoder} (seed {wildcards.seed})"
    shell:
        '"$PYTHON" -m rsvp.reconstruct'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --autoencoder {input.autoencoder}"
        " --predictions {output.predictions}"
        " --record {output.record}"
        " --code {params.code}"
        " --log {log}"


rule evaluate:
    """Score one row: frame by frame against the truth, and as a distribution."""
    input:
        settings=PLAN.evaluate_settings,
        dataset=PLAN.dataset,
        predictions="predictions/{row}/seed{seed}/index.json",
    output:
        index="evaluation/{row}/seed{seed}/index.json",
        scores="evaluation/{row}/seed{seed}/scores.parquet",
        features="evaluation/{row}/seed{seed}/features.safetensors",
        record="evaluation/{row}/seed{seed}/run.json",
    log:
        "evaluation/{row}/seed{seed}/log.txt",
    benchmark:
        "evaluation/{row}/seed{seed}/benchmark.tsv"
    conda:
        "../../envs/rsvp.yaml"
    threads: 1
    resources:
        gpu=PLAN.gpu,
        mem_mb=8000,
        runtime="24h",
    params:
        weights=PLAN.weights,
        code=code_digest("rsvp.evaluate"),
    message:
        "Evaluate {wildcards.row} (seed {wildcards.seed})"
    shell:
        '"$PYTHON" -m rsvp.evaluate'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --predictions {input.predictions}"
        " --index {output.index}"
        " --scores {output.scores}"
        " --features {output.features}"
        " --record {output.record}"
        " --code {params.code}"
        " --log {log}"
