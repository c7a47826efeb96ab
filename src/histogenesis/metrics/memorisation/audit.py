"""Does the model copy its training patches? Two audits, each with a test whose error rate is known: of whole patches by their
nearest neighbours in feature space, and of pieces of patches by the search of copies.py.

For each generated patch the nearest training patch is found, and the same for each held-out real patch, which no model
has seen. A model that draws new patches is as far from the training patches as held-out ones are. "Too close" is
nearer than all but 1 % of the held-out ones, measured twice:

- absolute: the distance itself;
- relative: the distance over that of the found training patch to its own nearest training patch, so that plain background
  (where everything is near everything) is no alarm. The share of patches with a ratio over 1 is AuthPct (Alaa et al. 2022).
  Held-out patients of another stain are far from the training patches by any measure, so that all that is stained as
  those are, real patches of one more patient too, is nearer. So it must be nearer, too, than all but 1 % of the training
  patches are to one another, each left out in turn.

The number of generated patches under the k-th smallest held-out value is beta-binomial if both are alike, whatever the
distribution of distances: that gives an exact p-value. Of the relative test the greater of both p-values is taken.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import betabinom

from histogenesis.core.errors import BadInput
from histogenesis.metrics.checks import check_features
from histogenesis.metrics.distances.intervals import binomial_interval
from histogenesis.metrics.distances.neighbours import nearest, squared_distances


@dataclass(frozen=True)
class TooClose:
    """The share of generated patches below `threshold`, its binomial interval, and how likely an honest model has more."""

    threshold: float
    fraction: float
    low: float
    high: float
    expected: float  # of an honest model
    p_value: float


@dataclass(frozen=True)
class Pair:
    """A generated patch, its nearest training patch, their distance, and the ratio to that training patch's own."""

    generated: int
    train: int
    distance: float
    ratio: float


@dataclass(frozen=True)
class Audit:
    verdict: str  # "copies", "suspect", "clear" or "not measured"
    sentence: str
    absolute: TooClose
    relative: TooClose
    authpct: float  # per cent
    authpct_low: float
    authpct_high: float
    authpct_held_out: float  # what authentic patches reach
    n_train: int
    n_held_out: int
    n_generated: int
    closest: list[Pair]  # the nearest first, by ratio
    distances: dict[
        str, list[float]
    ]  # quantiles 0, 1, 5, 25, 50, 75, 95, 99, 100 % of held-out and generated distances

    def as_dict(self) -> dict:
        return asdict(self)


QUANTILES = (0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1)


def audit(
    train,
    held_out,
    generated,
    percentile: float = 1.0,
    alpha: float = 0.01,
    pairs: int = 8,
    train_origin=None,
    left_out=None,
) -> Audit:
    """Nearest-neighbour audit in feature space.

    train (n, d). held_out and generated: (m, d), or (views, m, d) where each patch was encoded in several orientations: the
    nearest of them counts, so that a turned or mirrored copy is found (both sets alike, or the comparison is unfair). At least
    20 patches of each kind. train_origin (n,): training patches of one origin (a patch and its turned copies) are no neighbours
    of each other; without it their distance of next to nothing would be the measure of "near", and no copy were. left_out:
    rows (s,) of training patches that are left out in turn, and their features (views, s, d), encoded as the other two sets
    are, since each view is one more chance to be near; by default all of them, as they are. verdict:
    "copies" if both tests have p < alpha, "suspect" if the relative one alone has, "not measured" if not even a model that
    copies everything could reach alpha, else "clear". The held-out patches should come from other patients; an honest model
    of few patients, or another slide of theirs, is then nearer in distance alone, for having their stain.
    """
    train = check_features(train, "training patches", 20)
    held_out, generated = _views(held_out, "held-out patches"), _views(generated, "generated patches")
    for name, views in (("held-out", held_out), ("generated", generated)):
        if views.shape[2] != train.shape[1]:
            raise BadInput(
                f"{name} features have {views.shape[2]} dimensions and training ones {train.shape[1]}: use one encoder for both"
            )
    origin = np.arange(len(train)) if train_origin is None else np.asarray(train_origin)
    own, next_to = nearest(train, train, origin=origin)
    own = np.maximum(own, 1e-12)
    near_held, index_held = _nearest_view(held_out, train)
    near, index = _nearest_view(generated, train)
    ratio_held, ratio = near_held / own[index_held], near / own[index]
    rows, near_others, index_others = np.arange(len(train)), own, next_to
    if left_out is not None:
        rows, views = np.asarray(left_out[0]), _views(left_out[1], "training patches")
        near_others, index_others = _nearest_view(views, train, origin=origin, rows_of_b=rows)
    ratio_left_out = near_others / _spread_without(rows, index_others, train, own, next_to, origin)
    absolute = _too_close(near_held, near, percentile)
    beside = [_too_close(known, ratio, percentile) for known in (ratio_held, ratio_left_out)]
    relative = max(beside, key=lambda found: found.p_value)
    authentic = int((ratio > 1).sum())
    low, high = binomial_interval(authentic, len(ratio))
    order = np.argsort(ratio, kind="stable")[:pairs]
    verdict, sentence = _verdict(absolute, relative, alpha, len(near_held), len(near), percentile)
    return Audit(
        verdict,
        sentence,
        absolute,
        relative,
        100 * authentic / len(ratio),
        100 * low,
        100 * high,
        100 * float((ratio_held > 1).mean()),
        len(train),
        len(near_held),
        len(near),
        [Pair(int(i), int(index[i]), float(near[i]), float(ratio[i])) for i in order],
        {
            "quantiles": list(QUANTILES),
            "held_out": np.quantile(near_held, QUANTILES).tolist(),
            "generated": np.quantile(near, QUANTILES).tolist(),
        },
    )


