"""What all rules share: the checked recipe, the slides, where results lie, and the digests that decide on reruns."""

import hashlib
import json
import os
import re
import shlex
from contextlib import suppress
from itertools import chain
from pathlib import Path

from histogenesis.recipe import RecipeError, canonical, extended, parse_recipe
from histogenesis.recipe.data import LABELLED
from histogenesis.recipe.needs import needs_of
from histogenesis.core.errors import BadInput
from histogenesis.models.shipped import FILES as MODEL_FILES, folder_of
from histogenesis.patches.sources import source_files
from histogenesis.provenance.digests import code_digest, content_digests, environment_digest
from histogenesis.slides.table import rows_of, slide_path


def slide_table(slides):
    """The slide table's path: beside the results or, for tables that come with the workflow, in the repository."""
    table = Path(slides.table)
    return str(table if table.exists() or not (HOME / table).exists() else HOME / table)


def recipe_values():
    """What Snakemake has read, over the recipe that it extends: a file beside the one given last, or from where snakemake runs."""
    files = [Path(file).resolve() for file in reversed(workflow.configfiles)]
    folders = [*(file.parent for file in files), Path(".")]
    return extended(config, folders, str(files[0]) if files else "the recipe", files)


try:
    RECIPE = parse_recipe(recipe_values(), "the recipe")
    RUN = f"results/{RECIPE.run}"
    slides = RECIPE.slides.model_copy(update={"table": slide_table(RECIPE.slides)} if RECIPE.slides.table else {})
    SLIDES = {row.slide: row for row in rows_of(slides, RECIPE.run)}
except (RecipeError, BadInput) as error:
    raise WorkflowError(str(error)) from None

SYNTHETIC = RECIPE.synthetic.names if RECIPE.synthetic else []
LEVELS = RECIPE.synthetic.levels if RECIPE.synthetic else []
TAKEN = {name: model.source for name, model in RECIPE.taken_models.items()}
STARTS = {name: m.training.start for name, m in RECIPE.trained_models.items() if m.training.start}
ENCODERS = [e if isinstance(e, str) else e.name for e in RECIPE.evaluation.encoders]
ENCODER_FILES = {e.name: e.file for e in RECIPE.evaluation.encoders if not isinstance(e, str)}
SAMPLED = {"encoders", "images", "train_images"}  # what decides which patches are compared, and by what
OF_SAMPLES = {
    "encoders",
    "images",
    "train_images",
    "neighbours",
    "repeats",
    "splits",
    "copy_percentile",
    "copy_views",
    "shown",
}
OF_STUDY = sorted({name for cell in RECIPE.study.cells for name in cell.samples.values()}) if RECIPE.study else []
OF_USE = [name for name in RECIPE.samples if RECIPE.measures_utility(name)]  # by what a classifier learns from them
PHANTOMS = {phantom.name: phantom for phantom in RECIPE.slides.phantoms}

# Jobs find scripts and library through the environment, so that no rule's text holds a path of this machine. PYTHONPATH
# is set within the job: Snakemake takes it out of a conda job's environment.
os.environ.update(
    SCRIPTS=str(HOME / "workflow/scripts"),
    LIBRARY=str(HOME / "src"),
    RUN_DIR=RUN,
    SLIDE_TABLE=slides.table or "",
)
shell.prefix('set -euo pipefail; export PYTHONPATH="$LIBRARY"; ')
os.environ.setdefault("HISTOGENESIS_SLIDE_ROOT", RECIPE.slides.root)


wildcard_constraints:
    slide=r"[A-Za-z0-9][A-Za-z0-9_.-]*",
    patch_set="|".join(map(re.escape, RECIPE.patches)) or "(?!)",
    model="|".join(map(re.escape, RECIPE.models)) or "(?!)",
    samples="|".join(map(re.escape, RECIPE.samples)) or "(?!)",
    encoder=r"[A-Za-z0-9_.-]+",
    k=r"\d+",


# Snakemake compares the params of a job as a set of values without their names. So each says what it is: `--seed 1`,
# `code:...`, a section as JSON with its keys; two values that change places are then a change.


def code(script):
    """Digest of a script and of every project module that it imports: a change of either reruns the rule."""
    return f"code:{code_digest(HOME / 'workflow/scripts' / script, HOME)}"


def environment(name):
    """Digest of what an environment installs. Snakemake's own trigger, which profiles/default leaves out, also sees
    whether, and where, conda is used."""
    return f"env:{environment_digest(name, HOME)}"


def user_files():
    """What users bring, by its name in the table or the recipe: slides, outlines, labelled patches, encoders (file or folder)."""
    found = {}
    for row in SLIDES.values():
        names = [row.tissue, row.regions] if row.slide in PHANTOMS else [row.path, row.tissue, row.regions]
        found.update((name, [slide_path(name, Path(RUN))]) for name in names if name)
    for name in ENCODER_FILES.values():
        found[name] = sorted(Path(name).rglob("*")) or [Path(name)]
    for patches in RECIPE.patches.values():
        if not patches.from_slides:
            source = slide_path(patches.path, Path(RUN))
            columns = patches.file_column, patches.class_column
            found[f"{patches.kind}:{patches.path}"] = source_files(source, patches.kind, *columns)
    for name in [*TAKEN.values(), *STARTS.values()]:
        with suppress(BadInput):  # which is said below
            found[name] = [folder_of(name) / file for file in MODEL_FILES]
    return {name: [path for path in paths if path.is_file()] for name, paths in found.items()}


