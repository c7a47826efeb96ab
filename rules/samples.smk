"""Samples: models, or what another generator has made -> samples/{samples}/: patches of each class -> evaluation/samples/{samples}/: how
real, how copied, of what use. A study's combinations are samples like all others; study/ has them in one table.
"""


rule draw_samples:
    input:
        unpack(model_of_samples),
    output:
        patches=f"{RUN}/samples/{{samples}}/samples.h5",
        picture=report(
            f"{RUN}/samples/{{samples}}/samples.png",
            caption="../workflow/report/drawn_patches.rst",
            category="Samples",
        ),
    log:
        f"{RUN}/logs/draw_samples/{{samples}}.log",
    benchmark:
        f"{RUN}/benchmarks/draw_samples/{{samples}}.tsv"
    wildcard_constraints:
        samples=one_of(RECIPE.drawn_samples),
    conda:
        "../envs/torch.yaml"
    threads: RECIPE.cpu_threads
    resources:
        mem_mb=each_try(2 * TORCH_MB),
        runtime=DRAW_AND_TRAIN_MINUTES,
        gpu=1,
    params:
        options=told("draw_samples"),
        cpu_threads=told("draw_samples", "cpu_threads"),
        code=code("draw_samples.py"),
        env=environment("torch"),
    shell:
        'exec python "$SCRIPTS/draw_samples.py" --name {wildcards.samples} --model $(dirname {input.weights}) --models $RUN_DIR/models'
        " --options $RECIPE#{params.options:q} --state $RUN_DIR/state/samples/{wildcards.samples} --key {params.code}+{params.env} {params.cpu_threads}"
        " --out {output.patches} > >(trap '' TERM USR1; exec tee {log}) 2>&1"


rule take_samples:
    output:
        patches=f"{RUN}/samples/{{samples}}/samples.h5",
        picture=report(
            f"{RUN}/samples/{{samples}}/samples.png",
            caption="../workflow/report/taken_patches.rst",
            category="Samples",
        ),
    log:
        f"{RUN}/logs/take_samples/{{samples}}.log",
    wildcard_constraints:
        samples=one_of(RECIPE.brought_samples),
    conda:
        "../envs/evaluation.yaml"
    resources:
        mem_mb=each_try(2000),
        runtime=60,
    params:
        options=told("take_samples"),
        content=content_of("samples", "samples"),
        size_px=told("take_samples", "size_px"),
        mpp=told("take_samples", "mpp"),
        code=code("take_samples.py"),
        env=environment("evaluation"),
    shell:
        'python "$SCRIPTS/take_samples.py" --name {wildcards.samples} --options $RECIPE#{params.options:q} {params.size_px}'
        " {params.mpp} --out {output.patches} 2>&1 | tee {log}"


rule evaluate_samples:
    input:
        samples=f"{RUN}/samples/{{samples}}/samples.h5",
        splits=by_samples(splits_of),
        patches=by_samples(patches_of),
    output:
        metrics=f"{RUN}/evaluation/samples/{{samples}}/metrics.json",
        table=f"{RUN}/evaluation/samples/{{samples}}/metrics.csv",
        memorisation=f"{RUN}/evaluation/samples/{{samples}}/memorisation.json",
        pairs=f"{RUN}/evaluation/samples/{{samples}}/closest_pairs.png",
        chosen=f"{RUN}/evaluation/samples/{{samples}}/shown.json",
        shown=report(
            f"{RUN}/evaluation/samples/{{samples}}/shown.png",
            caption="../workflow/report/shown_patches.rst",
            category="Samples",
        ),
    log:
        f"{RUN}/logs/evaluate_samples/{{samples}}.log",
    benchmark:
        f"{RUN}/benchmarks/evaluate_samples/{{samples}}.tsv"
    conda:
        "../envs/evaluation.yaml"
    threads: RECIPE.cpu_threads
    resources:
        mem_mb=each_try(2 * TORCH_MB),
        runtime=120,
    params:
        options=told("evaluate_samples"),
        weights=" ".join(content("encoder", name) for name in ENCODER_FILES),
        seed=told("evaluate_samples", "seed"),
        cpu_threads=told("evaluate_samples", "cpu_threads"),
        code=code("evaluate_samples.py"),
        env=environment("evaluation"),
    shell:
        'python "$SCRIPTS/evaluate_samples.py" --samples {input.samples} --patches "$(dirname {input.patches[0]})"'
        " --splits {input.splits} --options $RECIPE#{params.options:q} {params.seed}"
        " {params.cpu_threads} --out $(dirname {output.metrics}) 2>&1 | tee {log}"


