"""Patches: records and tissue -> splits.tsv (by patient) and patches/{set}/{slide}.h5, with a picture of the places."""


rule split_patients:
    input:
        expand(f"{RUN}/slides/{{slide}}.json", slide=SLIDES),
        tissue=expand(f"{RUN}/tissue/{{slide}}/mask.png", slide=SLIDES if RECIPE.split.by == "region" else []),
    output:
        f"{RUN}/splits.tsv",
    log:
        f"{RUN}/logs/split_patients.log",
    conda:
        "../envs/slides.yaml"
    resources:
        mem_mb=each_try(1000),
        runtime=10,
    params:
        rows=canonical([SLIDES[s].model_dump(include={"slide", "patient", "split"}) for s in sorted(SLIDES)]),
        table='--table "$SLIDE_TABLE"' if RECIPE.slides.table else "",
        phantoms=canonical([phantom.model_dump(mode="json") for phantom in RECIPE.slides.phantoms]),
        options=canonical(RECIPE.split),
        tissue="--tissue $RUN_DIR/tissue" if RECIPE.split.by == "region" else "",
        name=RECIPE.run,
        code=code("split_patients.py"),
        env=environment("slides"),
    shell:
        'python "$SCRIPTS/split_patients.py" {params.table} --phantoms {params.phantoms:q} --records $RUN_DIR/slides'
        " {params.tissue} --run {params.name} --options {params.options:q} --out {output} 2>&1 | tee {log}"


rule cut_patches:
    input:
        record=f"{RUN}/slides/{{slide}}.json",
        tissue=rules.segment_tissue.output.mask,
        qc=rules.segment_tissue.output.qc,
    output:
        patches=f"{RUN}/patches/{{patch_set}}/{{slide}}.h5",
        picture=report(
            f"{RUN}/patches/{{patch_set}}/{{slide}}.png",
            caption="../workflow/report/patches.rst",
            category="Patches",
        ),
    log:
        f"{RUN}/logs/cut_patches/{{patch_set}}/{{slide}}.log",
    benchmark:
        f"{RUN}/benchmarks/cut_patches/{{patch_set}}/{{slide}}.tsv"
    wildcard_constraints:
        patch_set=sets_of_kind("slides"),
    conda:
        "../envs/slides.yaml"
    resources:
        mem_mb=each_try(2000),
        runtime=cutting_minutes,
    params:
        options=lambda w: canonical(RECIPE.patches[w.patch_set]),
        label=lambda w: label_of(w) if RECIPE.patches[w.patch_set].labelled else "",
        seed=f"--seed {RECIPE.seed}",
        code=code("cut_patches.py"),
        env=environment("slides"),
    shell:
        'python "$SCRIPTS/cut_patches.py" --record {input.record} --run-dir $RUN_DIR'
        " --tissue $(dirname {input.tissue}) --options {params.options:q} {params.label} {params.seed}"
        " --out {output.patches} --picture {output.picture}"
        " --coords $RUN_DIR/patches/{wildcards.patch_set}/coords 2>&1 | tee {log}"


rule check_data:
    input:
        records=expand(f"{RUN}/slides/{{slide}}.json", slide=SLIDES),
        qc=expand(f"{RUN}/tissue/{{slide}}/qc.json", slide=SLIDES),
        splits=sorted({splits_of(name) for name in RECIPE.patches}),
        patches=[file for name in RECIPE.patches for file in patches_of(name)],
    output:
        f"{RUN}/data.json",
    log:
        f"{RUN}/logs/check_data.log",
    conda:
        "../envs/slides.yaml"
    resources:
        mem_mb=each_try(2000),
        runtime=20,
    params:
        rows=canonical([SLIDES[s].model_dump(include={"slide", "patient"}) for s in sorted(SLIDES)]),
        table='--table "$SLIDE_TABLE"' if RECIPE.slides.table else "",
        phantoms=canonical([phantom.model_dump(mode="json") for phantom in RECIPE.slides.phantoms]),
        sets=canonical({name: patches.from_slides for name, patches in RECIPE.patches.items()}),
        needs=canonical(needs_of(RECIPE)),
        limits=canonical(RECIPE.gate),
        code=code("check_data.py"),
        env=environment("slides"),
    shell:
        'python "$SCRIPTS/check_data.py" --run-dir $RUN_DIR {params.table} --phantoms {params.phantoms:q}'
        " --sets {params.sets:q} --needs {params.needs:q} --limits {params.limits:q} --out {output} 2>&1 | tee {log}"
