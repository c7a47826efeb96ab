"""Models: a patch set and its splits -> models/{model}/: weights, log, loss curve, samples. Or taken from another run.

The command takes the place of its shell and its log outlives SIGTERM, so that a warned job can save. Checkpoints lie in
state/, which is no output: Snakemake deletes the outputs of a failed job, and must not delete them.
"""


rule take_model:
    output:
        weights=f"{RUN}/models/{{model}}/model.safetensors",
        description=f"{RUN}/models/{{model}}/model.json",
    log:
        f"{RUN}/logs/take_model/{{model}}.log",
    wildcard_constraints:
        model=one_of(TAKEN),
    conda:
        "../envs/torch.yaml"
    resources:
        mem_mb=each_try(TORCH_MB),
        runtime=20,
    params:
        model=lambda w, resources: f"--model {TAKEN[w.model]}",
        levels=told("take_model", "levels"),
        content=content_of("model", "model"),
        code=code("take_model.py"),
        env=environment("torch"),
    shell:
        'python "$SCRIPTS/take_model.py" {params.model} --levels $RECIPE#{params.levels:q} --out $(dirname {output.weights})'
        " 2>&1 | tee {log}"


rule train_model:
    input:
        ancient(f"{RUN}/data.json"),  # the data gate; what it counts is no reason to train again
        splits=by_model(splits_of),
        patches=by_model(patches_of),
        winner=lambda w: f"{RUN}/study/winner.json" if w.model in RECIPE.winner_models else [],
        autoencoder=autoencoder_of,
    output:
        weights=f"{RUN}/models/{{model}}/model.safetensors",
        description=f"{RUN}/models/{{model}}/model.json",
        log=f"{RUN}/models/{{model}}/train.jsonl",
        loss=report(
            f"{RUN}/models/{{model}}/loss.png",
            caption="../workflow/report/loss_curve.rst",
            category="Models",
        ),
        samples=report(
            f"{RUN}/models/{{model}}/samples.png",
            caption="../workflow/report/samples.rst",
            category="Models",
        ),
    log:
        f"{RUN}/logs/train_model/{{model}}.log",
    benchmark:
        f"{RUN}/benchmarks/train_model/{{model}}.tsv"
    wildcard_constraints:
        model=one_of([*RECIPE.trained_models, *RECIPE.winner_models]),
    priority: trained_first
    conda:
        "../envs/torch.yaml"
    threads: lambda w: RECIPE.cpu_threads * training_gpus(w)
    resources:
        mem_mb=each_try(training_mb),
        runtime=DRAW_AND_TRAIN_MINUTES,
        gpu=training_gpus,
    params:
        launch=launched,
        options=told("train_model"),
        winner=lambda w, input: f"--winner {input.winner}" if input.winner else "",
        autoencoder=lambda w, input: f"--autoencoder $(dirname {input.autoencoder[0]})" if input.autoencoder else "",
        start=content_of_training("start"),
        embeddings=content_of_training("embeddings"),
        cpu_threads=told("train_model", "cpu_threads"),
        code=code("train_model.py"),
        env=environment("torch"),
    shell:
        'exec {params.launch} "$SCRIPTS/train_model.py" --patches "$(dirname {input.patches[0]})" --splits {input.splits} --options $RECIPE#{params.options:q}'
        " {params.winner} {params.autoencoder} --state $RUN_DIR/state/train/{wildcards.model} --key {params.code}+{params.env} {params.cpu_threads} --out $(dirname {output.weights})"
        " > >(trap '' TERM USR1; exec tee {log}) 2>&1"


rule measure_reconstruction:
    input:
        weights=f"{RUN}/models/{{model}}/model.safetensors",
        description=f"{RUN}/models/{{model}}/model.json",
        splits=by_model(splits_of),
        patches=by_model(patches_of),
    output:
        found=f"{RUN}/evaluation/reconstruction/{{model}}.json",
        picture=f"{RUN}/evaluation/reconstruction/{{model}}.png",
    log:
        f"{RUN}/logs/measure_reconstruction/{{model}}.log",
    wildcard_constraints:
        model=one_of(RECIPE.autoencoders),
    conda:
        "../envs/evaluation.yaml"
    threads: RECIPE.cpu_threads
    resources:
        mem_mb=each_try(2 * TORCH_MB),
        runtime=60,
        gpu=1,
    params:
        images=told("measure_reconstruction", "images"),
        cpu_threads=told("measure_reconstruction", "cpu_threads"),
        code=code("measure_reconstruction.py"),
        env=environment("evaluation"),
    shell:
        'python "$SCRIPTS/measure_reconstruction.py" --model $(dirname {input.weights})'
        ' --patches "$(dirname {input.patches[0]})" --splits {input.splits} {params.images} {params.cpu_threads}'
        " --out {output.found} --picture {output.picture} 2>&1 | tee {log}"
