"""The report: everything that a run has made -> recipe.yaml (as it was run) and report.html, one page that opens alone."""

import yaml
from histogenesis.core.files import write_text


rule write_recipe:
    output:
        f"{RUN}/recipe.yaml",
    log:
        f"{RUN}/logs/write_recipe.log",
    params:
        recipe=told("write_recipe", "recipe"),
    run:
        write_text(output[0], yaml.safe_dump(RECIPE.model_dump(mode="json"), sort_keys=False))


rule write_report:
    input:
        recipe=f"{RUN}/recipe.yaml",
        data=f"{RUN}/data.json" if RECIPE.patches else [],
        splits=[splits_of(name) for name in RECIPE.patches] or ([f"{RUN}/splits.tsv"] if SLIDES else []),
        slides=expand(f"{RUN}/slides/{{slide}}.json", slide=SLIDES),
        tissue=expand(f"{RUN}/tissue/{{slide}}/qc.json", slide=SLIDES),
        patches=[file for name in RECIPE.patches for file in patches_of(name)],
        models=expand(f"{RUN}/models/{{model}}/model.json", model=RECIPE.models),
        levels=expand(f"{RUN}/synthetic/{{slide}}/level{{k}}.h5", slide=SYNTHETIC, k=range(len(LEVELS))),
        synthetic=expand(f"{RUN}/synthetic/{{slide}}.tif", slide=SYNTHETIC),
        coherence=expand(f"{RUN}/evaluation/{{slide}}/coherence.json", slide=JUDGED),
        evaluation=expand(
            f"{RUN}/evaluation/{{name}}.json",
            name=["metrics", "memorisation", "condition", "evidence"] if JUDGED else [],
        ),
        samples=samples_evaluated(),
        readers=expand(f"{RUN}/reading/{{reading}}/analysis/analysis.json", reading=READ),
        contact=expand(f"{RUN}/evaluation/{{slide}}/contact.png", slide=JUDGED),
    output:
        f"{RUN}/report.html",
    log:
        f"{RUN}/logs/write_report.log",
    conda:
        "../envs/evaluation.yaml"
    resources:
        mem_mb=each_try(2000),
        runtime=20,
    params:
        code=code("write_report.py"),
        env=environment("evaluation"),
    shell:
        'python "$SCRIPTS/write_report.py" --run-dir $RUN_DIR --out {output} 2>&1 | tee {log}'


rule write_viewer:
    input:
        levels=expand(f"{RUN}/synthetic/{{slide}}/level{{k}}.h5", slide=SYNTHETIC, k=range(len(LEVELS))),
        plans=expand(f"{RUN}/synthetic/{{slide}}/plan.png", slide=SYNTHETIC),
        synthetic=expand(f"{RUN}/synthetic/{{slide}}.tif", slide=SYNTHETIC),
        coherence=expand(f"{RUN}/evaluation/{{slide}}/coherence.json", slide=JUDGED),
        evidence=f"{RUN}/evaluation/evidence.json" if JUDGED else [],
        real=expand(f"{RUN}/tissue/{{slide}}/qc.json", slide=SLIDES if RECIPE.viewer.real else []),
        phantoms=phantom_files(SLIDES if RECIPE.viewer.real else []),
    output:
        directory(f"{RUN}/viewer"),
    log:
        f"{RUN}/logs/write_viewer.log",
    conda:
        "../envs/slides.yaml"
    resources:
        mem_mb=each_try(2000),
        runtime=canvas_minutes(20) if LEVELS else 20,
    params:
        real=told("write_viewer", "real"),
        slides=content_of_slides() if RECIPE.viewer.real else "",
        code=code("write_viewer.py"),
        env=environment("slides"),
    shell:
        'python "$SCRIPTS/write_viewer.py" --run-dir $RUN_DIR {params.real} --out {output} 2>&1 | tee {log}'
