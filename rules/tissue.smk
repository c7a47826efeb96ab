"""Tissue: a slide's record -> tissue/{slide}/: where it has tissue, the background colour, and a picture of both.

A GeoJSON named in slides.tsv (column `tissue`) replaces what is computed; it is the user's file and never overwritten.
"""


rule segment_tissue:
    input:
        record=f"{RUN}/slides/{{slide}}.json",
        phantom=phantom_of,
    output:
        mask=f"{RUN}/tissue/{{slide}}/mask.png",
        geojson=f"{RUN}/tissue/{{slide}}/tissue.geojson",
        overlay=report(
            f"{RUN}/tissue/{{slide}}/overlay.png",
            caption="../workflow/report/overlay.rst",
            category="Tissue",
        ),
        qc=f"{RUN}/tissue/{{slide}}/qc.json",
    log:
        f"{RUN}/logs/segment_tissue/{{slide}}.log",
    benchmark:
        f"{RUN}/benchmarks/segment_tissue/{{slide}}.tsv"
    conda:
        "../envs/slides.yaml"
    resources:
        mem_mb=each_try(tissue_mb),
        runtime=slide_minutes(1),
    params:
        options=told("segment_tissue"),
        edited=lambda w, resources: f"--edited {shlex.quote(SLIDES[w.slide].tissue)}" if SLIDES[w.slide].tissue else "",
        outline=content_of("tissue", "slide"),
        content=content_of("slide", "slide"),
        code=code("segment_tissue.py"),
        env=environment("slides"),
    shell:
        once() + 'python "$SCRIPTS/segment_tissue.py" --record {input.record} --run-dir $RUN_DIR'
        " --options $RECIPE#{params.options:q} {params.edited} --out-dir $(dirname {output.mask}) 2>&1 | tee {log}"