rule train_on_real:
    input:
        splits=by_set(splits_of),
        patches=by_set(patches_of),
    output:
        f"{RUN}/evaluation/classifiers/{{patch_set}}.safetensors",
    log:
        f"{RUN}/logs/train_on_real/{{patch_set}}.log",
    benchmark:
        f"{RUN}/benchmarks/train_on_real/{{patch_set}}.tsv"
    conda:
        "../envs/evaluation.yaml"
    threads: RECIPE.cpu_threads
    resources:
        mem_mb=each_try(4 * TORCH_MB),
        runtime=240,
        gpu=1,
    params:
        options=told("measure_utility"),
        seed=told("measure_utility", "seed"),
        cpu_threads=told("measure_utility", "cpu_threads"),
        code=code("train_on_real.py"),
        env=environment("evaluation"),
    shell:
        'python "$SCRIPTS/train_on_real.py" --real "$(dirname {input.patches[0]})" --splits {input.splits}'
        " {params.options} {params.seed} {params.cpu_threads} --out {output} 2>&1 | tee {log}"


rule measure_utility:
    input:
        samples=f"{RUN}/samples/{{samples}}/samples.h5",
        splits=by_samples(splits_of),
        patches=by_samples(patches_of),
        on_real=lambda w: f"{RUN}/evaluation/classifiers/{RECIPE.compared_with(w.samples)}.safetensors",
    output:
        found=f"{RUN}/evaluation/samples/{{samples}}/utility.json",
        picture=report(
            f"{RUN}/evaluation/samples/{{samples}}/utility.png",
            caption="../workflow/report/utility.rst",
            category="Samples",
        ),
    log:
        f"{RUN}/logs/measure_utility/{{samples}}.log",
    benchmark:
        f"{RUN}/benchmarks/measure_utility/{{samples}}.tsv"
    conda:
        "../envs/evaluation.yaml"
    threads: RECIPE.cpu_threads
    resources:
        mem_mb=each_try(4 * TORCH_MB),
        runtime=240,
        gpu=1,
    params:
        options=told("measure_utility"),
        seed=told("measure_utility", "seed"),
        cpu_threads=told("measure_utility", "cpu_threads"),
        code=code("measure_utility.py"),
        env=environment("evaluation"),
    shell:
        'python "$SCRIPTS/measure_utility.py" --real "$(dirname {input.patches[0]})" --splits {input.splits}'
        " --generated {input.samples} --on-real {input.on_real} {params.options} {params.seed} {params.cpu_threads}"
        " --out $(dirname {output.found}) 2>&1 | tee {log}"


rule gather_study:
    input:
        expand(f"{RUN}/evaluation/samples/{{samples}}/metrics.json", samples=OF_STUDY),
        expand(f"{RUN}/evaluation/samples/{{samples}}/utility.json", samples=[s for s in OF_STUDY if s in OF_USE]),
    output:
        table=f"{RUN}/study/table.csv",
        rows=f"{RUN}/study/table.json",
        arms=f"{RUN}/study/arms.json",
        picture=report(
            f"{RUN}/study/study.png",
            caption="../workflow/report/study.rst",
            category="Study",
        ),
        winner=[f"{RUN}/study/winner.json"] if RECIPE.study and RECIPE.study.winner else [],
    log:
        f"{RUN}/logs/gather_study.log",
    conda:
        "../envs/evaluation.yaml"
    resources:
        mem_mb=each_try(1500),
        runtime=20,
    params:
        cells=told("gather_study", "cells"),
        winner=lambda w: " ".join(f"--winner $RECIPE#{word}" for word in [told("gather_study", "winner")(w)] if word),
        models=told("gather_study", "models"),
        arms=told("gather_study", "arms"),
        code=code("gather_study.py"),
        env=environment("evaluation"),
    shell:
        'python "$SCRIPTS/gather_study.py" --evaluation $RUN_DIR/evaluation/samples --cells $RECIPE#{params.cells:q}'
        " {params.winner} --models $RECIPE#{params.models:q} --arms $RECIPE#{params.arms:q} --out $(dirname {output.table}) 2>&1 | tee {log}"
