"""Patches: records and tissue -> splits.tsv (by patient) and patches/{set}/{slide}.h5, with a picture of the places."""

# Who is whose, for all steps alike: a crate says the same of other words (histogenesis/provenance/anonymous.py).
ROWS = identity("rows", [[SLIDES[s].slide, SLIDES[s].patient, SLIDES[s].split] for s in sorted(SLIDES)])
# What is written beside the patches of a slide.
COORDS = '$RUN_DIR/patches/{wildcards.patch_set}/coords "*/patches/{wildcards.slide}.h5" "*/patches/{wildcards.slide}_patches.h5"'


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
        rows=ROWS,
        table=table_of_slides,
        phantoms=told("split_patients", "phantoms"),
        options=told("split_patients"),
        tissue="--tissue $RUN_DIR/tissue" if RECIPE.split.by == "region" else "",
        name=RECIPE.run,
        code=code("split_patients.py"),
        env=environment("slides"),
    shell:
        'python "$SCRIPTS/split_patients.py" {params.table} --phantoms $RECIPE#{params.phantoms:q} --records $RUN_DIR/slides'
        " {params.tissue} --run {params.name} --options $RECIPE#{params.options:q} --out {output} 2>&1 | tee {log}"


rule cut_patches:
    input:
        record=f"{RUN}/slides/{{slide}}.json",
        tissue=rules.segment_tissue.output.mask,
        qc=rules.segment_tissue.output.qc,
        phantom=phantom_of,
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
        options=told("cut_patches"),
        content=content_of("slide", "slide"),
        label=label_of,
        seed=told("cut_patches", "seed"),
        code=code("cut_patches.py"),
        env=environment("slides"),
    shell:
        once(COORDS) + 'python "$SCRIPTS/cut_patches.py" --record {input.record} --run-dir $RUN_DIR'
        " --tissue $(dirname {input.tissue}) --options $RECIPE#{params.options:q} {params.label} {params.seed}"
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
        rows=ROWS,
        table=table_of_slides,
        phantoms=told("check_data", "phantoms"),
        sets=told("check_data", "sets"),
        needs=told("check_data", "needs"),
        limits=told("check_data", "limits"),
        brought=lambda w, resources: json.dumps([[name, model] for name, model in BROUGHT if name]),
        code=code("check_data.py"),
        env=environment("slides"),
    shell:
        'python "$SCRIPTS/check_data.py" --run-dir $RUN_DIR {params.table} --phantoms $RECIPE#{params.phantoms:q}'
        " --sets $RECIPE#{params.sets:q} --needs $RECIPE#{params.needs:q} --limits $RECIPE#{params.limits:q} --brought {params.brought:q} --out {output}"
        " 2>&1 | tee {log}"
