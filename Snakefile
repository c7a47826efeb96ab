"""histogenesis: from a lab's histology slides to trained diffusion models, synthetic slides, and how real they are.

snakemake --cores 2                                      the demo (config/config.yaml)
snakemake --configfile config/harb.yaml --profile slurm  a paper's recipe on a cluster
"""

import os
from importlib.util import find_spec

from snakemake.utils import min_version

min_version("9.0")

if not workflow.config_settings.configfiles:

    configfile: workflow.source_path("config/config.yaml")


# With --sdm apptainer, all steps run in this image (docs/cluster.md); without the variable no rule knows of any.
container: os.environ.get("HISTOGENESIS_IMAGE")


include: "rules/common.smk"
include: "rules/brought.smk"
include: "rules/resources.smk"
include: "rules/retries.smk"
include: "rules/asked.smk"
include: "rules/whole.smk"
include: "rules/same.smk"
include: "rules/settled.smk"
include: "rules/versions.smk"
include: "rules/slides.smk"
include: "rules/tissue.smk"
include: "rules/patches.smk"
include: "rules/labelled.smk"
include: "rules/models.smk"
include: "rules/samples.smk"


if RECIPE.synthetic:

    include: "rules/shares.smk"
    include: "rules/drawing.smk"


if JUDGED:

    include: "rules/evaluation.smk"


include: "rules/reading.smk"
include: "rules/report.smk"
include: "rules/start.smk"
include: "rules/site.smk"


if workflow.is_main_process and find_spec("snakemake_executor_plugin_slurm"):

    include: "rules/slurm.smk"


report: "workflow/report/workflow.rst"


# Seconds each: they run where Snakemake runs.
localrules:
    write_recipe,
    split_patients,
    split_groups,
    check_data,
    plan_tissue,
    write_report,
    all,
    models,
    slides,
    evaluation,
    study,
    reading,
    viewer,
    report,


MODELS = expand(f"{RUN}/models/{{model}}/model.json", model=RECIPE.models)
DRAWN = expand(f"{RUN}/synthetic/{{slide}}/level{{k}}.h5", slide=SYNTHETIC, k=range(len(LEVELS)))
DRAWN += expand(f"{RUN}/synthetic/{{slide}}.tif", slide=SYNTHETIC)
MEASURED = samples_evaluated() + expand(f"{RUN}/evaluation/{{slide}}/coherence.json", slide=JUDGED)
MEASURED += expand(
    f"{RUN}/evaluation/{{name}}.json", name=["metrics", "memorisation", "condition", "evidence"] if JUDGED else []
)


rule all:
    """Everything that the recipe makes, and the report on it; what is made when no target is named."""
    default_target: True
    input:
        kept_outputs(),
        owed_outputs,


rule models:
    """The models alone, trained or imported."""
    input:
        MODELS,


rule slides:
    """The synthetic slides, with all their levels, and no evaluation."""
    input:
        DRAWN,


rule evaluation:
    """What is measured of slides and samples, without the report."""
    input:
        MEASURED,


rule study:
    """The table of the study: every combination of its grid, with intervals over seeds."""
    input:
        [f"{RUN}/study/table.json"] if RECIPE.study else [],


rule reading:
    """Reader studies: a folder to hand out for each, and the analysis of the answers that have come back."""
    input:
        expand(f"{RUN}/reading/{{reading}}/key.json", reading=RECIPE.reading),
        expand(f"{RUN}/reading/{{reading}}/analysis/analysis.json", reading=READ),


rule viewer:
    """A folder for any file server: deep zoom into the synthetic slides and their levels."""
    input:
        f"{RUN}/viewer" if SYNTHETIC else [],


rule report:
    """The report alone, of what the recipe makes."""
    input:
        f"{RUN}/report.html",
