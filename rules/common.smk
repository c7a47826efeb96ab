"""What all rules share: the checked recipe, the slides, where results lie, and the words that decide on reruns."""

import functools
import gc
import json
import os
import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import snakemake.io

# What is planned for thousands of slides stays, and to look through it again and again took a fifth of the time.
gc.set_threshold(200_000, 50, 1000)


def clone_flags(file, other, *args, clone=snakemake.io._IOFile.clone_flags, **options):
    """Snakemake keeps a dict of flags for each input of each job, and most have none: a quarter of what a plan holds."""
    if other.flags:
        clone(file, other, *args, **options)


if workflow.modifier.is_main_snakefile():  # where no input that a function names has flags
    snakemake.io._IOFile.clone_flags = clone_flags

HOME = Path(str(workflow.current_basedir)).parent  # also where another workflow uses this one as a module
sys.path.insert(0, str(HOME / "src"))

from histogenesis.recipe import RecipeError, extended, parse_recipe
from histogenesis.recipe.data import LABELLED
from histogenesis.recipe.identity import identity
from histogenesis.recipe.told import recipe_of_text, recipe_text, told as told_of
from histogenesis.core.errors import BadInput
from histogenesis.core.files import read_json
from histogenesis.provenance.digests import code_digest, environment_digest
from histogenesis.slides.table import rows_of, slide_path
from histogenesis.steps.check import check_start, stop_on
from snakemake.logging import logger

ACCEPT_MISSING = str(config.pop("accept_missing", "")).lower() in ("1", "true", "yes")  # see brought.smk


def slide_table(slides):
    """The slide table's path: beside the results or, for tables that come with the workflow, in the repository."""
    table = Path(slides.table)
    return str(table if table.exists() or not (HOME / table).exists() else HOME / table)


def recipe_values():
    """What Snakemake has read, over the recipe that it extends: a file beside the one given last, or from where snakemake runs."""
    files = [Path(file).resolve() for file in reversed(workflow.configfiles)]
    folders = [*(file.parent for file in files), Path(".")]
    return extended(config, folders, str(files[0]) if files else "the recipe", files)


# What the main process plans with, written when a run starts (start.smk): jobs read it, so that they work nothing out again,
# and a recipe that is edited meanwhile counts from the next start on.
PLAN = None

try:
    values = recipe_values()
    STATE = Path("results", str(values.get("run")), "state")
    if not workflow.is_main_process and (STATE / "planned.json").exists():
        PLAN = read_json(STATE / "planned.json")
    RECIPE = recipe_of_text((STATE / "recipe.json").read_text()) if PLAN else parse_recipe(values, "the recipe")
    RUN = f"results/{RECIPE.run}"
    slides = RECIPE.slides.model_copy(update={"table": slide_table(RECIPE.slides)} if RECIPE.slides.table else {})
    if workflow.is_main_process:
        FOUND = check_start(RECIPE.model_copy(update={"slides": slides}), Path(RUN))
        for finding in FOUND:  # what stops the run does so before jobs begin (start.smk): a dry run goes on
            logger.warning(str(finding))
    SLIDES = {row.slide: row for row in rows_of(slides, RECIPE.run)}
except (RecipeError, BadInput) as error:
    raise WorkflowError(str(error)) from None

SYNTHETIC = RECIPE.synthetic.names if RECIPE.synthetic else []
LEVELS = RECIPE.synthetic.levels if RECIPE.synthetic else []
JUDGED = SYNTHETIC if RECIPE.compared_patches else []  # those that are compared with patches: a recipe may only draw
GIVEN = {"level0": "given: a region of a real slide"} if LEVELS and LEVELS[0].kind == "given" else {}
if GIVEN and LEVELS[0].slide not in SLIDES:
    raise WorkflowError(f"synthetic.levels[0]: no slide {LEVELS[0].slide!r}; there are {', '.join(SLIDES)}")
TAKEN = {name: model.source for name, model in RECIPE.imported_models.items()}
STARTS = {name: m.training.start for name, m in RECIPE.trained_models.items() if m.training.start}
# Patch sets, each with a model from elsewhere: training goes on from it there, or what it draws is compared with them.
BROUGHT = [[RECIPE.models[name].patches, start] for name, start in STARTS.items()]
BROUGHT += [[m.patches or RECIPE.compared_patches, m.source] for m in RECIPE.imported_models.values()]
ENCODERS = [e if isinstance(e, str) else e.name for e in RECIPE.evaluation.encoders]
ENCODER_FILES = {e.name: e.file for e in RECIPE.evaluation.encoders if not isinstance(e, str)}
OF_STUDY = sorted({name for cell in RECIPE.study.cells for name in cell.samples.values()}) if RECIPE.study else []
OF_USE = [name for name in RECIPE.samples if RECIPE.measures_tstr(name)]  # by what a classifier learns from them
PHANTOMS = {phantom.name: phantom for phantom in RECIPE.slides.phantoms}


