"""Stage one: an autoencoder that takes a video apart into scene, object and motion.

in:  datasets/{dataset}/index.json
out: autoencoders/{autoencoder}/seed{seed}/pretrained/, …/finetuned/, …/latents/index.json

A killed training continues from state/, which no rule declares: Snakemake deletes the outputs of
failed jobs.
"""


rule pretrain_autoencoder:
    """Train the autoencoder to reconstruct."""
    input:
        settings="settings/pretrain_autoencoder/{autoencoder}/seed{seed}.json",
        dataset=PLAN.dataset,
    output:
        weights="autoencoders/{autoencoder}/seed{seed}/pretrained/weights.safetensors",
        index="autoencoders/{autoencoder}/seed{seed}/pretrained/index.json",
        history="autoencoders/{autoencoder}/seed{seed}/pretrained/history.csv",
        record="autoencoders/{autoencoder}/seed{seed}/pretrained/run.json",
    log:
        "autoencoders/{autoencoder}/seed{seed}/pretrained/log.txt",
    benchmark:
        "autoencoders/{autoencoder}/seed{seed}/pretrained/benchmark.tsv"
    conda:
        "../../envs/rsvp.yaml"
    threads: PLAN.threads
    resources:
        gpu=PLAN.gpu,
        mem_mb=16000,
        runtime="72h",
    params:
        *code_files("rsvp.stages.pretrain_autoencoder"),
        state="autoencoders/{autoencoder}/seed{seed}/pretrained/state",
        weights=PLAN.training_weights,
        init_from=PLAN.start,
        code=planned_code("rsvp.stages.pretrain_autoencoder"),
    message:
        "Pretrain the autoencoder {wildcards.autoencoder} (seed {wildcards.seed})"
    shell:
        '"$PYTHON" -m rsvp.stages.pretrain_autoencoder'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --state {params.state}"
        " --weights {output.weights}"
        " --index {output.index}"
        " --history {output.history}"
        " --record {output.record}"
        " --code {params.code}"
        " --log {log}"


rule finetune_autoencoder:
    """Sharpen the autoencoder against discriminators; stop early by a perceptual score."""
    input:
        settings="settings/finetune_autoencoder/{autoencoder}/seed{seed}.json",
        dataset=PLAN.dataset,
        pretrained="autoencoders/{autoencoder}/seed{seed}/pretrained/index.json",
        pretrained_weights=ancient(
            "autoencoders/{autoencoder}/seed{seed}/pretrained/weights.safetensors"
        ),
    output:
        weights="autoencoders/{autoencoder}/seed{seed}/finetuned/weights.safetensors",
        index="autoencoders/{autoencoder}/seed{seed}/finetuned/index.json",
        history="autoencoders/{autoencoder}/seed{seed}/finetuned/history.csv",
        record="autoencoders/{autoencoder}/seed{seed}/finetuned/run.json",
    log:
        "autoencoders/{autoencoder}/seed{seed}/finetuned/log.txt",
    benchmark:
        "autoencoders/{autoencoder}/seed{seed}/finetuned/benchmark.tsv"
    conda:
        "../../envs/rsvp.yaml"
    threads: PLAN.threads
    resources:
        gpu=PLAN.gpu,
        mem_mb=16000,
        runtime="72h",
    params:
        *code_files("rsvp.stages.finetune_autoencoder"),
        state="autoencoders/{autoencoder}/seed{seed}/finetuned/state",
        weights=PLAN.training_weights,
        code=planned_code("rsvp.stages.finetune_autoencoder"),
    message:
        "Fine-tune the autoencoder {wildcards.autoencoder} (seed {wildcards.seed})"
    shell:
        '"$PYTHON" -m rsvp.stages.finetune_autoencoder'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --pretrained {input.pretrained}"
        " --state {params.state}"
        " --weights {output.weights}"
        " --index {output.index}"
        " --history {output.history}"
        " --record {output.record}"
        " --code {params.code}"
        " --log {log}"


rule cache_latents:
    """Encode every clip once; shards lie beside the index."""
    input:
        settings="settings/cache_latents/{autoencoder}/seed{seed}.json",
        dataset=PLAN.dataset,
        autoencoder="autoencoders/{autoencoder}/seed{seed}/finetuned/index.json",
        weights=ancient("autoencoders/{autoencoder}/seed{seed}/finetuned/weights.safetensors"),
    output:
        index="autoencoders/{autoencoder}/seed{seed}/latents/index.json",
        record="autoencoders/{autoencoder}/seed{seed}/latents/run.json",
    log:
        "autoencoders/{autoencoder}/seed{seed}/latents/log.txt",
    benchmark:
        "autoencoders/{autoencoder}/seed{seed}/latents/benchmark.tsv"
    conda:
        "../../envs/rsvp.yaml"
    threads: PLAN.threads
    resources:
        gpu=PLAN.gpu,
        mem_mb=16000,
        runtime="24h",
    params:
        *code_files("rsvp.stages.cache_latents"),
        state="autoencoders/{autoencoder}/seed{seed}/latents/state",
        code=planned_code("rsvp.stages.cache_latents"),
    message:
        "Cache the latents of {wildcards.autoencoder} (seed {wildcards.seed})"
    shell:
        '"$PYTHON" -m rsvp.stages.cache_latents'
        " --settings {input.settings}"
        " --dataset {input.dataset}"
        " --autoencoder {input.autoencoder}"
        " --index {output.index}"
        " --state {params.state}"
        " --record {output.record}"
        " --code {params.code}"
        " --log {log}"
