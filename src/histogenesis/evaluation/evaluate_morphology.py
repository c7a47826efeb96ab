"""A pathologist's measures of both sides, mpp by mpp: nuclei, tissue, stains; the Wasserstein distance between their
distributions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.stats import wasserstein_distance

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.ceilings import reference_sets
from histogenesis.evaluation.references import row_of_references
from histogenesis.evaluation.sets import Sets
from histogenesis.evaluation.units import units
from histogenesis.metrics.distances.intervals import group_interval
from histogenesis.metrics.encoders.features import ImageSet
from histogenesis.metrics.encoders.he_network import CLASSES, HeNetwork
from histogenesis.metrics.morphology import nuclei, stains, tissue
from histogenesis.recipe import Evaluation

Values = list[np.ndarray]  # of each patch, what was measured there: one number, one of each nucleus, or nothing
UNITS = {
    "nuclei_per_mm2": "per mm2",
    "nucleus_area": "um2",
    "nucleus_eccentricity": "",
    "nucleus_haematoxylin": "",
    "nucleus_distance": "um",
    "ripley_k": "of a random pattern's",
    **{name: "share" for name in CLASSES},
    "gland_area": "um2",
    "lumen_area": "um2",
    "haematoxylin_amount": "optical density",
    "eosin_amount": "optical density",
    "stain_vectors": "degrees",
}


def morphology_metrics(sets: Sets, rows: dict[float, list], options: Evaluation, seed: int) -> list[dict]:
    """Rows of kind `morphology` for each mpp of `rows`: W1 between generated and held-out patches (stain_vectors: the angle),
    with both sides' means and medians. What cannot be measured at an mpp has no row there; what fails has one, with the
    reason."""
    entries = []
    for mpp, every in rows.items() if options.morphology_images else ():
        n = min(options.morphology_images, len(every[0]))
        parts = [r[np.linspace(0, len(r) - 1, n).round().astype(int)] for r in every]
        if not mpp:
            continue
        image_sets = {s.name: s.take(r) for s, r in zip(sets, parts)}
        image_sets |= reference_sets(sets, {mpp: parts}, seed)
        real = np.concatenate([image_sets["train"].images, image_sets["held_out"].images])
        for encoder, coarsest, measure in (
            ("nuclei", nuclei.COARSEST_MPP, _nuclei),
            ("tissue", tissue.COARSEST_MPP, _tissue),
            ("stain", np.inf, _stain),
        ):
            if mpp > coarsest * (1 + 1e-6):
                continue
            try:
                way = measure(real, mpp)
                measured = {name: way(images) for name, images in image_sets.items()}
            except BadInput as error:
                entries.append(_row(encoder, encoder, mpp, n, note=str(error)))
                continue
            for name in measured["held_out"]:
                values = {which: measures[name] for which, measures in measured.items()}
                entries.append(_compare(name, encoder, mpp, values, image_sets, options, seed))
        entries.append(_angles(mpp, image_sets, n, seed))
    return entries


def _nuclei(real: np.ndarray, mpp: float) -> Callable[[ImageSet], dict[str, Values]]:
    threshold = nuclei.nuclear_threshold(real, mpp)

    def measure(images: ImageSet):
        found = nuclei.find_nuclei(images.images, mpp, threshold)
        sides = tuple(side * mpp for side in images.images.shape[1:3])
        per_nucleus = {
            "nucleus_area": found.area,
            "nucleus_eccentricity": found.eccentricity,
            "nucleus_haematoxylin": found.haematoxylin,
            "nucleus_distance": nuclei.nearest_distances(found),
        }
        each = {
            name: [v[(found.patch == k) & np.isfinite(v)] for k in range(found.n)] for name, v in per_nucleus.items()
        }
        return {"nuclei_per_mm2": _one_each(found.per_mm2), **each, "ripley_k": _one_each(nuclei.ripley(found, sides))}

    return measure


def _tissue(real: np.ndarray, mpp: float):
    network = HeNetwork("cuda" if torch.cuda.is_available() else "cpu")

    def measure(images: ImageSet):
        found = tissue.measure_tissue(network, images.images, mpp, images.slide)
        shares = {name: _one_each(found.shares[:, k]) for k, name in enumerate(CLASSES)}
        return shares | {"gland_area": found.gland_area, "lumen_area": found.lumen_area}

    return measure


def _stain(real: np.ndarray, mpp: float):
    vectors = stains.stain_vectors(real)

    def measure(images: ImageSet):
        found = stains.amounts(images.images, vectors)[0].mean(axis=(1, 2))
        return {"haematoxylin_amount": _one_each(found[:, 0]), "eosin_amount": _one_each(found[:, 1])}

    return measure


def _one_each(values) -> Values:
    """NaN: nothing."""
    return [np.array([v]) if np.isfinite(v) else np.zeros(0) for v in values]


def w1(first: Values, second: Values) -> float | None:
    """The Wasserstein-1 distance of all values of two sets; None where one has none."""
    one, other = np.concatenate([*first, []]), np.concatenate([*second, []])
    return float(wasserstein_distance(one, other)) if len(one) and len(other) else None


def _compare(name, encoder, mpp, values: dict[str, Values], image_sets, options, seed) -> dict:
    held_out, generated, train = (values[which] for which in ("held_out", "generated", "train"))
    value, patients = w1(held_out, generated), w1(held_out, train)
    order = np.random.default_rng([seed, 7]).permutation(len(held_out) + len(train))
    pooled = [*held_out, *train]
    real_reference = w1([pooled[i] for i in order[: len(held_out)]], [pooled[i] for i in order[len(held_out) :]])
    others = {which: w1(held_out, v) for which, v in values.items() if which not in ("held_out", "generated", "train")}
    low, high, interval = _interval(
        held_out, generated, value, [image_sets[w] for w in ("held_out", "generated")], options, seed
    )
    sides = [np.concatenate([*v, []]) for v in (held_out, generated)]
    means, medians = ([float(of(v)) if len(v) else None for v in sides] for of in (np.mean, np.median))
    note = (
        ""
        if value is not None
        else f"nothing of the kind was found in {'held-out' if means[0] is None else 'generated'} patches"
    )
    references = row_of_references(value, _bare(real_reference), _bare(patients), others)
    row = _row(name, encoder, mpp, len(held_out), value, low, high, note)
    row |= {"real_median": medians[0], "generated_median": medians[1]}
    return row | references | {"real": means[0], "generated": means[1], "interval": interval}


def _interval(held_out, generated, value, sides: list[ImageSet], options, seed):
    """Low, high, and how they came about or why there are none."""
    if value is None:
        return None, None, ""

    def statistic(a, b):
        found = w1([held_out[i] for i in a], [generated[i] for i in b])
        return np.nan if found is None else found

    index = [np.arange(len(side)) for side in sides]
    own = [units(side, rows) for side, rows in zip(sides, index)]
    found = group_interval(statistic, index, value, own, n_resamples=options.n_resamples, seed=seed)
    low, high = (float(end[0]) for end in (found.low, found.high))
    if not np.isfinite([low, high]).all():
        return (
            None,
            None,
            found.text if "no interval" in found.text else "no interval, too few are found without a group",
        )
    return max(0.0, low), high, found.text


def _angles(mpp, image_sets: dict[str, ImageSet], n, seed) -> dict:
    found = {name: stains.stain_vectors(s.images) for name, s in image_sets.items()}
    pooled = np.concatenate([image_sets["held_out"].images, image_sets["train"].images])
    order = np.random.default_rng([seed, 7]).permutation(len(pooled))
    two = [stains.stain_vectors(pooled[part]) for part in np.array_split(order, 2)]
    angle = {name: stains.angle_between(found["held_out"], v) for name, v in found.items()}
    value = angle["generated"]
    others = {name: angle[name] for name in angle if name not in ("held_out", "generated", "train")}
    row = _row("stain_vectors", "stain", mpp, n, value, None, None, "the larger angle of haematoxylin's and eosin's")
    references = row_of_references(value, _bare(stains.angle_between(*two)), _bare(angle["train"]), others)
    return row | references | {"interval": "no interval: one pair of vectors of all patches"}


def _bare(value):
    return None if value is None else (value, None, None)


def _row(name, encoder, mpp, n, value=None, low=None, high=None, note="") -> dict:
    about = {"name": name, "encoder": encoder, "mpp": mpp, "value": value, "low": low, "high": high}
    about |= row_of_references(None, None, None, {}) | {"n_real": n, "n_generated": n, "better": "lower"}
    about |= {"kind": "morphology", "speaks": None, "unit": UNITS.get(name, ""), "real": None, "generated": None}
    about |= {"real_median": None, "generated_median": None}
    return about | {"interval": "", "file": "", "note": note}
