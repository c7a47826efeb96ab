"""Reader studies: slides, levels and samples -> reading/{reading}/for_readers/, a folder to hand out, and key.json, which stays;
answers that came back -> reading/{reading}/analysis/.
"""


rule make_reading:
    input:
        unpack(shown_to_readers),
    output:
        folder=directory(f"{RUN}/reading/{{reading}}/for_readers"),
        key=f"{RUN}/reading/{{reading}}/key.json",
    log:
        f"{RUN}/logs/make_reading/{{reading}}.log",
    conda:
        "../envs/slides.yaml"
    resources:
        mem_mb=each_try(2000),
        runtime=240,
    params:
        options=told("make_reading"),
        mpps=told("make_reading", "mpps"),
        files=words_for_readers,
        slides=content_of_slides(),
        code=code("make_reading.py"),
        env=environment("slides"),
    shell:
        'python "$SCRIPTS/make_reading.py" --run-dir $RUN_DIR --name {wildcards.reading} {params.files} {params.mpps}'
        " --options $RECIPE#{params.options:q} --out {output.folder} --key {output.key} 2>&1 | tee {log}"


rule analyse_reading:
    input:
        key=f"{RUN}/reading/{{reading}}/key.json",
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
        "../envs/slides.yaml"
    resources:
        mem_mb=each_try(1500),
        runtime=20,
    params:
        answers=lambda w, resources: shlex.join(answers_of(w.reading)),
        content=content_of("answers", "reading"),
        code=code("analyse_reading.py"),
        env=environment("slides"),
    shell:
        'python "$SCRIPTS/analyse_reading.py" --answers {params.answers} --key {input.key} --out $(dirname {output.found})'
        " 2>&1 | tee {log}"
