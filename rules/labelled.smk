"""Labelled patches: regions drawn on slides -> patches/{set}/{slide}.h5; image files or PatchCamelyon's HDF5 ->
patches/{set}/{set}.h5 and its own splits.tsv, by group.

The files are no `input:` of rules: a fingerprint of their content is a parameter, as slides' is.
"""


rule cut_regions:
    input:
        record=f"{RUN}/slides/{{slide}}.json",
        phantom=phantom_of,
    output:
        patches=f"{RUN}/patches/{{patch_set}}/{{slide}}.h5",
        picture=report(
            f"{RUN}/patches/{{patch_set}}/{{slide}}.png",
            caption="../workflow/report/patches.rst",
            category="Patches",
        ),
    log:
        f"{RUN}/logs/cut_regions/{{patch_set}}/{{slide}}.log",
    benchmark:
        f"{RUN}/benchmarks/cut_regions/{{patch_set}}/{{slide}}.tsv"
    wildcard_constraints:
        patch_set=sets_of_kind("regions"),
    conda:
        "../envs/slides.yaml"
    resources:
        mem_mb=each_try(2000),
        runtime=cutting_minutes,
    params:
        options=told("cut_regions"),
        regions=lambda w, resources: (
            f"--regions {shlex.quote(SLIDES[w.slide].regions)}" if SLIDES[w.slide].regions else ""
        ),
        drawn=content_of("regions", "slide"),
        content=content_of("slide", "slide"),
        seed=told("cut_regions", "seed"),
        code=code("cut_regions.py"),
        env=environment("slides"),
    shell:
        once(COORDS) + 'python "$SCRIPTS/cut_regions.py" --record {input.record} --run-dir $RUN_DIR {params.regions}'
        " --options $RECIPE#{params.options:q} {params.seed} --out {output.patches} --picture {output.picture}"
        " --coords $RUN_DIR/patches/{wildcards.patch_set}/coords 2>&1 | tee {log}"


rule read_labelled:
    output:
        f"{RUN}/patches/{{patch_set}}/{{patch_set}}.h5",
    log:
        f"{RUN}/logs/read_labelled/{{patch_set}}.log",
    benchmark:
        f"{RUN}/benchmarks/read_labelled/{{patch_set}}.tsv"
    wildcard_constraints:
        patch_set=sets_of_kind(*LABELLED),
    conda:
        "../envs/slides.yaml"
    resources:
        mem_mb=each_try(2000),
        runtime=120,
    params:
        options=told("read_labelled"),
        content=content_of("labelled", "patch_set"),
        seed=told("read_labelled", "seed"),
        code=code("read_labelled.py"),
        env=environment("slides"),
    shell:
        once()
        + 'python "$SCRIPTS/read_labelled.py" --options $RECIPE#{params.options:q} {params.seed} --out {output} 2>&1 | tee {log}'


rule split_groups:
    input:
        f"{RUN}/patches/{{patch_set}}/{{patch_set}}.h5",
    output:
        f"{RUN}/patches/{{patch_set}}/splits.tsv",
    log:
        f"{RUN}/logs/split_groups/{{patch_set}}.log",
    wildcard_constraints:
        patch_set=sets_of_kind(*LABELLED),
    conda:
        "../envs/slides.yaml"
    resources:
        mem_mb=each_try(1000),
        runtime=10,
    params:
        options=told("split_groups"),
        code=code("split_groups.py"),
        env=environment("slides"),
    shell:
        'python "$SCRIPTS/split_groups.py" --patches {input} --options $RECIPE#{params.options:q} --out {output} 2>&1 | tee {log}'
