"""Exactly what a change invalidates runs again: for each kind of change, the jobs that a dry run plans on a finished run.

Each row starts from a copy of one finished lab (lab.py), workflow and results both in a new place. A dry run cannot know that
a step will write what it wrote before, so what comes after a planned job is planned too.
"""

import shutil
from collections import Counter
from collections.abc import Callable

import pytest

from .lab import Lab, touch

pytestmark = pytest.mark.workflow


def jobs(*parts: dict[str, int], **more: int) -> dict[str, int]:
    """The sum of several."""
    return dict(sum(map(Counter, [*parts, more]), Counter()))


# What follows from what, in this lab: 3 slides, 2 models of a patch set each, 1 synthetic slide of 3 levels, 2 encoders.
REPORT = jobs(write_report=1)
RECIPE = jobs(REPORT, write_recipe=1)  # any value of the recipe: the run's own copy of it, and the page that shows it
EVALUATED = jobs(evaluate_patches=1)
LEVELS = jobs(
    EVALUATED, stitch_slide=1, measure_coherence=1, draw_contact_sheet=1, extract_features=2
)  # of the finest level
FINE = jobs(LEVELS, train_model=1, draw_level=2)  # the second model
COARSE = jobs(LEVELS, train_model=1, draw_level=3, plan_tissue=1)  # the first, and all that is drawn from it
PATCHES = jobs(COARSE, train_model=1, check_data=1)  # of both sets
SLIDE = jobs(PATCHES, REPORT, register_slide=1, split_patients=1, segment_tissue=1, cut_patches=2)


def append(text: str) -> Callable[[str], str]:
    return lambda old: f"{old}\n{text}\n"