SURE = 2.0  # chance puts one match that stands alone into one of 10^SURE generated sets
MARGIN = 1.0  # and it is 10^MARGIN times rarer than the rarest match of a held-out patch
FOUND_LEAST = 0.8  # share of planted copies' trials that must be caught before "no copies" may be said


def audit_pieces(
    held_out, generated, searched: int, of: int, percentile: float = 1.0, alpha: float = 0.01, planted=None
) -> dict:
    """Audit of pieces of patches: surprise (copies.Match) of each held-out and each generated patch's best match.

    "Too close" is more surprising than all but 1 % of held-out ones, and than chance (over 0). verdict: "copies" if p < alpha /
    10, since there is only this one test; "suspect" if p < alpha or if any match stands alone (SURE, MARGIN); else "clear", but
    "not measured" where not all training patches were searched (searched, of), where there are too few patches, or where
    copies would not have been found: planted: the surprise of copies planted into the generated set (see `power_of`);
    without it "clear" is not given. Patches that are plain are not given: they show nothing that could be copied. Returns
    a dict like Audit's, without the pairs.
    """
    held_out, generated = np.asarray(held_out, np.float64), np.asarray(generated, np.float64)
    if min(len(held_out), len(generated)) < 20:
        why = _too_few(len(held_out), len(generated), "patches that show something")
        return {"verdict": "not measured", "sentence": why, "searched": searched, "of": of, "power": None}
    found = _too_close(np.minimum(-held_out, 0.0), -generated, percentile)
    lone = int((generated > lone_from(held_out, len(generated))).sum())
    verdict = verdict_of_pieces(held_out, generated, percentile, alpha)
    power = power_of(held_out, generated, planted, percentile, alpha) if planted is not None else None
    share = f"{100 * found.fraction:.1f} % of the generated patches"
    expected = f"at most {100 * found.expected:.1f} %"
    there = f"{searched:,}" if searched >= of else f"{searched:,} of {of:,}"
    if verdict == "copies":
        sentence = (
            f"The model copies: {share} hold a piece of a training patch, shifted or turned or not, where an honest model"
            f" has {expected} (p = {found.p_value:.1g})."
        )
    elif verdict == "suspect":
        sentence = (
            f"{lone} of {len(generated)} generated patches hold a piece of a training patch as no held-out patch does"
            f" ({share} are too close, p = {found.p_value:.2g}): look at the closest pairs."
        )
    elif searched < of:
        verdict, sentence = (
            "not measured",
            f"Only {there} training patches were searched: copies of the others are missed.",
        )
    elif power is None or power["found"] < FOUND_LEAST:
        would = f"{100 * power['found']:.0f} % of trials" if power else "trials that were not made"
        verdict = "not measured"
        sentence = f"No copy was found, but 1 in 100 would have been found in {would}: hold out or draw more patches."
    else:
        sentence = (
            f"No copies found, in all {there} training patches; copies of 1 in 100 patches would have been found with"
            f" {100 * power['found']:.0f} % ({100 * power['low']:.0f} to {100 * power['high']:.0f} %) where they are turned or"
            " shifted; strongly warped, blurred or rotated ones more rarely or not."
        )
    return {
        "verdict": verdict,
        "sentence": sentence,
        "absolute": asdict(found),
        "lone": lone,
        "searched": searched,
        "of": of,
        "power": power,
        "n_train": searched,
        "n_train_all": of,
        "n_held_out": len(held_out),
        "n_generated": len(generated),
        "surprises": {
            "quantiles": list(QUANTILES),
            "held_out": np.quantile(held_out, QUANTILES).tolist(),
            "generated": np.quantile(generated, QUANTILES).tolist(),
        },
    }


def lone_from(held_out: np.ndarray, generated: int) -> float:
    """The surprise from which a single match is a finding, of so many generated patches."""
    return max(SURE + np.log10(generated), float(np.max(held_out)) + MARGIN)