def phantom_files(slides):
    """The files of those slides that are made here: inputs of each step that reads them, or they would not be there for it when
    they were deleted to make room."""
    return [f"{RUN}/phantoms/{slide}.tif" for slide in slides if slide in PHANTOMS]


def phantom_of(wildcards):
    return phantom_files([wildcards.slide])


# Jobs find scripts, library and recipe through the environment, so that no rule's text holds a path of this machine.
# PYTHONPATH is set within the job: Snakemake takes it out of a conda job's environment.
os.environ.update(
    SCRIPTS=str(HOME / "workflow/scripts"),
    LIBRARY=str(HOME / "src"),
    RUN_DIR=RUN,
    RECIPE=str(STATE / "recipe.json"),
    SLIDE_TABLE=slides.table or "",
    LADDER=json.dumps(RECIPE.synthetic.drawn_mpps if RECIPE.synthetic else {}),
)
shell.prefix('set -euo pipefail; export PYTHONPATH="$LIBRARY" OMP_WAIT_POLICY=passive; ')
os.environ.setdefault("HISTOGENESIS_SLIDE_ROOT", RECIPE.slides.root)
os.environ.setdefault("HISTOGENESIS_SHARED", "")  # see `once`


wildcard_constraints:
    slide=r"[A-Za-z0-9][A-Za-z0-9_.-]*",
    patch_set="|".join(map(re.escape, RECIPE.patches)) or "(?!)",
    model="|".join(map(re.escape, RECIPE.models)) or "(?!)",
    samples="|".join(map(re.escape, RECIPE.samples)) or "(?!)",
    reading="|".join(map(re.escape, RECIPE.reading)) or "(?!)",
    encoder=r"[A-Za-z0-9_.-]+",
    k=r"\d+",


# Snakemake compares the params of a job as a set of values without their names. So each says what it is: `--seed 1`,
# `code:...`, `models/shared@8f3c12...`; two values that change places are then a change. A param that is a function of
# `resources` is not compared: paths, and what else bears on no byte.


def told(rule, key="options"):
    """A param: what a rule is told of the recipe (histogenesis/recipe/told.py). For all slides but phantoms it is the same."""

    @functools.cache
    def of_recipe(**wildcards):
        return told_of(rule, RECIPE, SimpleNamespace(**wildcards))[key]

    def param(wildcards):
        return of_recipe(
            **{name: value for name, value in wildcards.items() if name != "slide" or rule == "make_phantom"}
        )

    return param


@functools.cache
def code(script):
    """Digest of a script and of every project module that it imports: a change of either reruns the rule."""
    return PLAN["code"][script] if PLAN else f"code:{code_digest(HOME / 'workflow/scripts' / script, HOME)}"


@functools.cache
def environment(name):
    """Digest of what an environment installs. Snakemake's own trigger, which profiles/default leaves out, also sees
    whether, and where, conda is used."""
    return PLAN["environments"][name] if PLAN else f"env:{environment_digest(name, HOME)}"


def once(beside=""):
    """Before a command: what another run has made of the same slide in the same way is taken from the folder that runs share
    (HISTOGENESIS_SHARED; histogenesis/steps/once.py). beside: a folder, and patterns of what the step writes there."""
    return f'python -m histogenesis.steps.once "$HISTOGENESIS_SHARED" -- {{params:q}} -- {{input}} -- {{output}} -- {beside} -- '


def patches_of(name):
    """The files of a patch set: one a slide, or one for all labelled patches."""
    slides = SLIDES if RECIPE.patches[name].from_slides else [name]
    return expand(f"{RUN}/patches/{name}/{{slide}}.h5", slide=slides)


def splits_of(name):
    """What of a patch set is held out: whole patients, or whole groups of labelled patches."""
    return f"{RUN}/splits.tsv" if RECIPE.patches[name].from_slides else f"{RUN}/patches/{name}/splits.tsv"


def by_set(files):
    """An input: files of the job's patch set (patches_of, splits_of)."""

    def of_set(wildcards):
        return files(wildcards.patch_set)

    return of_set


def by_model(files):
    """An input: files of the patch set that the job's model learns from."""

    def of_set(wildcards):
        return files(RECIPE.models[wildcards.model].patches)

    return of_set


def by_samples(files):
    """An input: files of the patch set that the job's samples are compared with."""

    def of_set(wildcards):
        return files(RECIPE.compared_with(wildcards.samples))

    return of_set


