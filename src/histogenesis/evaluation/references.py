"""What every number stands between: a floor (two halves of one tissue), other patients beside it, and ceilings above.

The ceilings are the training patches made bad in known ways (ceilings.py), compared with the held-out patches as the generated
ones are.
"""

from __future__ import annotations

import numpy as np

from histogenesis.evaluation.ceilings import CEILINGS, COMPRESSION
from histogenesis.evaluation.cells import attempt
from histogenesis.metrics.distances.frechet import fid, fid_infinity
from histogenesis.metrics.distances.kernel import cmmd, kid
from histogenesis.metrics.distances.manifold import NAMES as MANIFOLD
from histogenesis.metrics.distances.manifold import manifold
from histogenesis.recipe import Evaluation


def values(reference, other, options: Evaluation, seed: int, origins=(None, None)) -> dict[str, float | None]:
    """Each metric of two feature sets (n, d), `reference` being the real held-out one, without intervals; None: not to be
    had. origins: of each set which images are repeats of one another."""
    reference, other = (np.asarray(f, np.float64) for f in (reference, other))
    k = min(options.neighbours, len(reference) - 1, len(other) - 1)
    ways = {
        "fid": lambda: fid(reference, other),
        "fid_infinity": lambda: fid_infinity(reference, other, seed=seed).infinite,
        "kid": lambda: kid(reference, other, seed=seed).value,
        "cmmd": lambda: cmmd(reference, other),
    }
    found = {name: attempt(way, name, None) for name, way in ways.items()}
    counts = attempt(
        lambda: manifold(reference, other, k, real_origin=origins[0], generated_origin=origins[1]), "", None
    )
    found |= counts if isinstance(counts, dict) else dict.fromkeys(MANIFOLD, np.nan)
    return {name: float(value) if np.isfinite(value) else None for name, value in found.items()}


def halves(first: np.ndarray, second: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sets (n, ...) and (m, ...) pooled and split at random into n and m: two samples of one population."""
    pooled = np.concatenate([first, second])
    order = np.random.default_rng([seed, 7]).permutation(len(pooled))
    return pooled[order[: len(first)]], pooled[order[len(first) :]]


def scale(value, real_reference, ceiling) -> float | None:
    """0: as two halves of one tissue; 1: as noise of its colours and spectrum. None where the ceiling is at the floor."""
    numbers = (value, real_reference, ceiling)
    if any(v is None or not np.isfinite(v) for v in numbers) or abs(ceiling - real_reference) < 1e-12:
        return None
    return float((value - real_reference) / (ceiling - real_reference))


def row_of_references(value, real_reference, patients, others: dict[str, float]) -> dict:
    """The fields of a row of metrics.json. floor, patients: (value, low, high) or None; others: values by name."""
    blank = (None, None, None)
    row = dict(zip(("floor", "floor_low", "floor_high"), real_reference or blank))
    row |= dict(zip(("patients", "patients_low", "patients_high"), patients or blank))
    ceilings = {name: others.get(name) for name in CEILINGS}
    row |= {"ceilings": ceilings, COMPRESSION: others.get(COMPRESSION)}
    return row | {"scale": scale(value, row["floor"], ceilings["phase"])}