def replace(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


def source(name: str, change: Callable[[str], str] = append("CHANGED = 1")):  # noqa: B008
    return lambda lab: lab.edit(f"code/{name}", change)


def module(name: str, change: Callable[[str], str] = append("CHANGED = 1")):  # noqa: B008
    return source(f"src/histogenesis/{name}", change)


def recipe(path: str, value):
    """Set one value of the recipe; `path` goes through sections and lists."""

    def change(values):
        *sections, key = [int(part) if part.isdigit() else part for part in path.split(".")]
        for section in sections:
            values = values.setdefault(section, {}) if isinstance(values, dict) else values[section]
        values[key] = value

    return lambda lab: lab.edit_recipe(change)


def both(*changes):
    return lambda lab: [change(lab) for change in changes]


def table(old: str, new: str):
    return lambda lab: lab.edit("project/slides.tsv", replace(old, new))


def deleted(*names: str):
    def change(lab):
        for name in names:
            path = lab.project / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def new_bytes(name: str):
    def change(lab):
        with open(lab.slides / name, "ab") as file:
            file.write(b"\0")

    return change


def another_slide(lab: Lab) -> None:
    shutil.copy(lab.slides / "a.tif", lab.slides / "d.tif")
    lab.edit("project/slides.tsv", append("d\td.tif\tpd\t\t"))


def another_phantom(lab: Lab) -> None:
    """First in the list; it has another name, and so another place."""
    other = {"name": "0", "seed": 4, "width_mm": 1.2, "height_mm": 1.0, "mpp": 2}
    lab.edit_recipe(lambda values: values["slides"]["phantoms"].insert(0, other))


def slides_elsewhere(lab: Lab) -> None:
    lab.slides = lab.slides.rename(lab.folder / "archive")


OUTLINE = "slides/drawn/a.geojson"
PIN = replace("numpy==2", "numpy==1")

CHANGES = {
    # --- nothing that counts
    "nothing, but all moved elsewhere": (lambda lab: None, {}),
    "a fresh checkout: new times on all sources": (lambda lab: touch(lab.code), {}),
    "slides touched": (lambda lab: touch(lab.slides), {}),
    "slides moved, and the slide root with them": (slides_elsewhere, {}),
    "the cache of the slides' digests gone": (deleted(".histogenesis"), {}),
    "checkpoints, logs and benchmarks gone": (
        deleted("results/lab/state", "results/lab/logs", "results/lab/benchmarks"),
        {},
    ),
    # --- code: a comment or a docstring is no change, since nothing that runs is
    "a comment in a module": (module("models/networks/ddpmpp.py", append("# a remark")), {}),
    "a docstring in a module": (module("metrics/distances/kernel.py", replace('"""', '"""In other words: ')), {}),
    "a comment in a script": (source("workflow/scripts/draw_level.py", append("# a remark")), {}),
    "modules that only the command line uses": (module("__main__.py"), {}),
    "module canvas/constraints": (
        module("canvas/constraints/null_space.py"),
        jobs(LEVELS, REPORT, draw_level=3, plan_tissue=1),
    ),
    "module models/networks": (module("models/networks/ddpmpp.py"), jobs(COARSE, REPORT, train_model=1)),
    "module models/training": (module("models/training.py"), jobs(COARSE, REPORT, train_model=1)),
    "module tissue/fesi": (
        module("tissue/fesi.py"),
        jobs(PATCHES, REPORT, segment_tissue=3, split_patients=1, cut_patches=6),
    ),
    "module patches/place": (module("patches/place.py"), jobs(PATCHES, REPORT, cut_patches=6)),
    "module metrics/kernel": (module("metrics/distances/kernel.py"), jobs(EVALUATED, REPORT)),
    "the command line of all scripts": (module("steps/command.py"), {}),
    "module metrics/seams": (module("metrics/coherence/seams.py"), jobs(EVALUATED, REPORT, measure_coherence=1)),
    "a file beside a module: the report's template": (
        module("report/page/template.html.j2"),
        jobs(REPORT),
    ),
    "a step": (module("steps/stitch_slide.py"), jobs(REPORT, stitch_slide=1)),
    "a script": (source("workflow/scripts/stitch_slide.py"), jobs(REPORT, stitch_slide=1)),
    "the recipe's classes: a key more": (
        module(
            "recipe/evaluation.py",
            replace("class Evaluation(Section):", "class Evaluation(Section):\n    more: int = 1\n"),
        ),
        jobs(RECIPE, EVALUATED),
    ),
    # --- environments
    "an environment": (source("envs/torch.yaml", PIN), jobs(COARSE, REPORT, train_model=1)),
    "a comment in an environment": (source("envs/torch.yaml", append("# a remark")), {}),
    "an environment's post-deploy script": (
        source("envs/slides.post-deploy.sh"),
        jobs(SLIDE, make_phantom=1, register_slide=2, segment_tissue=2, cut_patches=4),
    ),
    # --- the recipe
    "recipe: training of one model": (recipe("models.fine.training.lr", 2e-3), jobs(RECIPE, FINE)),
    "recipe: training of the other": (recipe("models.coarse.training.lr", 2e-3), jobs(RECIPE, COARSE)),
    "recipe: the coarsest level": (
        recipe("synthetic.levels.0.sampler.steps", 4),
        jobs(RECIPE, LEVELS, draw_level=3, plan_tissue=1),
    ),
    "recipe: one level": (recipe("synthetic.levels.1.sampler.steps", 4), jobs(RECIPE, LEVELS, draw_level=2)),
    "recipe: the finest level": (recipe("synthetic.levels.2.sampler.steps", 4), jobs(RECIPE, LEVELS, draw_level=1)),
    "recipe: the tissue plan": (
        recipe("synthetic.plan.margin_px", 1),
        jobs(RECIPE, LEVELS, plan_tissue=1, draw_level=2),
    ),
    "recipe: one synthetic slide more": (
        recipe("synthetic.slides", 2),
        jobs(RECIPE, LEVELS, draw_level=3, plan_tissue=1),
    ),
    "recipe: the slide file": (recipe("synthetic.file.quality", 80), jobs(RECIPE, stitch_slide=1)),
    "recipe: tissue": (recipe("tissue.min_area_mm2", 0.01), jobs(RECIPE, PATCHES, segment_tissue=3, cut_patches=6)),
    "recipe: one patch set": (recipe("patches.fine.per_slide", 19), jobs(RECIPE, FINE, cut_patches=3, check_data=1)),
    "recipe: the other patch set": (
        recipe("patches.coarse.per_slide", 19),
        jobs(RECIPE, COARSE, cut_patches=3, check_data=1),
    ),
    "recipe: the split": (recipe("split.seed", 2), jobs(RECIPE, PATCHES, split_patients=1)),
    "recipe: evaluation, its neighbours": (recipe("evaluation.neighbours", 3), jobs(RECIPE, EVALUATED)),
    "recipe: evaluation, its images": (recipe("evaluation.images", 19), jobs(RECIPE, EVALUATED, extract_features=2)),
    "recipe: evaluation, what encoders must show": (
        recipe("evaluation.sensitivity_images", 21),
        jobs(RECIPE, EVALUATED),
    ),
    "recipe: evaluation, the seams": (recipe("evaluation.seam_shifts", 30), jobs(RECIPE, measure_coherence=1)),
    "recipe: evaluation, the contact sheet": (
        recipe("evaluation.contact_sheet", 3),
        jobs(RECIPE, draw_contact_sheet=1),
    ),
    "recipe: two values of a section change places": (
        both(recipe("models.fine.training.batch", 2), recipe("models.fine.training.sample_images", 4)),
        jobs(RECIPE, FINE),
    ),
    "recipe: two values of no section change places": (
        both(recipe("seed", 1), recipe("cpu_threads", 5)),
        jobs(RECIPE, PATCHES, cut_patches=6),
    ),
    "recipe: a phantom": (
        recipe("slides.phantoms.0.seed", 4),
        jobs(SLIDE, write_recipe=1, make_phantom=1),
    ),
    "recipe: a phantom before the others": (
        another_phantom,
        jobs(SLIDE, write_recipe=1, make_phantom=1),
    ),
    # --- slides
    "a slide's bytes": (new_bytes("b.tif"), SLIDE),
    "a slide added": (another_slide, SLIDE),
    "a slide removed": (table("b\tb.tif\tnguyen\ttumour\t\n", ""), jobs(PATCHES, REPORT, split_patients=1)),
    "a slide's label": (table("tumour", "normal"), {}),
    "a slide's patient": (table("\tnguyen\t", "\tkowalski\t"), jobs(PATCHES, REPORT, split_patients=1)),
    "a tissue outline edited": (
        lambda lab: lab.edit(OUTLINE, replace("540", "500")),
        jobs(PATCHES, REPORT, segment_tissue=1, cut_patches=2),
    ),
    "a tissue outline no longer used": (
        table("drawn/a.geojson", ""),
        jobs(PATCHES, REPORT, segment_tissue=1, cut_patches=2),
    ),
    # --- outputs. What nothing needs any more (a step in between) may be deleted to make room, and is not made again.
    "a slide's pyramid deleted": (deleted("results/lab/synthetic/synthetic_001.tif"), jobs(REPORT, stitch_slide=1)),
    "a level deleted": (
        deleted("results/lab/synthetic/synthetic_001/level2.h5"),
        jobs(LEVELS, REPORT, draw_level=1),
    ),
    "the report deleted": (deleted("results/lab/report.html"), REPORT),
    "the patches deleted": (deleted("results/lab/patches"), {}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_dry_run_plans_exactly(name, lab):
    change, expected = CHANGES[name]
    change(lab)
    assert lab.planned() == expected
