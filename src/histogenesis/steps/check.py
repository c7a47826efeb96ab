"""What could stop a run, or spoil it, found before anything runs: recipe, slide table, files, mpps, classes, splits, encoders,
models, profile. Everything in one go; each finding a line with its place, what is there, and what to do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from histogenesis.core.errors import BadInput
from histogenesis.core.geometry import is_finer
from histogenesis.models.card import read_card
from histogenesis.models.label_embeddings import read_label_embeddings
from histogenesis.patches.sources import LISTS
from histogenesis.recipe import EncoderFile, LabelledPatches, Recipe, RegionPatches
from histogenesis.recipe.data import SlidePatches
from histogenesis.recipe.imported import check_fits
from histogenesis.recipe.problems import absent, nearest

ALWAYS_THERE = ("stain-statistics", "learned")


class Finding(NamedTuple):
    """place: as `synthetic.levels[1].model` or `slides.tsv, slide a`; stops: whether the run cannot do without it."""

    place: str
    what: str
    stops: bool = True

    def __str__(self) -> str:
        return f"{'error' if self.stops else 'note'}: {self.place}: {self.what}"


def check(
    recipe: Recipe, run_dir: Path, open_slides: bool = True, profile: str | None = None, files: bool = True
) -> list[Finding]:
    """Everything that is wrong with a run's inputs; `run_dir` is results/{run}, where phantoms and records lie.

    open_slides: look into each slide for its mpp and its pyramid, too, which takes seconds a slide on a network file system.
    files: look whether slides, outlines and labelled patches are there.
    A slide that the recipe would set aside is a note, and stops nothing while others remain. What needs a package that is not
    installed is a note, too.
    """
    found: list[Finding] = []
    rows: list = []
    try:
        rows += slide_rows(recipe, found)
        if files:
            found += check_files(recipe, rows, run_dir)
        if open_slides:
            found += check_slides(recipe, rows, run_dir)
        found += check_split(recipe, rows)
        found += check_classes(recipe, rows, run_dir)
    except ModuleNotFoundError as error:
        if error.name.startswith("histogenesis"):
            raise
        what = f"not looked at, without {error.name}: pip install 'histogenesis[slides]'"
        found.append(Finding("slides", what, stops=False))
    found += check_encoders(recipe)
    found += check_models(recipe)
    found += check_profile(profile) if profile else []
    return sorted(found, key=lambda one: not one.stops)


def check_start(recipe: Recipe, run_dir: Path) -> list[Finding]:
    """What a workflow looks at before it plans; `stop_on` it before jobs begin, not in a dry run.

    Slides are opened only where a bad one would end the run: the step that registers each says what it finds. A run that was
    handed on without its slides (left_out.json) needs none of the files; one that has begun remembers what they held
    (contents.json), and what is away now is said elsewhere.
    """
    if (run_dir / "left_out.json").exists():
        return []
    begun = (run_dir / "contents.json").exists()
    return check(recipe, run_dir, open_slides=recipe.slides.on_bad == "stop" and not begun, files=not begun)


def stop_on(found: list[Finding]) -> None:
    """Raise BadInput, with a line for each, for what a run cannot do without."""
    if errors := [str(one) for one in found if one.stops]:
        raise BadInput("\n".join(["the run cannot start:", *errors]))


def slide_rows(recipe: Recipe, found: list[Finding]) -> list:
    """The rows of the slide table and the phantoms; none where they cannot be read."""
    from histogenesis.slides.table import rows_of

    os.environ.setdefault("HISTOGENESIS_SLIDE_ROOT", recipe.slides.root)
    try:
        return rows_of(recipe.slides, recipe.run)
    except BadInput as error:
        first, *lines = str(error).splitlines()
        where = recipe.slides.table or "slides.phantoms"
        found += [Finding(where, line.strip()) for line in lines] or [Finding("slides.table", first)]
        return []


def check_files(recipe: Recipe, rows: list, run_dir: Path) -> Iterator[Finding]:
    """Slides, outlines, labelled patches: whether they are there, and what is there with nearly that name."""
    from histogenesis.slides.table import slide_path

    table = recipe.slides.table or "slides"
    missing = 0
    for row in rows:
        for column in ("path", "tissue", "regions"):
            name = getattr(row, column)
            if not name or name.startswith("run:"):
                continue
            try:
                path = slide_path(name, run_dir)
            except BadInput as error:
                yield Finding(f"{table}, slide {row.slide}", str(error))
                continue
            if path.exists():
                continue
            missing += column == "path"
            stops = recipe.slides.on_bad == "stop" or column != "path"
            yield Finding(f"{table}, slide {row.slide}, {column}", not_there(path), stops)
    if rows and missing == len(rows):
        root = os.environ["HISTOGENESIS_SLIDE_ROOT"]
        yield Finding(
            "slides.root", f"no slide is there; paths are relative to {root!r}: set it, or HISTOGENESIS_SLIDE_ROOT"
        )
    for name, patches in recipe.patches.items():
        if isinstance(patches, LabelledPatches) and not slide_path(patches.path, run_dir).exists():
            yield Finding(f"patches.{name}.path", not_there(slide_path(patches.path, run_dir)))


def not_there(path: Path) -> str:
    """That a file is missing, and the file of its folder that was probably meant."""
    folder = path.parent
    if not folder.is_dir():
        return f"{path}: there is no such file, nor its folder: correct it"
    meant = nearest(path.name, [one.name for one in folder.iterdir()])
    return f"{path}: there is no such file: correct it" + (f"; did you mean {meant}?" if meant else "")


def check_slides(recipe: Recipe, rows: list, run_dir: Path) -> Iterator[Finding]:
    """Slides that cannot be opened, say no mpp, or are coarser than an mpp that is asked of them."""
    from histogenesis.slides.check import check_tiff_complete
    from histogenesis.slides.read import Unreadable, check_present, open_slide
    from histogenesis.slides.table import slide_path

    table = recipe.slides.table or "slides"
    phantoms = {phantom.name: phantom.mpp for phantom in recipe.slides.phantoms}
    mpps = dict(phantoms)
    for row in rows:
        path = slide_path(row.path, run_dir) if row.slide not in phantoms else None
        if path is None or not path.exists():
            continue
        try:
            check_present(path)
            check_tiff_complete(path)
            with open_slide(path, row.mpp) as slide:
                mpps[row.slide] = slide.mpp
        except Unreadable as error:  # it may still be imported, which is tried when it is registered
            yield Finding(f"{table}, slide {row.slide}", f"{error} (importing it will be tried)", stops=False)
        except BadInput as error:
            yield Finding(f"{table}, slide {row.slide}", str(error), recipe.slides.on_bad == "stop")
        except OSError as error:
            yield Finding(
                f"{table}, slide {row.slide}", f"cannot be read now ({error}): look at the file system", stops=False
            )
    for name, patches in recipe.patches.items():
        if not isinstance(patches, SlidePatches):
            continue
        for k, mpp in enumerate(patches.mpps):
            coarse = sorted(slide for slide, own in mpps.items() if is_finer(mpp, own))
            if coarse:
                every = len(coarse) == len(mpps)
                which = f"{'every slide' if every else ', '.join(coarse)} ({mpps[coarse[0]]:g} mpp)"
                what = f"{mpp:g} is finer than {which}, and nothing is upsampled: leave it out, or take finer slides"
                yield Finding(f"patches.{name}.mpps[{k}]", what, stops=every)


def check_split(recipe: Recipe, rows: list) -> Iterator[Finding]:
    """Whether something is left to train on and to hold out."""
    from histogenesis.patches.splits import split_slides

    if rows and any(patches.from_slides for patches in recipe.patches.values()):
        try:
            split_slides(rows, recipe.split)
        except BadInput as error:
            yield Finding("split", str(error))


def check_classes(recipe: Recipe, rows: list, run_dir: Path) -> Iterator[Finding]:
    """Classes that models learn, and that samples and levels ask for, are among those that the patches have."""
    there = {}
    for name, patches in recipe.patches.items():
        try:
            there[name] = classes_of(patches, rows, run_dir)
        except BadInput as error:
            yield Finding(f"patches.{name}", str(error))
        wanted = getattr(patches, "classes", None) or []
        known = there.get(name) if not isinstance(patches, RegionPatches) else None
        yield from (
            Finding(f"patches.{name}.classes", absent("class", one, known))
            for one in wanted
            if known and one not in known
        )
    asked = [(f"models.{name}.classes", model.patches, model.classes) for name, model in recipe.trained_models.items()]
    for name, samples in recipe.drawn_samples.items():
        if model := recipe.trained_models.get(samples.model):
            asked.append((f"samples.{name}.classes", model.patches, samples.classes))
    for k, level in enumerate(recipe.synthetic.levels if recipe.synthetic else []):
        for network in getattr(level, "networks", []):
            model = recipe.trained_models.get(network.model)
            label = getattr(level, "label", None)
            if model and "label" in model.conditions and label:
                asked.append((f"synthetic.levels[{k}].label", model.patches, [label]))
    for name, model in recipe.trained_models.items():
        if given := model.label_embeddings:
            try:
                read_label_embeddings(
                    Path(given.file), sorted(model.classes or there.get(model.patches) or []), given.width
                )
            except BadInput as error:
                yield Finding(f"models.{name}.label_embeddings", str(error))
    for where, name, classes in asked:
        known = there.get(name)
        yield from (Finding(where, absent("class", one, known)) for one in classes or [] if known and one not in known)


def classes_of(patches, rows: list, run_dir: Path) -> set[str]:
    """The classes of a patch set, before it is made; empty where that is not known."""
    if isinstance(patches, LabelledPatches):
        from histogenesis.slides.table import slide_path

        path = slide_path(patches.path, run_dir)
        if not path.exists():
            return set()
        columns = patches.file_column, patches.class_column, patches.group_column
        return {one.label for one in LISTS[patches.kind](path, *columns)}
    if isinstance(patches, RegionPatches):
        return set(patches.classes)
    if not patches.labelled:
        return set()
    unlabelled = sorted(row.slide for row in rows if not row.label)
    if unlabelled:
        raise BadInput(f"`labelled: true`, but {', '.join(unlabelled)} has no `label` in the slide table: give it one")
    return {row.label for row in rows}


def check_encoders(recipe: Recipe) -> Iterator[Finding]:
    """Encoders that a user brings: known by their name, and there."""
    from histogenesis.metrics.encoders.registry import KNOWN

    known = [*ALWAYS_THERE, "inception", *KNOWN]
    for k, encoder in enumerate(recipe.evaluation.encoders):
        if not isinstance(encoder, EncoderFile):
            continue
        where = f"evaluation.encoders[{k}]"
        if encoder.name not in known:
            yield Finding(f"{where}.name", absent("encoder", encoder.name, known))
        if not Path(encoder.file).exists():
            yield Finding(f"{where}.file", not_there(Path(encoder.file)))


def check_models(recipe: Recipe) -> Iterator[Finding]:
    """Models of other runs, and what trainings start from: there, whole, and fit for the levels that name them."""
    from histogenesis.models.shipped import folder_of

    for name, imported in recipe.imported_models.items():
        try:
            yield from check_imported(recipe, name, folder_of(imported.source))
        except BadInput as error:
            yield Finding(f"models.{name}", str(error))
    for name, model in recipe.trained_models.items():
        if model.training.start:
            try:
                folder_of(model.training.start)
            except BadInput as error:
                yield Finding(f"models.{name}.training.start", str(error))
        weights, perceptual = getattr(model.network, "weights", None), getattr(model.objective, "perceptual", None)
        for key, path in (
            ("network.weights.path", weights and weights.path),
            ("objective.perceptual.file", perceptual and perceptual.file),
        ):
            if path and not Path(path).exists():
                yield Finding(f"models.{name}.{key}", not_there(Path(path)))


def check_imported(recipe: Recipe, name: str, folder: Path) -> Iterator[Finding]:
    """Whether a model of another run can make the levels that name it."""
    facts = read_card(folder)
    levels = recipe.synthetic.levels if recipe.synthetic else []
    for k, level in enumerate(levels):
        if name in level.models:
            sized = level.model_copy(update={"size_px": recipe.synthetic.size_px(k)})
            try:
                check_fits(folder, facts, sized, name, levels[k - 1].mpp / level.mpp if k else None)
            except BadInput as error:
                yield Finding(f"synthetic.levels[{k}].model", str(error))


def check_profile(profile: str) -> Iterator[Finding]:
    """The partitions that a SLURM profile names, or a site's that is laid over one, are those of this cluster."""
    import yaml

    path = Path(profile, "config.yaml")
    if not path.is_file():
        yield Finding(f"profile {profile}", not_there(path))
        return
    try:
        settings = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        yield Finding(str(path), str(error).splitlines()[0])
        return
    sections = {"default-resources": settings.get("default-resources", {})}
    sections |= {f"set-resources.{rule}": values for rule, values in settings.get("set-resources", {}).items()}
    named = {
        f"{where}.{key}": str(values[key]).strip("'\"")
        for where, values in sections.items()
        for key in ("slurm_partition", "gpu_partition")
        if values.get(key)
    }
    if settings.get("executor", "slurm" if named else None) != "slurm":
        return
    if not shutil.which("sinfo"):
        yield Finding(str(path), "there is no SLURM here (no sinfo): run this where snakemake is to run")
        return
    there = subprocess.run(["sinfo", "-h", "-o", "%R"], capture_output=True, text=True, check=False).stdout.split()
    for where, names in named.items():
        for name in names.split(","):
            if name not in there:
                yield Finding(f"{path}: {where}", absent("partition", name, there))
