"""What is compared: baselines and floor, the autoencoder's ceiling, and every row's scores.

in:  datasets/{dataset}/index.json, autoencoders/…/finetuned/, predictions/{row}/seed{seed}/
out: predictions/{row}/seed{seed}/index.json, real_features/{dataset}/index.json,
     evaluation/{row}/seed{seed}/index.json, semantics/{autoencoder}/seed{seed}/index.json,
     memorisation/{dataset}/index.json
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
        *code_files("rsvp.stages.predict_baseline"),
        state="predictions/{dataset}.{baseline}/seed0/state",
        code=planned_code("rsvp.stages.predict_baseline"),
    message:
        "Predict {wildcards.dataset} by {wildcards.baseline}"
    shell:
        '"$PYTHON" -m rsvp.stages.predict_baseline'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --baseline {wildcards.baseline}"
        " --predictions {output.predictions}"
        " --state {params.state}"
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
        *code_files("rsvp.stages.reconstruct"),
        state="predictions/{autoencoder}.reconstruction/seed{seed}/state",
        code=planned_code("rsvp.stages.reconstruct"),
    message:
        "Reconstruct with {wildcards.autoencoder} (seed {wildcards.seed})"
    shell:
        '"$PYTHON" -m rsvp.stages.reconstruct'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --autoencoder {input.autoencoder}"
        " --predictions {output.predictions}"
        " --state {params.state}"
        " --record {output.record}"
        " --code {params.code}"
        " --log {log}"


rule real_features:
    """Compute the features of the real test clips, once for all rows."""
    input:
        settings="settings/real_features/{dataset}.json",
        dataset="datasets/{dataset}/index.json",
    output:
        index="real_features/{dataset}/index.json",
        features="real_features/{dataset}/features.safetensors",
        record="real_features/{dataset}/run.json",
    log:
        "real_features/{dataset}/log.txt",
    benchmark:
        "real_features/{dataset}/benchmark.tsv"
    conda:
        "../../envs/rsvp.yaml"
    threads: PLAN.measuring_threads
    resources:
        gpu=PLAN.gpu,
        mem_mb=8000,
        runtime="24h",
    params:
        *code_files("rsvp.stages.real_features"),
        weights=PLAN.detector,
        state="real_features/{dataset}/state",
        code=planned_code("rsvp.stages.real_features"),
    message:
        "Compute features of the real clips of {wildcards.dataset}"
    shell:
        '"$PYTHON" -m rsvp.stages.real_features'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --index {output.index}"
        " --features {output.features}"
        " --state {params.state}"
        " --record {output.record}"
        " --code {params.code}"
        " --log {log}"


rule evaluate:
    """Score one row: frame by frame against the truth, and as a distribution."""
    input:
        settings=PLAN.evaluate_settings,
        dataset=PLAN.dataset,
        real=PLAN.real_features,
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
    threads: PLAN.measuring_threads
    resources:
        gpu=PLAN.gpu,
        mem_mb=8000,
        runtime="24h",
    params:
        *code_files("rsvp.stages.evaluate"),
        weights=PLAN.weights,
        state="evaluation/{row}/seed{seed}/state",
        code=planned_code("rsvp.stages.evaluate"),
    message:
        "Evaluate {wildcards.row} (seed {wildcards.seed})"
    shell:
        '"$PYTHON" -m rsvp.stages.evaluate'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --predictions {input.predictions}"
        " --real {input.real}"
        " --index {output.index}"
        " --scores {output.scores}"
        " --features {output.features}"
        " --state {params.state}"
        " --record {output.record}"
        " --code {params.code}"
        " --log {log}"


rule measure_semantics:
    """Measure and show what scene, object and motion of an autoencoder mean."""
    input:
        settings="settings/measure_semantics/{autoencoder}/seed{seed}.json",
        dataset=PLAN.dataset,
        autoencoder="autoencoders/{autoencoder}/seed{seed}/finetuned/index.json",
        weights=ancient("autoencoders/{autoencoder}/seed{seed}/finetuned/weights.safetensors"),
        latents="autoencoders/{autoencoder}/seed{seed}/latents/index.json",
    output:
        index="semantics/{autoencoder}/seed{seed}/index.json",
        scores="semantics/{autoencoder}/seed{seed}/scores.parquet",
        record="semantics/{autoencoder}/seed{seed}/run.json",
    log:
        "semantics/{autoencoder}/seed{seed}/log.txt",
    benchmark:
        "semantics/{autoencoder}/seed{seed}/benchmark.tsv"
    conda:
        "../../envs/rsvp.yaml"
    threads: PLAN.measuring_threads
    resources:
        gpu=PLAN.gpu,
        mem_mb=16000,
        runtime="12h",
    params:
        *code_files("rsvp.stages.measure_semantics"),
        weights=PLAN.lpips,
        code=planned_code("rsvp.stages.measure_semantics"),
    message:
        "Measure the semantics of {wildcards.autoencoder} (seed {wildcards.seed})"
    shell:
        '"$PYTHON" -m rsvp.stages.measure_semantics'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --autoencoder {input.autoencoder}"
        " --latents {input.latents}"
        " --index {output.index}"
        " --scores {output.scores}"
        " --record {output.record}"
        " --code {params.code}"
        " --log {log}"


rule check_memorisation:
    """Check whether the predictors on a dataset copy its training clips."""
    input:
        settings="settings/check_memorisation/{dataset}.json",
        dataset="datasets/{dataset}/index.json",
        predictions=PLAN.predicted,
    output:
        index="memorisation/{dataset}/index.json",
        record="memorisation/{dataset}/run.json",
    log:
        "memorisation/{dataset}/log.txt",
    benchmark:
        "memorisation/{dataset}/benchmark.tsv"
    conda:
        "../../envs/rsvp.yaml"
    threads: PLAN.measuring_threads
    resources:
        gpu=PLAN.gpu,
        mem_mb=8000,
        runtime="12h",
    params:
        *code_files("rsvp.stages.check_memorisation"),
        weights=PLAN.i3d,
        state="memorisation/{dataset}/state",
        code=planned_code("rsvp.stages.check_memorisation"),
    message:
        "Check predictions on {wildcards.dataset} for copies"
    shell:
        '"$PYTHON" -m rsvp.stages.check_memorisation'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --predictions {input.predictions}"
        " --index {output.index}"
        " --state {params.state}"
        " --record {output.record}"
        " --code {params.code}"
        " --log {log}"
