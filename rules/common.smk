"""What all rules share: the checked recipe, the slides, where results lie, and the digests that decide on reruns."""

import json
import os
import shlex
import sys
from itertools import chain
from pathlib import Path

HOME = Path(workflow.basedir)
sys.path.insert(0, str(HOME / "src"))

from histogenesis.config import RecipeError, canonical, parse_recipe
from histogenesis.errors import BadInput
from histogenesis.provenance import code_digest, content_digests, environment_digest
from histogenesis.slides.table import rows_of, slide_path


def slide_table(slides):
    """The slide table's path: beside the results or, for tables that come with the workflow, in the repository."""
    table = Path(slides.table)
    return str(table if table.exists() or not (HOME / table).exists() else HOME / table)


try:
    RECIPE = parse_recipe(config, "the recipe")
    RUN = f"results/{RECIPE.run}"
    slides = RECIPE.slides.model_copy(update={"table": slide_table(RECIPE.slides)} if RECIPE.slides.table else {})
    SLIDES = {row.slide: row for row in rows_of(slides, RECIPE.run)}
except (RecipeError, BadInput) as error:
    raise WorkflowError(str(error)) from None

SYNTHETIC = RECIPE.synthetic.names
LEVELS = RECIPE.synthetic.levels
TAKEN = {name: model.path for name, model in RECIPE.models.items() if name not in RECIPE.trained_models}
ENCODERS = [e if isinstance(e, str) else e.name for e in RECIPE.evaluation.encoders]
ENCODER_FILES = {e.name: e.file for e in RECIPE.evaluation.encoders if not isinstance(e, str)}
SAMPLED = {"encoders", "images", "train_images"}  # what decides which patches are compared, and by what
PHANTOMS = {phantom.name: phantom for phantom in RECIPE.slides.phantoms}

# Jobs find scripts and library through the environment, so that no rule's text holds a path of this machine.
os.environ.update(
    SCRIPTS=str(HOME / "workflow/scripts"),
    RUN_DIR=RUN,
    SLIDE_TABLE=slides.table or "",
    PYTHONPATH=os.pathsep.join(filter(None, [str(HOME / "src"), os.environ.get("PYTHONPATH")])),
)
os.environ.setdefault("HISTOGENESIS_SLIDE_ROOT", RECIPE.slides.root)


wildcard_constraints:
    slide=r"[A-Za-z0-9][A-Za-z0-9_.-]*",
    patch_set="|".join(RECIPE.patches),
    model="|".join(RECIPE.models),
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
    """What users bring, by its name in the table or the recipe: slides, tissue outlines, encoders (a file or a folder)."""
    found = {}
    for row in SLIDES.values():
        names = [row.tissue] if row.slide in PHANTOMS else [row.path, row.tissue]
        found.update((name, [slide_path(name, Path(RUN))]) for name in names if name)
    for name in ENCODER_FILES.values():
        found[name] = sorted(Path(name).rglob("*")) or [Path(name)]
    for name in TAKEN.values():
        found[name] = [Path(name, "model.safetensors"), Path(name, "model.json")]
    return {name: [path for path in paths if path.is_file()] for name, paths in found.items()}


# Content decides, cached by path, size and mtime: a touched slide reruns nothing, a changed one does.
USER_FILES = user_files()
CONTENTS = content_digests(chain.from_iterable(USER_FILES.values()), Path(".histogenesis/digests.json"))
# A run that was handed on without its slides says what they held (histogenesis/crate/share.py).
HANDED_ON = Path(RUN, "contents.json")
HANDED_ON = json.loads(HANDED_ON.read_text()) if HANDED_ON.exists() else {}

for name, path in TAKEN.items():
    if not USER_FILES[path] and path not in HANDED_ON:
        raise WorkflowError(f"models.{name}: there is no model in {path}; first run the recipe that trains it, here")


def content(name):
    """Digest of what a user brought; a file that is missing has none (the slide's record will say so)."""
    digests = ",".join(CONTENTS[path] or "unreadable" for path in USER_FILES.get(name, []))
    return f"content:{name}={digests or HANDED_ON.get(name, 'missing')}" if name else "content:none"


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
    """The levels that a model makes: their sections, and the ratio of the mpp above to their own."""
    found = [(k, level) for k, level in enumerate(LEVELS) if model in level.models]
    return [[level.model_dump(mode="json"), LEVELS[k - 1].mpp / level.mpp if k else None] for k, level in found]


def levels_of(wildcards):
    return expand(f"{RUN}/synthetic/{wildcards.slide}/level{{k}}.h5", k=range(len(LEVELS)))


def finest_patch_set():
    """The patch set that synthetic slides are compared with."""
    return RECIPE.compared_patches


def one_of(names):
    """A pattern that matches these names and nothing else, not even where there are none."""
    return "|".join(map(str, names)) or "(?!)"


def levels_of_kind(kind):
    return one_of(k for k, level in enumerate(LEVELS) if level.kind == kind)


def sampled_by(encoder):
    """What of the evaluation's section decides on one encoder's features: none of the user's other encoders does."""
    section = RECIPE.evaluation.model_dump(mode="json", include=SAMPLED)
    own = [e for e in section["encoders"] if not isinstance(e, str) and e["name"] == encoder]
    return canonical(section | {"encoders": ["stain-statistics", "learned", *own]})
