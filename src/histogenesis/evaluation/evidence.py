"""The patches behind a number: generated ones with the held-out real patch that is nearest to each, as an encoder sees them.

evaluation/evidence/{encoder}/{mpp}.png shows, in pairs of rows, patches at even ranks of their distance to the nearest real
patch, and those furthest from any; evidence.json says which they are and where they lie on the slide.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.sets import Sets
from histogenesis.metrics.distances.neighbours import nearest
from histogenesis.metrics.encoders import features as store
from histogenesis.report.training_pictures import save_grid

SHOWN = 8  # patches in a row


def furthest_first(held_out: np.ndarray, generated: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of `generated` (m, d), the furthest from its nearest of `held_out` (n, d) first; that one's row; the distance."""
    distance, index = nearest(generated, held_out)
    order = np.argsort(-distance, kind="stable")
    return order, index[order], distance[order]


def write_evidence(out: Path, sets: Sets, encoders: list[str]) -> dict:
    """Write the pictures under `out`/evidence from the features that lie in `out`/features; returns evidence.json's content.

    A resolution without patches of both kinds, and an encoder without features, has no picture.
    """
    (out / "evidence").mkdir(parents=True, exist_ok=True)  # also where there is nothing to show: the folder is promised
    found: dict = {"size_px": int(sets.generated.images.shape[1]), "encoders": {}}
    for name in encoders:
        try:
            held_out_features, generated_features = (
                store.load(out / "features" / name / f"{part}.h5").features for part in ("held_out", "generated")
            )
        except BadInput:
            continue
        by_mpp = found["encoders"][name] = {}
        for mpp in sorted(set(sets.generated.mpp.tolist()), reverse=True):
            real, generated = (np.flatnonzero(s.mpp == mpp) for s in (sets.held_out, sets.generated))
            if not len(real) or not len(generated):
                continue
            order, beside, distance = furthest_first(held_out_features[real], generated_features[generated])
            rows, nearest_rows = generated[order], real[beside]
            even = np.linspace(len(rows) - 1, 0, min(SHOWN, len(rows))).round().astype(int)
            worst = np.arange(min(SHOWN, len(rows)))
            picture = f"evidence/{name}/{mpp:g}.png"
            images = [
                part.images[chosen[at]]
                for at in (even, worst)
                for part, chosen in ((sets.generated, rows), (sets.held_out, nearest_rows))
            ]
            save_grid(out / picture, images, ["generated", "nearest real", "furthest", "nearest real"])
            by_mpp[f"{mpp:g}"] = {
                "picture": picture,
                "furthest": [_pair(sets, rows[i], nearest_rows[i], distance[i]) for i in worst],
            }
    return found


def _pair(sets: Sets, row: int, real: int, distance: float) -> dict:
    xy_um = getattr(sets.generated, "xy", None)
    where = {} if xy_um is None else {"x_um": float(xy_um[row][0]), "y_um": float(xy_um[row][1])}
    slide = {"slide": str(sets.generated.slide[row]), "generated": int(row), "held_out": int(real)}
    return slide | where | {"distance": float(distance)}
