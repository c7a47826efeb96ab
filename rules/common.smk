"""What all rules share: the checked recipe, the slides, where results lie, and the digests that decide on reruns."""

import os
import sys
from pathlib import Path

HOME = Path(workflow.basedir)
sys.path.insert(0, str(HOME / "src"))

from histogenesis.config import RecipeError, canonical, parse_recipe
from histogenesis.errors import BadInput
from histogenesis.provenance import code_digest, content_digests
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
ENCODERS = [e if isinstance(e, str) else e.name for e in RECIPE.evaluation.encoders]
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


def code(script):
    """Digest of a script and of every project module that it imports: a change of either reruns the rule."""
    return code_digest(HOME / "workflow/scripts" / script, HOME)


def digest_of_slide(row):
    """What a slide's file holds; a file that is missing has no digest (its record will say so)."""
    return CONTENTS.get(slide_path(row.path, Path(RUN)), "missing")


def digest_of_geojson(row):
    return CONTENTS.get(slide_path(row.tissue, Path(RUN)), "missing") if row.tissue else "none"


def user_files():
    """The files that users bring: slides of the table, and tissue outlines that they drew."""
    for row in SLIDES.values():
        if row.slide not in PHANTOMS:
            yield slide_path(row.path, Path(RUN))
        if row.tissue:
            yield slide_path(row.tissue, Path(RUN))


# Content decides, cached by path, size and mtime: a touched slide reruns nothing, a changed one does.
CONTENTS = content_digests([path for path in user_files() if path.is_file()], Path(".histogenesis/digests.json"))


def level_above(wildcards):
    k = int(wildcards.k)
    folder = f"{RUN}/synthetic/{wildcards.slide}"
    return (
        {"above": f"{folder}/level{k - 1}.h5", "plan": f"{folder}/plan.json", "mask": f"{folder}/plan.png"} if k else {}
    )


def levels_of(wildcards):
    return expand(f"{RUN}/synthetic/{wildcards.slide}/level{{k}}.h5", k=range(len(LEVELS)))


def finest_patch_set():
    """The patch set that the finest level's model learned from."""
    return RECIPE.models[LEVELS[-1].model].patches
