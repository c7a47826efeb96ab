"""Evaluation: levels and held-out patches -> evaluation/{slide}/: how coherent, and how it looks beside real tissue."""


rule measure_coherence:
    input:
        levels=levels_of,
        plan=f"{RUN}/synthetic/{{slide}}/plan.png",
    output:
        coherence=f"{RUN}/evaluation/{{slide}}/coherence.json",
        maps=[f"{RUN}/evaluation/{{slide}}/cross_scale_level{k}.png" for k in range(1, len(LEVELS))],
    log:
        f"{RUN}/logs/measure_coherence/{{slide}}.log",
    benchmark:
        f"{RUN}/benchmarks/measure_coherence/{{slide}}.tsv"
    conda:
        "../envs/evaluation.yaml"
    resources:
        mem_mb=each_try(1500),
        runtime=canvas_minutes(10),
    params:
        options=told("measure_coherence"),
        tiles=told("measure_coherence", "tiles"),
        code=code("measure_coherence.py"),
        env=environment("evaluation"),
    shell:
        'python "$SCRIPTS/measure_coherence.py" --levels-dir $(dirname {input.plan}) --plan {input.plan}'
        " --options $RECIPE#{params.options:q} --tiles $RECIPE#{params.tiles:q} --out {output.coherence}"
        " 2>&1 | tee {log}"


rule draw_contact_sheet:
    input:
        levels=levels_of,
        plan=f"{RUN}/synthetic/{{slide}}/plan.png",
        splits=splits_of(finest_patch_set()),
        patches=patches_of(finest_patch_set()),
    output:
        report(
            f"{RUN}/evaluation/{{slide}}/contact.png",
            caption="../workflow/report/contact_sheet.rst",
            category="Synthetic slides",
        ),
    log:
        f"{RUN}/logs/draw_contact_sheet/{{slide}}.log",
    conda:
        "../envs/evaluation.yaml"
    resources:
        mem_mb=each_try(1500),
        runtime=20,
    params:
        options=told("draw_contact_sheet"),
        min_tissue=told("draw_contact_sheet", "min_tissue"),
        seed=told("draw_contact_sheet", "seed"),
        code=code("draw_contact_sheet.py"),
        env=environment("evaluation"),
    shell:
        'python "$SCRIPTS/draw_contact_sheet.py" --patches "$(dirname {input.patches[0]})" --splits {input.splits}'
        " --levels-dir $(dirname {input.plan}) --options $RECIPE#{params.options:q} {params.min_tissue} {params.seed} --out {output}"
        " 2>&1 | tee {log}"


rule extract_features:
    input:
        splits=splits_of(finest_patch_set()),
        patches=patches_of(finest_patch_set()),
        levels=expand(f"{RUN}/synthetic/{{slide}}/level{{k}}.h5", slide=SYNTHETIC, k=range(len(LEVELS))),
        plans=expand(f"{RUN}/synthetic/{{slide}}/plan.png", slide=SYNTHETIC),
    output:
        directory(f"{RUN}/evaluation/features/{{encoder}}"),
    log:
        f"{RUN}/logs/extract_features/{{encoder}}.log",
    benchmark:
        f"{RUN}/benchmarks/extract_features/{{encoder}}.tsv"
    conda:
        "../envs/evaluation.yaml"
    threads: RECIPE.cpu_threads
    resources:
        mem_mb=each_try(evaluation_mb()),
        runtime=120,
        gpu=1,
    params:
        options=told("extract_features"),
        weights=content_of("encoder", "encoder"),
        min_tissue=told("extract_features", "min_tissue"),
        seed=told("extract_features", "seed"),
        code=code("extract_features.py"),
        env=environment("evaluation"),
    shell:
        'python "$SCRIPTS/extract_features.py" --patches "$(dirname {input.patches[0]})" --splits {input.splits}'
        " --synthetic $RUN_DIR/synthetic --encoder {wildcards.encoder} --records $RUN_DIR/slides --run-dir $RUN_DIR"
        " --options $RECIPE#{params.options:q} {params.min_tissue} {params.seed} --out {output} 2>&1 | tee {log}"


rule evaluate_patches:
    input:
        splits=splits_of(finest_patch_set()),
        patches=patches_of(finest_patch_set()),
        levels=expand(f"{RUN}/synthetic/{{slide}}/level{{k}}.h5", slide=SYNTHETIC, k=range(len(LEVELS))),
        plans=expand(f"{RUN}/synthetic/{{slide}}/plan.png", slide=SYNTHETIC),
        tissue=expand(f"{RUN}/tissue/{{slide}}/qc.json", slide=SLIDES),
        features=expand(f"{RUN}/evaluation/features/{{encoder}}", encoder=ENCODERS),
        model=models_that_drew(),
        phantoms=phantom_files(SLIDES),
    output:
        metrics=f"{RUN}/evaluation/metrics.json",
        table=f"{RUN}/evaluation/metrics.csv",
        memorisation=f"{RUN}/evaluation/memorisation.json",
        sensitivity=f"{RUN}/evaluation/sensitivity.json",
        treatment=f"{RUN}/evaluation/treatment.json",
        condition=f"{RUN}/evaluation/condition.json",
        evidence=f"{RUN}/evaluation/evidence.json",
        patches=directory(f"{RUN}/evaluation/evidence"),
        pairs=report(
            f"{RUN}/evaluation/closest_pairs.png",
            caption="../workflow/report/closest_pairs.rst",
            category="Memorisation",
        ),
    log:
        f"{RUN}/logs/evaluate_patches.log",
    benchmark:
        f"{RUN}/benchmarks/evaluate_patches/metrics.tsv"
    conda:
        "../envs/evaluation.yaml"
    threads: RECIPE.cpu_threads * RECIPE.evaluation.cpu_processes
    resources:
        mem_mb=each_try(evaluation_mb() * RECIPE.evaluation.cpu_processes),
        runtime=240,
    params:
        options=told("evaluate_patches"),
        tiles=told("evaluate_patches", "tiles"),
        weights=" ".join(content("encoder", name) for name in ENCODER_FILES),
        slides=content_of_slides(),
        min_tissue=told("evaluate_patches", "min_tissue"),
        seed=told("evaluate_patches", "seed"),
        threads_each=threads_of_a_judge,
        model=lambda w, input: f"--model $(dirname {input.model[0]})" if input.model else "",
        code=code("evaluate_patches.py"),
        env=environment("evaluation"),
    shell:
        # Snakemake sets these to `threads`, which are those of all processes together.
        "export OMP_NUM_THREADS={params.threads_each} OPENBLAS_NUM_THREADS={params.threads_each} MKL_NUM_THREADS={params.threads_each};"
        ' python "$SCRIPTS/evaluate_patches.py" --patches "$(dirname {input.patches[0]})" --splits {input.splits}'
        " --synthetic $RUN_DIR/synthetic --records $RUN_DIR/slides"
        " --run-dir $RUN_DIR --options $RECIPE#{params.options:q} --tiles $RECIPE#{params.tiles:q} {params.min_tissue} {params.seed}"
        " {params.model} --out $RUN_DIR/evaluation 2>&1 | tee {log}"
