"""Evaluation: levels and held-out patches -> evaluation/{slide}/: how coherent, and how it looks beside real tissue."""


def levels_of(wildcards):
    return expand(f"{RUN}/synthetic/{wildcards.slide}/level{{k}}.h5", k=range(len(LEVELS)))


def finest_patch_set():
    """The patch set that the finest level's model learned from."""
    return RECIPE.models[LEVELS[-1].model].patches


rule measure_coherence:
    input:
        levels=levels_of,
        plan=f"{RUN}/synthetic/{{slide}}/plan.png",
    output:
        f"{RUN}/evaluation/{{slide}}/coherence.json",
    log:
        f"{RUN}/logs/measure_coherence/{{slide}}.log",
    benchmark:
        f"{RUN}/benchmarks/measure_coherence/{{slide}}.tsv"
    conda:
        "../envs/evaluation.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        options=canonical(RECIPE.evaluation.model_dump(include={"seam_shifts"})),
        tiles=canonical(
            [v.model_dump(mode="json", include={"tile_px", "joining", "constraint"}) for v in LEVELS]
        ),
        code=code("measure_coherence.py"),
    shell:
        'python "$SCRIPTS/measure_coherence.py" --levels-dir $(dirname {input.plan}) --plan {input.plan}'
        " --options {params.options:q} --tiles {params.tiles:q} --out {output} 2>&1 | tee {log}"


rule draw_contact_sheet:
    input:
        levels=levels_of,
        plan=f"{RUN}/synthetic/{{slide}}/plan.png",
        splits=f"{RUN}/splits.tsv",
        patches=expand(f"{RUN}/patches/{finest_patch_set()}/{{slide}}.h5", slide=SLIDES),
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
        mem_mb=4000,
        runtime=30,
    params:
        options=canonical(RECIPE.evaluation.model_dump(include={"contact_sheet"})),
        patches=f"{RUN}/patches/{finest_patch_set()}",
        min_tissue=RECIPE.patches[finest_patch_set()].min_tissue,
        seed=RECIPE.seed,
        code=code("draw_contact_sheet.py"),
    shell:
        'python "$SCRIPTS/draw_contact_sheet.py" --patches {params.patches} --splits {input.splits}'
        " --levels-dir $(dirname {input.plan}) --options {params.options:q} --min-tissue {params.min_tissue} --seed {params.seed} --out {output}"
        " 2>&1 | tee {log}"
