"""Drawing: models -> synthetic/{slide}/level{k}.h5, coarse to fine, then the slide itself as a pyramidal TIFF.

Level 0 is drawn from its resolution alone, or given: a region of a real slide. The tissue plan is found on it, and says which
tiles the finer levels draw. For comparison, a finer level may be upscaled by a baseline instead. Several jobs may
draw a level's tiles from one queue: they leave them in the level's state folder, where draw_level finds them.
"""


rule draw_level:
    input:
        unpack(level_above),
        unpack(models_of_level),
        shares=shares,
    output:
        f"{RUN}/synthetic/{{slide}}/level{{k}}.h5",
    log:
        f"{RUN}/logs/draw_level/{{slide}}/level{{k}}.log",
    benchmark:
        f"{RUN}/benchmarks/draw_level/{{slide}}/level{{k}}.tsv"
    wildcard_constraints:
        k=levels_of_kind("draw"),
    priority: drawn_first
    conda:
        "../envs/torch.yaml"
    threads: lambda w: RECIPE.cpu_threads * drawing_processes(w)
    resources:
        mem_mb=each_try(drawing_mb),
        runtime=DRAW_AND_TRAIN_MINUTES,
        gpu=drawing_gpus,
    params:
        launch=drawing_launched,
        options=told("draw_level"),
        level=drawing_params,
        above=above_params,
        code=code("draw_level.py"),
        env=environment("torch"),
    shell:
        'exec {params.launch} "$SCRIPTS/draw_level.py" {params.level} --options $RECIPE#{params.options:q} {params.above} --models $RUN_DIR/models --ladder "$LADDER" --memory-mb {resources.mem_mb} --key {params.code}+{params.env}'
        " --out {output} > >(trap '' TERM USR1; exec tee {log}) 2>&1"


rule draw_share:
    input:
        unpack(level_above),
        unpack(models_of_level),
    output:
        temp(f"{RUN}/synthetic/{{slide}}/level{{k}}.shares/{{job}}"),
    log:
        f"{RUN}/logs/draw_share/{{slide}}/level{{k}}/{{job}}.log",
    benchmark:
        f"{RUN}/benchmarks/draw_share/{{slide}}/level{{k}}/{{job}}.tsv"
    wildcard_constraints:
        k=levels_of_kind("draw"),
        job=r"\d+",
    priority: drawn_first
    conda:
        "../envs/torch.yaml"
    threads: lambda w: RECIPE.cpu_threads * drawing_processes(w)
    resources:
        mem_mb=each_try(drawing_mb),
        runtime=DRAW_AND_TRAIN_MINUTES,
        gpu=drawing_gpus,
    params:
        launch=drawing_launched,
        options=told("draw_level"),
        level=drawing_params,
        above=above_params,
        code=code("draw_level.py"),
        env=environment("torch"),
    shell:
        'exec {params.launch} "$SCRIPTS/draw_level.py" {params.level} --options $RECIPE#{params.options:q} {params.above} --models $RUN_DIR/models --ladder "$LADDER" --memory-mb {resources.mem_mb} --key {params.code}+{params.env}'
        " --job {wildcards.job} --out {output} > >(trap '' TERM USR1; exec tee {log}) 2>&1"


rule upscale_level:
    input:
        unpack(level_above),
        unpack(models_of_level),
    output:
        f"{RUN}/synthetic/{{slide}}/level{{k}}.h5",
    log:
        f"{RUN}/logs/upscale_level/{{slide}}/level{{k}}.log",
    benchmark:
        f"{RUN}/benchmarks/upscale_level/{{slide}}/level{{k}}.tsv"
    wildcard_constraints:
        k=levels_of_kind("upscale"),
    conda:
        "../envs/torch.yaml"
    threads: RECIPE.cpu_threads
    resources:
        mem_mb=each_try(2 * TORCH_MB),
        runtime=DRAW_AND_TRAIN_MINUTES,
        gpu=1,
    params:
        options=told("upscale_level"),
        size_px=told("upscale_level", "size_px"),
        seed=told("upscale_level", "seed"),
        model=lambda w, input: f'--model "$(dirname {input.weights})"' if LEVELS[int(w.k)].model else "",
        cpu_threads=told("upscale_level", "cpu_threads"),
        code=code("upscale_level.py"),
        env=environment("torch"),
    shell:
        'python "$SCRIPTS/upscale_level.py" --slide {wildcards.slide} --k {wildcards.k} --options $RECIPE#{params.options:q}'
        " {params.size_px} {params.seed} {params.model} --above {input.above} --plan {input.plan}"
        " {params.cpu_threads} --out {output} 2>&1 | tee {log}"


rule give_level:
    input:
        unpack(slide_of_level),
    output:
        f"{RUN}/synthetic/{{slide}}/level{{k}}.h5",
    log:
        f"{RUN}/logs/give_level/{{slide}}/level{{k}}.log",
    wildcard_constraints:
        k=levels_of_kind("given"),
    conda:
        "../envs/slides.yaml"
    resources:
        mem_mb=each_try(2000),
        runtime=30,
    params:
        options=told("give_level"),
        models=lambda w, resources: sorted({TAKEN[name] for level in LEVELS for name in level.models if name in TAKEN}),
        code=code("give_level.py"),
        env=environment("slides"),
    shell:
        'python "$SCRIPTS/give_level.py" --record {input.record} --run-dir $RUN_DIR --tissue $(dirname {input.tissue})'
        " --options $RECIPE#{params.options:q} --slide {wildcards.slide} --models {params.models:q} --out {output} 2>&1"
        " | tee {log}"


rule plan_tissue:
    input:
        f"{RUN}/synthetic/{{slide}}/level0.h5",
    output:
        mask=f"{RUN}/synthetic/{{slide}}/plan.png",
        plan=f"{RUN}/synthetic/{{slide}}/plan.json",
    log:
        f"{RUN}/logs/plan_tissue/{{slide}}.log",
    priority: 2 * len(LEVELS) + 1  # a finer level waits for it
    conda:
        "../envs/slides.yaml"
    resources:
        mem_mb=each_try(1000 + 1000e-6 * canvas_pixels(0)),
        runtime=20,
    params:
        options=told("plan_tissue"),
        code=code("plan_tissue.py"),
        env=environment("slides"),
    shell:
        'python "$SCRIPTS/plan_tissue.py" --level {input} --options $RECIPE#{params.options:q} --mask {output.mask}'
        " --out {output.plan} 2>&1 | tee {log}"


rule stitch_slide:
    input:
        f"{RUN}/synthetic/{{slide}}/level{len(LEVELS) - 1}.h5",
    output:
        f"{RUN}/synthetic/{{slide}}.tif",
    log:
        f"{RUN}/logs/stitch_slide/{{slide}}.log",
    benchmark:
        f"{RUN}/benchmarks/stitch_slide/{{slide}}.tsv"
    conda:
        "../envs/slides.yaml"
    threads: 2
    resources:
        mem_mb=each_try(1500 + 0.5e-6 * canvas_pixels(len(LEVELS) - 1)),
        runtime=canvas_minutes(5),
    params:
        options=told("stitch_slide"),
        provenance=lambda w: json.dumps({"run": RECIPE.run, "slide": w.slide, "seed": RECIPE.seed} | GIVEN),
        code=code("stitch_slide.py"),
        env=environment("slides"),
    shell:
        'python "$SCRIPTS/stitch_slide.py" --level {input} --options $RECIPE#{params.options:q}'
        " --provenance {params.provenance:q} --out {output} 2>&1 | tee {log}"
