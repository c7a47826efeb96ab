"""Slides: slides.tsv (and phantoms, which are made here) -> slides/{slide}.json, one checked record a slide.

A slide that cannot be used gets a record that says why, is listed in the report, and yields empty results downstream.
Slides are no `input:` of rules: a fingerprint of their content is a parameter, so that copying or touching them reruns nothing.
"""


rule make_phantom:
    output:
        slide=f"{RUN}/phantoms/{{slide}}.tif",
        mask=f"{RUN}/phantoms/{{slide}}.mask.png",
    log:
        f"{RUN}/logs/make_phantom/{{slide}}.log",
    benchmark:
        f"{RUN}/benchmarks/make_phantom/{{slide}}.tsv"
    conda:
        "../envs/slides.yaml"
    resources:
        mem_mb=each_try(2000),
        runtime=slide_minutes(20),
    params:
        options=told("make_phantom"),
        code=code("make_phantom.py"),
        env=environment("slides"),
    shell:
        'python "$SCRIPTS/make_phantom.py" --options $RECIPE#{params.options:q} --slide {output.slide} --mask {output.mask}'
        " 2>&1 | tee {log}"


rule register_slide:
    input:
        phantom_of,
    output:
        f"{RUN}/slides/{{slide}}.json",
    log:
        f"{RUN}/logs/register_slide/{{slide}}.log",
    conda:
        "../envs/slides.yaml"
    resources:
        mem_mb=each_try(2000),
        runtime=slide_minutes(1),
    params:
        row=lambda w: identity(w.slide, [SLIDES[w.slide].mpp, SLIDES[w.slide].sha256]),
        damaged=told("register_slide", "damaged"),
        stop=lambda w, resources: "--stop-on-bad" if RECIPE.slides.on_bad == "stop" else "",
        content=content_of("slide", "slide"),
        code=code("register_slide.py"),
        env=environment("slides"),
    shell:
        once()
        + 'python "$SCRIPTS/register_slide.py" --row $RUN_DIR/state/slides.json#{params.row:q} --run-dir $RUN_DIR {params.damaged} {params.stop} --out {output}'
        " 2>&1 | tee {log}"
