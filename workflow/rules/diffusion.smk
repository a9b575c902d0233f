"""Stage two: a diffusion model that continues the latents of one autoencoder, or a regression.

in:  autoencoders/{autoencoder}/seed{seed}/latents/index.json
out: predictors/{predictor}/seed{seed}/, predictions/{predictor}/seed{seed}/index.json

Both go before what is measured meanwhile: that takes half the threads, and fills them in pairs.
"""


rule train_diffusion:
    """Train a predictor on cached latents."""
    input:
        unpack(PLAN.handed("train_diffusion")),
    output:
        weights="predictors/{predictor}/seed{seed}/weights.safetensors",
        index="predictors/{predictor}/seed{seed}/index.json",
        history="predictors/{predictor}/seed{seed}/history.csv",
        record="predictors/{predictor}/seed{seed}/run.json",
    log:
        "predictors/{predictor}/seed{seed}/log.txt",
    benchmark:
        "predictors/{predictor}/seed{seed}/benchmark.tsv"
    wildcard_constraints:
        predictor=PLAN.names_of_kind("diffusion"),
    priority: 1
    conda:
        ENVIRONMENT
    threads: PLAN.training_threads
    resources:
        **PLAN.training_resources,
    params:
        state="predictors/{predictor}/seed{seed}/state",
        watched=PLAN.watched,
    message:
        "Train the predictor {wildcards.predictor} (seed {wildcards.seed})"
    shell:
        'exec "$PYTHON" -m rsvp.stages.train_diffusion'
        " --settings {input.settings}"
        " --latents {input.latents}"
        " --watched {params.watched}"
        " --state {params.state}"
        " --weights {output.weights}"
        " --index {output.index}"
        " --history {output.history}"
        " --record {output.record}"
        " --log {log}"


rule predict:
    """Sample trajectories of the test clips; frames and videos lie beside the index."""
    input:
        unpack(PLAN.handed("predict")),
        weights=ancient(PLAN.weights_below),
    output:
        predictions="{side}predictions/{predictor}/seed{seed}{part}/index.json",
        record="{side}predictions/{predictor}/seed{seed}{part}/run.json",
    log:
        "{side}predictions/{predictor}/seed{seed}{part}/log.txt",
    benchmark:
        "{side}predictions/{predictor}/seed{seed}{part}/benchmark.tsv"
    wildcard_constraints:
        predictor=PLAN.names_of_kind("diffusion"),
    priority: 1
    conda:
        ENVIRONMENT
    threads: PLAN.threads
    resources:
        gpu=PLAN.gpu,
    params:
        state="{side}predictions/{predictor}/seed{seed}{part}/state",
    message:
        "Predict with {wildcards.predictor} (seed {wildcards.seed}{wildcards.part})"
    shell:
        'exec "$PYTHON" -m rsvp.stages.predict'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --autoencoder {input.autoencoder}"
        " --denoiser {input.denoiser}"
        " --shares {input.shares}"
        " --state {params.state}"
        " --predictions {output.predictions}"
        " --record {output.record}"
        " --log {log}"


rule train_simvp:
    """Train a predictor that has no autoencoder, by regression."""
    input:
        unpack(PLAN.handed("train_simvp")),
    output:
        weights="predictors/{predictor}/seed{seed}/weights.safetensors",
        index="predictors/{predictor}/seed{seed}/index.json",
        history="predictors/{predictor}/seed{seed}/history.csv",
        record="predictors/{predictor}/seed{seed}/run.json",
    log:
        "predictors/{predictor}/seed{seed}/log.txt",
    benchmark:
        "predictors/{predictor}/seed{seed}/benchmark.tsv"
    wildcard_constraints:
        predictor=PLAN.names_of_kind("simvp"),
    priority: 1
    conda:
        ENVIRONMENT
    threads: PLAN.training_threads
    resources:
        **PLAN.training_resources,
    params:
        state="predictors/{predictor}/seed{seed}/state",
    message:
        "Train the regression {wildcards.predictor} (seed {wildcards.seed})"
    shell:
        'exec "$PYTHON" -m rsvp.stages.train_simvp'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --state {params.state}"
        " --weights {output.weights}"
        " --index {output.index}"
        " --history {output.history}"
        " --record {output.record}"
        " --log {log}"


rule predict_simvp:
    """Predict the test clips by a regression: one trajectory each."""
    input:
        unpack(PLAN.handed("predict_simvp")),
        weights=ancient("predictors/{predictor}/seed{seed}/weights.safetensors"),
    output:
        predictions="{side}predictions/{predictor}/seed{seed}/index.json",
        record="{side}predictions/{predictor}/seed{seed}/run.json",
    log:
        "{side}predictions/{predictor}/seed{seed}/log.txt",
    benchmark:
        "{side}predictions/{predictor}/seed{seed}/benchmark.tsv"
    wildcard_constraints:
        predictor=PLAN.names_of_kind("simvp"),
    priority: 1
    conda:
        ENVIRONMENT
    threads: PLAN.threads
    resources:
        gpu=PLAN.gpu,
    params:
        state="{side}predictions/{predictor}/seed{seed}/state",
    message:
        "Predict with {wildcards.predictor} (seed {wildcards.seed})"
    shell:
        'exec "$PYTHON" -m rsvp.stages.predict_simvp'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --network {input.network}"
        " --state {params.state}"
        " --predictions {output.predictions}"
        " --record {output.record}"
        " --log {log}"