def verdict_of_pieces(held_out, generated, percentile: float = 1.0, alpha: float = 0.01) -> str:
    """ "copies", "suspect" or "clear" by the surprises alone."""
    found = _too_close(np.minimum(-held_out, 0.0), -generated, percentile)
    if found.p_value < alpha / 10:
        return "copies"
    return "suspect" if found.p_value < alpha or (generated > lone_from(held_out, len(generated))).any() else "clear"


def power_of(
    held_out, generated, planted, percentile: float = 1.0, alpha: float = 0.01, share: float = 0.01, trials: int = 200
) -> dict:
    """How often copies of 1 in 100 patches would have been told: in each trial so many generated patches, at least one, give
    way to planted copies; generated patches that stand alone themselves are left out of all trials."""
    rng, caught = np.random.default_rng(0), 0
    honest = generated[generated <= lone_from(held_out, len(generated))]
    many = max(1, round(share * len(generated)))
    for _ in range(trials if len(honest) else 0):
        own = rng.choice(honest, max(1, len(generated) - many))
        caught += (
            verdict_of_pieces(held_out, np.concatenate([own, rng.choice(planted, many)]), percentile, alpha) != "clear"
        )
    low, high = binomial_interval(caught, trials)
    how = f"{many} of {len(generated)} patches replaced by copies, turned and shifted, {trials} times"
    return {"share": share, "found": caught / trials, "low": low, "high": high, "how": how}


def _views(features, name):
    features = np.asarray(features)
    views = features if features.ndim == 3 else features[None]
    return np.stack([check_features(view, name, 20) for view in views])


def _nearest_view(views, train, **left_out):
    found = [nearest(view, train, **left_out) for view in views]
    distances, indices = np.stack([d for d, _ in found]), np.stack([i for _, i in found])
    best = distances.argmin(axis=0)
    rows = np.arange(distances.shape[1])
    return distances[best, rows], indices[best, rows]


def _spread_without(rows, index, train, own, next_to, origin):
    """The distances of training patches `index` to their nearest others, each as if the patch of `rows` (and what is of its
    origin) had not been among them. own, next_to: that distance with all of them, and to which."""
    spread = own[index]
    missed = np.flatnonzero(
        origin[next_to[index]] == origin[rows]
    )  # its nearest is the one that is left out: the next one
    for part, distances in squared_distances(train[index[missed]], train):
        for out in (index[missed[part]], rows[missed[part]]):
            distances[origin[out, None] == origin] = np.inf
        spread[missed[part]] = np.sqrt(distances.min(axis=1))
    return np.maximum(spread, 1e-12)


def _rank(n_held_out, percentile):
    return max(1, int(n_held_out * percentile / 100))


def _too_close(held_out, generated, percentile) -> TooClose:
    n, m, k = len(held_out), len(generated), _rank(len(held_out), percentile)
    threshold = float(np.sort(held_out)[k - 1])
    hits = int((generated < threshold).sum())
    low, high = binomial_interval(hits, m)
    return TooClose(threshold, hits / m, low, high, k / (n + 1), float(betabinom.sf(hits - 1, m, k, n + 1 - k)))


def _verdict(absolute, relative, alpha, n, m, percentile):
    k = _rank(n, percentile)
    if betabinom.sf(m - 1, m, k, n + 1 - k) >= alpha:
        return "not measured", _too_few(n, m)
    found = [t for t in (absolute, relative) if t.p_value < alpha]
    share = f"{100 * absolute.fraction:.1f} % of the generated patches"
    expected = f"{100 * absolute.expected:.1f} %"
    if len(found) == 2:
        return "copies", (
            f"The model copies: {share} are closer to a training patch than {100 - percentile:g} % of real held-out"
            f" patches are, where an honest model has {expected} (p = {max(t.p_value for t in found):.1g})."
        )
    if found == [relative]:
        return "suspect", (
            "More generated patches than expected are close to training patches relative to how dense these lie, but not in"
            f" distance (p = {relative.p_value:.2g} and {absolute.p_value:.2g}): look at the closest pairs."
        )
    if found:
        return "clear", (
            f"No sign of copying: {share} are too close in distance (p = {absolute.p_value:.2g}), as patches of the training"
            f" slides' own stain are, but not relative to how dense the training patches lie (p = {relative.p_value:.2g})."
        )
    return "clear", (
        f"No sign of copying: {share} are too close to a training patch, where an honest model has {expected}"
        f" (p = {absolute.p_value:.2g} and {relative.p_value:.2g})."
    )


def _too_few(n, m, patches="patches"):
    return (
        f"{n} held-out and {m} generated {patches} are too few to tell a copy from chance: even a model that copies all"
        " would not be caught. Hold out or draw more."
    )