def table_of_slides(wildcards, resources):
    """A param that is not compared: the table's rows are, by their identity."""
    return '--table "$SLIDE_TABLE"' if RECIPE.slides.table else ""


def label_of(wildcards):
    """The class of a slide, for patch sets that take it as that of its patches."""
    if not RECIPE.patches[wildcards.patch_set].labelled:
        return ""
    return f"--label {shlex.quote(SLIDES[wildcards.slide].label or '')}"


def sets_of_kind(*kinds):
    return one_of(name for name, patches in RECIPE.patches.items() if patches.kind in kinds)


def level_above(wildcards):
    k = int(wildcards.k)
    folder = f"{RUN}/synthetic/{wildcards.slide}"
    return (
        {"above": f"{folder}/level{k - 1}.h5", "plan": f"{folder}/plan.json", "mask": f"{folder}/plan.png"} if k else {}
    )


def models_of_level(wildcards):
    """The files of the models that a level names."""
    folders = [f"{RUN}/models/{name}" for name in dict.fromkeys(LEVELS[int(wildcards.k)].models)]
    if not folders:
        return {}
    return {
        "weights": [f"{folder}/model.safetensors" for folder in folders],
        "description": [f"{folder}/model.json" for folder in folders],
    }


def model_of_samples(wildcards):
    """The files of the model that draws samples, and the weights of those below it in a cascade."""
    samples = RECIPE.samples[wildcards.samples]
    folder = f"{RUN}/models/{samples.model}"
    smaller = [f"{RUN}/models/{one.model}/model.safetensors" for one in samples.cascade]
    return {"weights": f"{folder}/model.safetensors", "description": f"{folder}/model.json", "smaller": smaller}


def slide_of_level(wildcards):
    """The files of the real slide that is given as a level."""
    slide = LEVELS[int(wildcards.k)].slide
    tissue = f"{RUN}/tissue/{slide}"
    files = {"record": f"{RUN}/slides/{slide}.json", "tissue": f"{tissue}/mask.png", "qc": f"{tissue}/qc.json"}
    return files | {"phantom": phantom_files([slide])}


def autoencoder_of(wildcards):
    """The files of the model in whose latent space a model draws, if there is one."""
    name = getattr(RECIPE.models[wildcards.model], "autoencoder", None)
    return [f"{RUN}/models/{name}/model.safetensors", f"{RUN}/models/{name}/model.json"] if name else []


def levels_of(wildcards):
    return expand(f"{RUN}/synthetic/{wildcards.slide}/level{{k}}.h5", k=range(len(LEVELS)))


def finest_patch_set():
    """The patch set that synthetic slides are compared with."""
    return RECIPE.compared_patches


def models_that_drew():
    """The files of the model that drew the finest level and learned from the patches that slides are compared with, if any."""
    name = getattr(LEVELS[-1], "model", None) if LEVELS else None
    if not name or getattr(RECIPE.models[name], "patches", "") != finest_patch_set():
        return []
    return [f"{RUN}/models/{name}/{file}" for file in ("model.safetensors", "model.json")]


def one_of(names):
    """A pattern that matches these names and nothing else, not even where there are none."""
    return "|".join(re.escape(str(name)) for name in names) or "(?!)"


def levels_of_kind(kind):
    return one_of(k for k, level in enumerate(LEVELS) if level.kind == kind)


def samples_evaluated():
    """All that is measured of samples, and the study's table; where nothing is measured, the samples, of which a crate holds what the
    report comes from."""
    if not RECIPE.evaluation.enabled:
        return expand(f"{RUN}/samples/{{samples}}/samples.h5", samples=RECIPE.samples)
    found = expand(f"{RUN}/evaluation/samples/{{samples}}/metrics.json", samples=RECIPE.samples)
    found += expand(f"{RUN}/evaluation/samples/{{samples}}/utility.json", samples=OF_USE)
    found += expand(f"{RUN}/evaluation/reconstruction/{{model}}.json", model=RECIPE.autoencoders)
    return found + ([f"{RUN}/study/table.json", f"{RUN}/study/arms.json"] if RECIPE.study else [])


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
    return {
        "drawn": drawn,
        "plans": plans,
        "real": real,
        "splits": f"{RUN}/splits.tsv",
        "phantoms": phantom_files(SLIDES),
    }


def words_for_readers(wildcards, input):
    """Where those files are, as flags."""
    if RECIPE.reading[wildcards.reading].kind == "survey":
        return f"--samples {input.samples} --splits {input.splits} --patches {os.path.dirname(input.patches[0])}"
    return f"--slides {' '.join(SYNTHETIC)}"
