"""What a run folder holds, read into plain values. Parts may be missing: a report says what there is.

A file that is there but cannot be read is named in `problems` and taken as missing.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml

from histogenesis.core.errors import BadInput
from histogenesis.patches.dataset import PatchCollection
from histogenesis.patches.splits import read_splits
from histogenesis.report.found import Benchmark, Model, PatchFile, Run, Samples, Slide, Synthetic


def gather(run_dir: str | Path) -> Run:
    """Read everything that the report speaks of. Raises BadInput when there is no such folder."""
    folder = Path(run_dir)
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such run; results of a run lie in results/{{run}}/")
    run = Run(folder)
    _read_recipe(run)
    _read_slides(run)
    _read_patches(run)
    for path in sorted(folder.glob("models/*/")):
        run.models.append(_read_model(run, path))
    names = {path.name for path in folder.glob("synthetic/*/")} | {path.stem for path in folder.glob("synthetic/*.tif")}
    for name in sorted(names):
        run.synthetic.append(_read_synthetic(run, name))
    for path in sorted(folder.glob("samples/*/")):
        run.samples.append(_read_samples(run, path.name))
    run.study = _try(run, folder / "study/table.json", _json) or []
    run.arms = _try(run, folder / "study/arms.json", _json) or []
    run.winner = _try(run, folder / "study/winner.json", _object) or {}
    analyses = sorted(folder.glob("reading/*/analysis/analysis.json"))
    run.reading = {path.parents[1].name: found for path in analyses if (found := _try(run, path, _object))}
    for path in sorted(folder.glob("evaluation/*.json")):
        if path.name == "metrics.json":
            rows = _try(run, path, _json) or []
            run.metrics_file = path
            run.metrics = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        elif path.name == "memorisation.json":
            run.memorisation_file, run.memorisation = path, _try(run, path, _object) or {}
        elif path.name == "condition.json":
            run.condition_file, run.condition = path, _try(run, path, _condition) or {}
        elif path.name == "evidence.json":
            run.evidence = _try(run, path, _object) or {}
        else:
            run.other_evaluations.append(path)
    for path in sorted(folder.glob("benchmarks/**/*.tsv")):
        run.benchmarks.extend(_try(run, path, lambda p: _read_benchmark(p, folder / "benchmarks")) or [])
    return run


def _json(path: Path) -> Any:
    return json.loads(path.read_text())


def _object(path: Path) -> dict:
    found = _json(path)
    if not isinstance(found, dict):
        raise ValueError("is no JSON object")
    return found


def _try(run: Run, path: Path, read: Callable[[Path], Any]) -> Any:
    """read(path), or None; a file that is there but cannot be read is noted."""
    if not path.exists():
        return None
    try:
        return read(path)
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError, BadInput) as error:
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        run.problems.append(f"{path.relative_to(run.folder)} could not be read: {first_line}")
        return None


def _there(path: Path) -> Path | None:
    return path if path.exists() else None


def _read_recipe(run: Run) -> None:
    run.recipe_file = _there(run.folder / "recipe.yaml")
    if run.recipe_file:
        run.recipe_text = _try(run, run.recipe_file, Path.read_text) or ""
        recipe = _try(run, run.recipe_file, lambda path: yaml.safe_load(path.read_text()))
        run.recipe = recipe if isinstance(recipe, dict) else {}


def _read_slides(run: Run) -> None:
    for path in sorted(run.folder.glob("slides/*.json")):
        slide = Slide(path.stem, path, _try(run, path, _object) or {})
        folder = run.folder / "tissue" / slide.name
        slide.qc_file, slide.overlay = _there(folder / "qc.json"), _there(folder / "overlay.png")
        slide.qc = _try(run, folder / "qc.json", _object) or {}
        run.slides[slide.name] = slide
    run.splits_file = _there(run.folder / "splits.tsv")
    for row in (_try(run, run.splits_file, read_splits) or []) if run.splits_file else []:
        if row["slide"] in run.slides:
            run.slides[row["slide"]].splits.append(row)


def _read_patches(run: Run) -> None:
    for folder in sorted(run.folder.glob("patches/*/")):
        files = {path.stem: _try(run, path, _read_patch_file) for path in sorted(folder.glob("*.h5"))}
        files = {name: file for name, file in files.items() if file}
        if not files:
            continue
        run.patches[folder.name] = files
        counts = run.split_counts[folder.name] = {}
        splits_file, rows = run.splits_file, [row for s in run.slides.values() for row in s.splits]
        if (folder / "splits.tsv").exists():  # labelled patches, split by group
            splits_file = folder / "splits.tsv"
            rows = run.groups[folder.name] = _try(run, splits_file, read_splits) or []
        for split in ("train", "validation", "test"):
            if splits_file and any(row["split"] == split for row in rows):
                try:
                    counts[split] = _count(PatchCollection(folder, splits_file, split).mpp)
                except BadInput:  # this split holds no patch
                    counts[split] = {}
                except (OSError, KeyError) as error:
                    run.problems.append(f"patches/{folder.name}: those of {split} could not be counted: {error}")


def _count(mpps: np.ndarray) -> dict[float, int]:
    known = np.nan_to_num(np.round(mpps, 6), nan=0.0)  # 0: not known
    return dict(sorted(Counter(known.tolist()).items(), reverse=True))


def _read_patch_file(path: Path) -> PatchFile:
    with h5py.File(path, "r") as file:
        size = file.attrs.get("size_px")
        return PatchFile(
            path,
            _there(path.with_suffix(".png")),
            _count(file["mpp"][()]),
            int(size) if size is not None else None,
            str(file.attrs.get("error", "")),
        )


def _read_model(run: Run, folder: Path) -> Model:
    def lines(path):
        return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]

    card, losses = _try(run, folder / "model.json", _object) or {}, _try(run, folder / "train.jsonl", lines) or []
    return Model(folder.name, folder, card, losses, _there(folder / "loss.png"), _there(folder / "samples.png"))


def _coherence(path: Path) -> dict:
    """coherence.json, if it holds all that the report shows (KeyError or TypeError otherwise)."""
    found = _object(path)
    for level in found["levels"]:
        shown = ("level", "mpp", "height_px", "width_px", "joining", "constraint", "tile_px", "cross_scale")
        parts: list[tuple[dict, tuple[str, ...]]] = [(level, shown)]
        parts.append((level["seams"], ("score", "low", "high", "jump", "lines", "note")))
        if level["cross_scale"]:
            parts += [(level["cross_scale"][where], ("mean", "rmse", "max")) for where in ("tissue", "overall")]
        for part, names in parts:
            for name in names:
                part[name]
    return found


def _condition(path: Path) -> dict:
    """condition.json, if it holds all that the verdict asks of it (KeyError or TypeError otherwise)."""
    found = _object(path)
    levels = [*found["real"]["levels"], *(level for one in found["synthetic"] for level in one["levels"])]
    for level in levels:
        level["slide"], level["mpp"], level["lab"][2], level["contrast"]
    for one in found["synthetic"]:
        one["slide"], one["tissue"] + 0.0
    sum(found["real"]["tissue"].values())
    return found


def _read_synthetic(run: Run, name: str) -> Synthetic:
    folder, evaluation = run.folder / "synthetic" / name, run.folder / "evaluation" / name
    levels = sorted(folder.glob("level*.h5"), key=lambda path: (len(path.name), path.name))
    coherence = _there(evaluation / "coherence.json")
    return Synthetic(
        name,
        levels,
        _there(folder / "plan.png"),
        _there(run.folder / "synthetic" / f"{name}.tif"),
        coherence,
        (_try(run, coherence, _coherence) or {}) if coherence else {},
        _there(evaluation / "contact.png"),
    )


def _read_samples(run: Run, name: str) -> Samples:
    folder = run.folder / "evaluation/samples" / name
    return Samples(
        name,
        _there(run.folder / "samples" / name / "samples.png"),
        _try(run, folder / "metrics.json", _json) or [],
        _try(run, folder / "memorisation.json", _object) or {},
        folder / "memorisation.json",
        _there(folder / "shown.png"),
        _there(folder / "utility.png"),
    )


def _read_benchmark(path: Path, root: Path) -> list[Benchmark]:
    """Lines of a Snakemake benchmark: one for each repeat."""

    def number(text: str | None) -> float | None:
        try:
            return float(text)
        except (TypeError, ValueError):
            return None

    with open(path, newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    step = path.relative_to(root).with_suffix("").parts[0]
    found = [(number(row.get("s")), number(row.get("max_rss"))) for row in rows]
    return [Benchmark(step, seconds, memory) for seconds, memory in found if seconds is not None]
