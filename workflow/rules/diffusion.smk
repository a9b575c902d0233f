"""Stage two: a diffusion model that continues the latents of one autoencoder.

in:  autoencoders/{autoencoder}/seed{seed}/latents/index.json
out: predictors/{predictor}/seed{seed}/, predictions/{row}/seed{seed}/index.json

Both go before what is measured meanwhile: that takes half the threads, and fills them in pairs.
"""


rule train_diffusion:
    """Train a predictor on cached latents."""
    input:
        settings="settings/train_diffusion/{predictor}/seed{seed}.json",
        latents=PLAN.latents,
    output:
        weights="predictors/{predictor}/seed{seed}/weights.safetensors",
        index="predictors/{predictor}/seed{seed}/index.json",
        history="predictors/{predictor}/seed{seed}/history.csv",
        record="predictors/{predictor}/seed{seed}/run.json",
    log:
        "predictors/{predictor}/seed{seed}/log.txt",
    benchmark:
        "predictors/{predictor}/seed{seed}/benchmark.tsv"
    priority: 1
    conda:
        "../../envs/rsvp.yaml"
    threads: PLAN.threads
    resources:
        gpu=PLAN.gpu,
        mem_mb=16000,
        runtime="72h",
    params:
        *code_files("rsvp.stages.train_diffusion"),
        state="predictors/{predictor}/seed{seed}/state",
        init_from=PLAN.start,
        code=planned_code("rsvp.stages.train_diffusion"),
    message:
        "Train the predictor {wildcards.predictor} (seed {wildcards.seed})"
    shell:
        '"$PYTHON" -m rsvp.stages.train_diffusion'
        " --settings {input.settings}"
        " --latents {input.latents}"
        " --state {params.state}"
        " --weights {output.weights}"
        " --index {output.index}"
        " --history {output.history}"
        " --record {output.record}"
        " --code {params.code}"
        " --log {log}"


rule predict:
    """Sample futures of the test clips; frames and videos lie beside the index."""
    input:
        settings="settings/predict/{predictor}/seed{seed}.json",
        dataset=PLAN.dataset,
        autoencoder=PLAN.autoencoder,
        autoencoder_weights=ancient(PLAN.autoencoder_weights),
        denoiser=PLAN.denoiser,
        denoiser_weights=ancient(PLAN.denoiser_weights),
    output:
        predictions="predictions/{predictor}/seed{seed}/index.json",
        record="predictions/{predictor}/seed{seed}/run.json",
    log:
        "predictions/{predictor}/seed{seed}/log.txt",
    benchmark:
        "predictions/{predictor}/seed{seed}/benchmark.tsv"
    priority: 1
    conda:
        "../../envs/rsvp.yaml"
    threads: PLAN.threads
    resources:
        gpu=PLAN.gpu,
        mem_mb=16000,
        runtime="24h",
    params:
        *code_files("rsvp.stages.predict"),
        state="predictions/{predictor}/seed{seed}/state",
        code=planned_code("rsvp.stages.predict"),
    message:
        "Predict with {wildcards.predictor} (seed {wildcards.seed})"
    shell:
        '"$PYTHON" -m rsvp.stages.predict'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --autoencoder {input.autoencoder}"
        " --denoiser {input.denoiser}"
        " --predictions {output.predictions}"
        " --state {params.state}"
        " --record {output.record}"
        " --code {params.code}"
        " --log {log}"
