"""histogenesis: from a lab's histology slides to trained diffusion models, synthetic slides, and how real they are.

snakemake --cores 2                                      the demo (config/config.yaml)
snakemake --configfile config/harb.yaml --profile slurm  a paper's recipe on a cluster
"""

from snakemake.utils import min_version

min_version("9.0")

if not workflow.config_settings.configfiles:

    configfile: workflow.source_path("config/config.yaml")


include: "rules/home.smk"
include: "rules/common.smk"
include: "rules/resources.smk"
include: "rules/retries.smk"
include: "rules/versions.smk"
include: "rules/slides.smk"
include: "rules/tissue.smk"
include: "rules/patches.smk"
include: "rules/labelled.smk"
include: "rules/models.smk"
include: "rules/samples.smk"


if RECIPE.synthetic:

    include: "rules/waves.smk"
    include: "rules/drawing.smk"
    include: "rules/evaluation.smk"


include: "rules/report.smk"


report: "workflow/report/workflow.rst"


# Seconds each: they run where Snakemake runs.
localrules:
    write_recipe,
    split_patients,
    split_groups,
    check_data,
    plan_tissue,
    write_report,


rule all:
    default_target: True
    input:
        f"{RUN}/report.html",
        expand(f"{RUN}/synthetic/{{slide}}.tif", slide=SYNTHETIC),
        expand(f"{RUN}/synthetic/{{slide}}/level{{k}}.h5", slide=SYNTHETIC, k=range(len(LEVELS))),