# Content decides, cached by path, size and mtime: a touched slide reruns nothing, a changed one does.
USER_FILES = user_files()
CONTENTS = content_digests(chain.from_iterable(USER_FILES.values()), Path(".histogenesis/digests.json"))
# A run that was handed on without its slides says what they held (histogenesis/provenance/share.py).
HANDED_ON = Path(RUN, "contents.json")
HANDED_ON = json.loads(HANDED_ON.read_text()) if HANDED_ON.exists() else {}

# A model that this run does not train is there, or was there when the run was handed on.
for where, source in [(f"models.{n}", s) for n, s in TAKEN.items()] + [
    (f"models.{n}.training.start", s) for n, s in STARTS.items()
]:
    if source not in USER_FILES and source not in HANDED_ON:
        try:
            folder_of(source)
        except BadInput as error:
            raise WorkflowError(f"{where}: {error}; or first run the recipe that trains it, here") from None


def content(name):
    """Digest of what a user brought; a file that is missing has none (the slide's record will say so)."""
    digests = ",".join(CONTENTS[path] or "unreadable" for path in USER_FILES.get(name, []))
    return f"content:{name}={digests or HANDED_ON.get(name, 'missing')}" if name else "content:none"


def content_of_set(name):
    """One digest of all files of a labelled patch set, which may be hundreds of thousands."""
    key = f"{RECIPE.patches[name].kind}:{RECIPE.patches[name].path}"
    if not USER_FILES[key]:
        return content(key)
    return f"content:{key}={hashlib.sha256(','.join(CONTENTS[path] or '' for path in USER_FILES[key]).encode()).hexdigest()}"


def patches_of(name):
    """The files of a patch set: one a slide, or one for all labelled patches."""
    slides = SLIDES if RECIPE.patches[name].from_slides else [name]
    return expand(f"{RUN}/patches/{name}/{{slide}}.h5", slide=slides)


def splits_of(name):
    """What of a patch set is held out: whole patients, or whole groups of labelled patches."""
    return f"{RUN}/splits.tsv" if RECIPE.patches[name].from_slides else f"{RUN}/patches/{name}/splits.tsv"


def label_of(wildcards):
    """The class of a slide, for patch sets that take it as that of its patches."""
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


def levels_with(model):
    """The levels that a model makes: their sections with the canvas's size, and the ratio of the mpp above to their own."""
    found = [(k, level) for k, level in enumerate(LEVELS) if model in level.models]
    return [
        [
            level.model_dump(mode="json") | {"size_px": RECIPE.synthetic.size_px(k)},
            LEVELS[k - 1].mpp / level.mpp if k else None,
        ]
        for k, level in found
    ]


def autoencoder_of(wildcards):
    """The files of the model in whose latent space a model draws, if there is one."""
    name = getattr(RECIPE.models[wildcards.model], "autoencoder", None)
    return [f"{RUN}/models/{name}/model.safetensors", f"{RUN}/models/{name}/model.json"] if name else []


def levels_of(wildcards):
    return expand(f"{RUN}/synthetic/{wildcards.slide}/level{{k}}.h5", k=range(len(LEVELS)))


def finest_patch_set():
    """The patch set that synthetic slides are compared with."""
    return RECIPE.compared_patches


def one_of(names):
    """A pattern that matches these names and nothing else, not even where there are none."""
    return "|".join(re.escape(str(name)) for name in names) or "(?!)"


def levels_of_kind(kind):
    return one_of(k for k, level in enumerate(LEVELS) if level.kind == kind)


def utility_options():
    """The recipe's section evaluation.utility as words of a command."""
    options = RECIPE.evaluation.utility.model_dump() if RECIPE.evaluation.utility else {}
    return " ".join(f"--{key} {value}" for key, value in options.items())


def winner_options():
    """How a study's winner is found, and the model sections among which it is."""
    if not RECIPE.study.winner:
        return ""
    names = {name for cell in RECIPE.study.cells for name in cell.models.values()}
    models = {
        name: RECIPE.trained_models[name].model_dump(mode="json") for name in names if name in RECIPE.trained_models
    }
    return f"--winner {shlex.quote(canonical(RECIPE.study.winner))} --models {shlex.quote(canonical(models))}"


def samples_evaluated():
    """All that is measured of samples, and the study's table."""
    found = expand(f"{RUN}/evaluation/samples/{{samples}}/metrics.json", samples=RECIPE.samples)
    found += expand(f"{RUN}/evaluation/samples/{{samples}}/utility.json", samples=OF_USE)
    found += expand(f"{RUN}/evaluation/reconstruction/{{model}}.json", model=RECIPE.autoencoders)
    return found + ([f"{RUN}/study/table.json"] if RECIPE.study else [])


def sampled_by(encoder):
    """What of the evaluation's section decides on one encoder's features: none of the user's other encoders does."""
    section = RECIPE.evaluation.model_dump(mode="json", include=SAMPLED)
    own = [e for e in section["encoders"] if not isinstance(e, str) and e["name"] == encoder]
    return canonical(section | {"encoders": ["stain-statistics", "learned", *own]})
