"""Several runs side by side: every number of each, as one table, and whether they may be compared at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from histogenesis.core import files
from histogenesis.core.errors import BadInput
from histogenesis.core.hdf5 import reading
from histogenesis.metrics.coherence.strips import read_plan
from histogenesis.recipe import Recipe, RecipeError, parse_recipe
from histogenesis.report import cost
from histogenesis.report.found import Run
from histogenesis.report.gather import gather

COLUMNS = (
    *("run", "method", "group", "name", "encoder", "mpp", "slide", "value", "low", "high"),
    *("floor", "floor_low", "floor_high", "better", "text", "note"),
)
REAL = "real tissue"


@dataclass
class Arm:
    """A run in the comparison. numbers: dicts with the keys of COLUMNS (those that apply)."""

    run: Run
    recipe: Recipe | None
    method: str
    numbers: list[dict[str, Any]] = field(default_factory=list)
    memorisation: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.run.name


def method_of(recipe: Recipe) -> str:
    """How the levels below the coarsest are made, in words."""
    found = []
    for level in recipe.synthetic.levels[1:]:
        if level.words not in found:
            found.append(level.words)
    return "; ".join(found) or "drawn at one level"


def read_arm(folder: str | Path) -> Arm:
    """All numbers of one run. Raises BadInput when there is no such folder; what is missing in it is left out."""
    run = gather(folder)
    try:
        recipe = parse_recipe(run.recipe, "recipe.yaml") if run.recipe else None
    except RecipeError:
        recipe = None
    arm = Arm(run, recipe, method_of(recipe) if recipe else "")
    if recipe is None:
        run.problems.append("recipe.yaml is missing or of another version: its method and cost are not known")
    path = run.folder / "evaluation" / "memorisation.json"
    try:
        arm.memorisation = json.loads(path.read_text()) if path.exists() else {}
    except ValueError:
        run.problems.append("evaluation/memorisation.json could not be read")
    for number in (*_realism(run), *_coherence(run), *_memorisation(arm), *_cost(arm)):
        arm.numbers.append({"run": arm.name, "method": arm.method} | number)
    return arm


def _realism(run: Run) -> Iterator[dict]:
    for row in run.metrics:
        yield {"group": "realism"} | {key: row.get(key) for key in COLUMNS if row.get(key) not in (None, "")}


def _coherence(run: Run) -> Iterator[dict]:
    for one in run.synthetic:
        for level in one.coherence.get("levels", []):
            where = {"group": "coherence", "mpp": level["mpp"], "slide": one.name, "better": "lower"}
            seams, scale = level["seams"], level["cross_scale"]
            if seams["score"] is not None:
                yield where | {
                    "name": "seam_score",
                    "value": seams["score"],
                    "low": seams["low"],
                    "high": seams["high"],
                }
            if scale and scale["tissue"]["mean"] is not None:
                yield where | {"name": "cross_scale_error", "value": scale["tissue"]["mean"]}


def _memorisation(arm: Arm) -> Iterator[dict]:
    found = arm.memorisation
    if found.get("verdict"):
        about = {"group": "memorisation", "name": "verdict", "encoder": found.get("encoder")}
        yield about | {"text": found["verdict"], "note": found.get("sentence", "")}


def _cost(arm: Arm) -> Iterator[dict]:
    if arm.recipe is None:
        return
    plans = {one.name: read_plan(one.plan) for one in arm.run.synthetic if one.plan}
    levels = {one.name: one.levels for one in arm.run.synthetic}
    counted = cost.evaluations(arm.recipe, plans, levels) if plans else {}
    for name, value in (counted | cost.seconds(arm.run, arm.recipe)).items():
        yield {"group": "cost", "name": name, "value": value, "better": "lower"}


# ------------------------------------------------------------------------------------------------ of all runs


def compare_runs(folders: list[str | Path]) -> list[Arm]:
    """The runs in the order given. Raises BadInput for less than two, or two of one name."""
    arms = [read_arm(folder) for folder in folders]
    names = [arm.name for arm in arms]
    if len(arms) < 2:
        raise BadInput("a comparison wants two runs or more: histogenesis compare results/a results/b --out comparison")
    if len(set(names)) < len(names):
        raise BadInput(f"two runs have the same name ({', '.join(sorted(names))}): change `run:` in one of the recipes")
    return arms


def upper_bound(arms: list[Arm]) -> list[dict]:
    """Real training tissue against real held-out tissue, as numbers of a run of its own: the floor of each metric.

    Where runs were measured on other numbers of patches their floors differ a little: the first run's stands here, and
    each number has its own beside it.
    """
    found = {}
    for arm in arms:
        for row in arm.numbers:
            key = (row["name"], row.get("encoder"), row.get("mpp"))
            if row.get("floor") is not None and key not in found:
                kept = {k: row.get(k) for k in ("group", "name", "encoder", "mpp", "better")}
                values = {
                    end: row.get(f"floor{'_' + end if end != 'value' else ''}") for end in ("value", "low", "high")
                }
                found[key] = {"run": REAL, "method": "training against held-out patches"} | kept | values
    return list(found.values())


def differences(arms: list[Arm]) -> list[str]:
    """Why numbers of these runs may not be comparable: sentences, none where all (that is there) is alike."""
    checks = {
        "held-out slides or regions": lambda arm: _digest(arm.run.folder / "splits.tsv"),
        "real patches": lambda arm: [_patches_digest(path) for path in compared_patches(arm)],
        "trained encoder": lambda arm: _digest(arm.run.folder / "evaluation/encoder.safetensors"),
        "level 0": lambda arm: [_pixels_digest(one.levels[0]) for one in arm.run.synthetic if one.levels],
    }
    found = []
    for what, look in checks.items():
        first, *others = [look(arm) for arm in arms]
        unlike = [arm.name for arm, other in zip(arms[1:], others) if first and other and other != first]
        if unlike:
            found.append(f"Not the same {what} as {arms[0].name}: {', '.join(unlike)}.")
    return found


def compared_patches(arm: Arm) -> list[Path]:
    """The files of the patch set that a run's synthetic slides are compared with (of all sets, where that is not known)."""
    name = (arm.recipe and arm.recipe.compared_patches) or "*"
    return sorted(arm.run.folder.glob(f"patches/{name}/*.h5"))


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def _patches_digest(path: Path) -> tuple[str, str]:
    with reading(path) as file:
        return path.name, str(file.attrs.get("imgs_sha256", ""))


def _pixels_digest(path: Path) -> str:
    with reading(path) as file:
        return hashlib.sha256(file["image"][:].tobytes()).hexdigest()


# ------------------------------------------------------------------------------------------------ files


def write_csv(path: Path, arms: list[Arm]) -> None:
    """One line a number, real tissue first."""
    files.write_rows(path, COLUMNS, [*upper_bound(arms), *(row for arm in arms for row in arm.numbers)])


def write_json(path: Path, arms: list[Arm]) -> None:
    value = {
        "differences": differences(arms),
        "real": upper_bound(arms),
        "runs": [
            {
                "run": arm.name,
                "method": arm.method,
                "folder": os.path.relpath(arm.run.folder.resolve(), path.parent.resolve()),
                "memorisation": {key: arm.memorisation.get(key) for key in ("verdict", "encoder", "sentence")},
                "numbers": arm.numbers,
                "problems": arm.run.problems,
            }
            for arm in arms
        ],
    }
    files.write_json(path, value)
