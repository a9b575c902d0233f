"""Stage one: an autoencoder that takes a video apart into scene, object and motion.

in:  datasets/{dataset}/index.json
out: autoencoders/{autoencoder}/seed{seed}/pretrained/, …/finetuned/, …/latents/index.json

A killed training continues from state/, which no rule declares: Snakemake deletes the outputs of
failed jobs. All that a predictor waits for goes before what is measured meanwhile.
"""


rule pretrain_autoencoder:
    """Train the autoencoder to reconstruct."""
    input:
        unpack(PLAN.handed("pretrain_autoencoder")),
    output:
        weights="autoencoders/{autoencoder}/seed{seed}/pretrained/weights.safetensors",
        index="autoencoders/{autoencoder}/seed{seed}/pretrained/index.json",
        history="autoencoders/{autoencoder}/seed{seed}/pretrained/history.csv",
        record="autoencoders/{autoencoder}/seed{seed}/pretrained/run.json",
    log:
        "autoencoders/{autoencoder}/seed{seed}/pretrained/log.txt",
    benchmark:
        "autoencoders/{autoencoder}/seed{seed}/pretrained/benchmark.tsv"
    priority: 1
    conda:
        ENVIRONMENT
    threads: PLAN.training_threads
    resources:
        **PLAN.training_resources,
    params:
        state="autoencoders/{autoencoder}/seed{seed}/pretrained/state",
    message:
        "Pretrain the autoencoder {wildcards.autoencoder} (seed {wildcards.seed})"
    shell:
        'exec "$PYTHON" -m rsvp.stages.pretrain_autoencoder'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --state {params.state}"
        " --weights {output.weights}"
        " --index {output.index}"
        " --history {output.history}"
        " --record {output.record}"
        " --log {log}"


rule finetune_autoencoder:
    """Sharpen the autoencoder against discriminators; stop early by a perceptual score."""
    input:
        unpack(PLAN.handed("finetune_autoencoder")),
        weights=ancient("autoencoders/{autoencoder}/seed{seed}/pretrained/weights.safetensors"),
    output:
        weights="autoencoders/{autoencoder}/seed{seed}/finetuned/weights.safetensors",
        index="autoencoders/{autoencoder}/seed{seed}/finetuned/index.json",
        history="autoencoders/{autoencoder}/seed{seed}/finetuned/history.csv",
        record="autoencoders/{autoencoder}/seed{seed}/finetuned/run.json",
    log:
        "autoencoders/{autoencoder}/seed{seed}/finetuned/log.txt",
    benchmark:
        "autoencoders/{autoencoder}/seed{seed}/finetuned/benchmark.tsv"
    priority: 1
    conda:
        ENVIRONMENT
    threads: PLAN.training_threads
    resources:
        **PLAN.training_resources,
    params:
        state="autoencoders/{autoencoder}/seed{seed}/finetuned/state",
    message:
        "Fine-tune the autoencoder {wildcards.autoencoder} (seed {wildcards.seed})"
    shell:
        'exec "$PYTHON" -m rsvp.stages.finetune_autoencoder'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --pretrained {input.pretrained}"
        " --state {params.state}"
        " --weights {output.weights}"
        " --index {output.index}"
        " --history {output.history}"
        " --record {output.record}"
        " --log {log}"


rule cache_latents:
    """Encode every clip once; shards lie beside the index."""
    input:
        unpack(PLAN.handed("cache_latents")),
        weights=ancient("autoencoders/{autoencoder}/seed{seed}/finetuned/weights.safetensors"),
    output:
        index="autoencoders/{autoencoder}/seed{seed}/latents{part}/index.json",
        record="autoencoders/{autoencoder}/seed{seed}/latents{part}/run.json",
    log:
        "autoencoders/{autoencoder}/seed{seed}/latents{part}/log.txt",
    benchmark:
        "autoencoders/{autoencoder}/seed{seed}/latents{part}/benchmark.tsv"
    priority: 1
    conda:
        ENVIRONMENT
    threads: PLAN.threads
    resources:
        gpu=PLAN.gpu,
    params:
        state="autoencoders/{autoencoder}/seed{seed}/latents{part}/state",
    message:
        "Cache the latents of {wildcards.autoencoder} (seed {wildcards.seed}{wildcards.part})"
    shell:
        'exec "$PYTHON" -m rsvp.stages.cache_latents'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --autoencoder {input.autoencoder}"
        " --shares {input.shares}"
        " --state {params.state}"
        " --index {output.index}"
        " --record {output.record}"
        " --log {log}"
