"""Reader studies: slides, levels and samples -> reading/{reading}/for_readers/, a folder to hand out, and key.json, which stays;
answers that came back -> reading/{reading}/analysis/.
"""


def shown_to_readers(wildcards):
    """The files that a reader study shows pictures of."""
    section = RECIPE.reading[wildcards.reading]
    if section.kind == "survey":
        compared = RECIPE.compared_with(section.samples)
        files = {"samples": f"{RUN}/samples/{section.samples}/samples.h5"}
        return files | {"splits": splits_of(compared), "patches": patches_of(compared)}
    drawn = expand(f"{RUN}/synthetic/{{slide}}/level{{k}}.h5", slide=SYNTHETIC, k=range(len(LEVELS)))
    plans = expand(f"{RUN}/synthetic/{{slide}}/plan.{{ending}}", slide=SYNTHETIC, ending=["json", "png"])
    real = expand(f"{RUN}/tissue/{{slide}}/qc.json", slide=SLIDES)
    return {"drawn": drawn, "plans": plans, "real": real, "splits": f"{RUN}/splits.tsv"}


def words_for_readers(wildcards, input):
    """Where those files are, as flags."""
    if RECIPE.reading[wildcards.reading].kind == "survey":
        return f"--samples {input.samples} --splits {input.splits} --patches {os.path.dirname(input.patches[0])}"
    return f"--slides {' '.join(SYNTHETIC)}"


def answers_of(reading):
    """What readers of a study have sent back so far."""
    folder = Path(RECIPE.reading[reading].answers or f"answers/{RECIPE.run}/{reading}")
    return sorted(map(str, folder.glob("*.json")))


READ = [name for name in RECIPE.reading if answers_of(name)]


rule make_reading:
    input:
        unpack(shown_to_readers),
    output:
        folder=directory(f"{RUN}/reading/{{reading}}/for_readers"),
        key=f"{RUN}/reading/{{reading}}/key.json",
    log:
        f"{RUN}/logs/make_reading/{{reading}}.log",
    conda:
        "../envs/evaluation.yaml"
    resources:
        mem_mb=each_try(2000),
        runtime=240,
    params:
        options=told("make_reading"),
        mpps=told("make_reading", "mpps"),
        files=words_for_readers,
        slides=content_of_slides(),
        code=code("make_reading.py"),
        env=environment("evaluation"),
    shell:
        'python "$SCRIPTS/make_reading.py" --run-dir $RUN_DIR --name {wildcards.reading} {params.files} {params.mpps}'
        " --options $RECIPE#{params.options:q} --out {output.folder} --key {output.key} 2>&1 | tee {log}"


rule analyse_reading:
    input:
        key=f"{RUN}/reading/{{reading}}/key.json",
        answers=lambda w: answers_of(w.reading),
    output:
        found=f"{RUN}/reading/{{reading}}/analysis/analysis.json",
        answers=f"{RUN}/reading/{{reading}}/analysis/answers.csv",
        readers=f"{RUN}/reading/{{reading}}/analysis/readers.csv",
        picture=report(
            f"{RUN}/reading/{{reading}}/analysis/analysis.png",
            caption="../workflow/report/reading.rst",
            category="Readers",
        ),
    log:
        f"{RUN}/logs/analyse_reading/{{reading}}.log",
    conda:
        "../envs/evaluation.yaml"
    resources:
        mem_mb=each_try(1500),
        runtime=20,
    params:
        code=code("analyse_reading.py"),
        env=environment("evaluation"),
    shell:
        'python "$SCRIPTS/analyse_reading.py" {input.answers:q} --key {input.key} --out $(dirname {output.found})'
        " 2>&1 | tee {log}"
