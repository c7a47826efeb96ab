"""Whether an encoder sees what it must, shown on the run's own real tissue; one that does not has no say (`speaks`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from histogenesis.evaluation.references import halves
from histogenesis.evaluation.sets import FEWEST, Sets
from histogenesis.metrics.distances.kernel import mmd2, polynomial
from histogenesis.metrics.distances.manifold import manifold
from histogenesis.metrics.distances.neighbours import nearest
from histogenesis.metrics.encoders.features import encode
from histogenesis.metrics.encoders.registry import Encoder
from histogenesis.metrics.sensitivity import DISTORTIONS, distorted
from histogenesis.recipe import Evaluation

MUST_DETECT = ("phase", "speckle")  # noise of the tissue's colours, with and without its spectrum
N_SPLITS = 20
HALF = 0.5  # of the precision (recall) of other patients: below it, a distortion shows


def sensitivity(
    encoder: Encoder, held_out: np.ndarray, train: np.ndarray, mpp: float | None, neighbours: int = 5, seed: int = 1
):
    """What an encoder's distances say of real patches (n, h, w, 3) made bad in known ways: training patches, distorted, against
    held-out ones.

    {"honest": {kid, precision, recall, spread}, "distortions": {name: {kid, precision, recall, sees: [metrics]}}, "speaks":
    {kind: bool}, "why"}. `spread` is the largest |KID| of 20 random splits of the pooled patches. A distortion shows in KID
    if it is more than twice that beyond the undistorted training patches, in precision and recall if these fall to half.
    Copies (training patches with a little noise; the audit turns them itself) show if they lie twice as near to the training
    patches as held-out ones do. The encoder may speak of `distance` if phase noise and speckle show in KID, and of the
    `manifold` if they show in precision too.
    """
    real, other = (encode(encoder, images, mpp=mpp).astype(np.float64) for images in (held_out, train))
    k = min(neighbours, len(real) - 1, len(other) - 1)
    honest = _measured(real, other, k)
    spread = max(abs(mmd2(*halves(real, other, seed + i), polynomial)) for i in range(N_SPLITS))
    found: dict[str, dict[str, Any]] = {}
    for name in DISTORTIONS:
        one = _measured(real, encode(encoder, distorted(name, train, seed), mpp=mpp).astype(np.float64), k)
        detected_by = ["kid"] if one["kid"] > honest["kid"] + 2 * spread else []
        found[name] = one | {"sees": detected_by + [m for m in ("precision", "recall") if one[m] <= HALF * honest[m]]}
    found["copies"] = _copies(encoder, train, real, other, mpp, seed)
    blind = {m: [name for name in MUST_DETECT if m not in found[name]["sees"]] for m in ("kid", "precision")}
    speaks = {"distance": not blind["kid"], "manifold": not (blind["kid"] or blind["precision"])}
    failed = [f"{m} does not tell {' and '.join(names)} from tissue" for m, names in blind.items() if names]
    why = "; ".join(failed) or "structureless noise is told from tissue"
    return {"honest": honest | {"spread": spread}, "distortions": found, "speaks": speaks, "why": why}


def _measured(real, other, k) -> dict[str, float]:
    found = manifold(real, other, k)
    return {"kid": mmd2(real, other, polynomial), "precision": found["precision"], "recall": found["recall"]}


def _copies(encoder, train, real, other, mpp, seed):
    rng = np.random.default_rng([seed, 3])
    copied = np.rint(train + rng.normal(0, 3, train.shape)).clip(0, 255).astype(np.uint8)
    near = np.median(nearest(encode(encoder, copied, mpp=mpp).astype(np.float64), other)[0])
    usual = np.median(nearest(real, other)[0])
    return {"nearer": float(near / max(usual, 1e-12)), "sees": ["nearest"] if near <= HALF * usual else []}


def encoder_sensitivity(encoder: Encoder, sets: Sets, options: Evaluation, seed: int) -> dict:
    """{"speaks", "why", "mpps": {mpp: sensitivity}} on the run's own real patches; null where there are too few to tell."""
    mpps = {}
    for mpp in sorted(set(sets.train.mpp.tolist()) & set(sets.held_out.mpp.tolist()), reverse=True):
        rows = [np.flatnonzero(s.mpp == mpp) for s in (sets.held_out, sets.train)]
        n = min(options.sensitivity_images, *map(len, rows))
        if n >= FEWEST:
            held_out, train = (s.images[_evenly(r, n)] for s, r in zip((sets.held_out, sets.train), rows))
            mpps[f"{mpp:g}"] = sensitivity(encoder, held_out, train, mpp or None, options.neighbours, seed)
    speaks = {
        kind: all(one["speaks"][kind] for one in mpps.values()) if mpps else None for kind in ("distance", "manifold")
    }
    why = "; ".join(f"at {mpp} mpp {one['why']}" for mpp, one in mpps.items()) or "not tested"
    return {"speaks": speaks, "why": why, "mpps": mpps}


def _evenly(rows, n):
    return rows[np.linspace(0, len(rows) - 1, n).round().astype(int)]
