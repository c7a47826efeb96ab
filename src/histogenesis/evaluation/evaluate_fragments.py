"""The pieces of tissue of whole slides: those of the synthetic slides' level 0 beside those of the real slides, at its mpp."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.stats import wasserstein_distance

from histogenesis.core.whole import load_json
from histogenesis.evaluation.collect import by_region, held_out_split, synthetic_folders
from histogenesis.evaluation.references import row_of_references
from histogenesis.metrics.coherence.strips import open_levels, read_plan
from histogenesis.metrics.morphology.fragments import fragments

UNITS = {"fragment_area": "mm2", "fragment_solidity": "of the convex hull", "fragment_count": "per slide"}


def fragment_metrics(synthetic: str | Path, tissue: str | Path, rows: list[dict]) -> list[dict]:
    """Rows of kind `morphology`, encoder `fragments`: W1 between the pieces on synthetic and on held-out slides.

    synthetic: folder of drawn slides; tissue: folder of the real slides' masks; rows: of splits.tsv. None where slides are
    split in regions (there is one slide, and it is not whole), or no mask of a held-out slide is there.
    """
    if by_region(rows):
        return []
    generated, mpp = [], None
    for folder in synthetic_folders(synthetic):
        files = open_levels(folder)
        mpp = max(float(file.attrs["mpp"]) for file in files)
        for file in files:
            file.close()
        generated.append(fragments(read_plan(folder / "plan.png"), mpp))
    real = {split: _real(Path(tissue), rows, split, mpp) for split in ("train", held_out_split(rows))}
    train, held_out = real["train"], real[held_out_split(rows)]
    if not held_out:
        return []
    found = []
    for name, unit in UNITS.items():
        sides = [_values(slides, name) for slides in (held_out, generated, train)]
        value, patients = (_w1(sides[0], other) for other in sides[1:])
        means = [float(s.mean()) if len(s) else None for s in sides[:2]]
        row = {"name": name, "encoder": "fragments", "mpp": mpp, "value": value, "low": None, "high": None}
        row |= row_of_references(value, None, None if patients is None else (patients, None, None), {})
        row |= {
            "n_real": len(held_out),
            "n_generated": len(generated),
            "better": "lower",
            "kind": "morphology",
            "speaks": None,
        }
        row |= {"unit": unit, "real": means[0], "generated": means[1], "file": ""}
        found.append(
            row
            | {
                "interval": f"no interval, {len(held_out)} held-out and {len(generated)} synthetic slides",
                "note": "pieces of tissue of level 0 as it was planned, and of the real slides' masks at its resolution",
            }
        )
    return found


def _real(tissue: Path, rows, split, mpp) -> list[dict[str, np.ndarray]]:
    found = []
    for row in rows:
        if row["split"] != split:
            continue
        folder = tissue / row["slide"]
        try:
            own_mpp = load_json(folder / "qc.json")["mpp"]
            with Image.open(folder / "mask.png") as picture:
                mask = picture.convert("L").point(lambda v: 255 * (v >= 128))
        except OSError:  # set aside, or made without a mask
            continue
        small = mask.resize([max(1, round(n * own_mpp / mpp)) for n in mask.size], Image.Resampling.BOX)
        found.append(fragments(np.asarray(small) >= 128, mpp))
    return found


def _values(slides: list[dict], name: str) -> np.ndarray:
    if name == "fragment_count":
        return np.array([len(slide["area"]) for slide in slides], float)
    return np.concatenate([slide[name.removeprefix("fragment_")] for slide in slides] or [np.zeros(0)])


def _w1(first, second) -> float | None:
    return float(wasserstein_distance(first, second)) if len(first) and len(second) else None
