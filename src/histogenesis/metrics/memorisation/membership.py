"""Membership inference: does a model's own loss tell the patches that it learned from, from patches that it has not seen?

The loss of each patch at several noise levels, training patches against held-out ones of other patients (Carlini et al. 2023,
section 5; Matsumoto et al. 2023 for diffusion models). AUC 0.5: a patch's loss says nothing of whether it was learned from.
The interval leaves out whole patients of both sides, so that patients who are harder to draw than others are no alarm.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from histogenesis.core.errors import BadInput
from histogenesis.metrics.distances.intervals import Units, group_interval

LEAST = 20  # patches on either side
TOLD = 0.5


def auc(members: np.ndarray, others: np.ndarray) -> float:
    """The chance that a member's score is greater than another's, ties half (Mann and Whitney's U over n m)."""
    ranks = rankdata(np.concatenate([members, others]))[: len(members)].sum()
    return float((ranks - len(members) * (len(members) + 1) / 2) / (len(members) * len(others)))


def membership(train, held_out, sigmas: list[float], train_units: Units, held_out_units: Units, seed: int = 0) -> dict:
    """train (n, s), held_out (m, s): the loss of each patch at each of the sigmas.

    The score is minus the loss, each sigma's divided by its spread over all patches, in the mean. Returns a dict: auc, low,
    high, interval (how, or why there is none), by_sigma, n_train, n_held_out, sentence, verdict ("suspect" where the interval
    lies above 0.5, "clear" where it holds or lies below it, "not measured" without one). Raises BadInput for under 20 patches.
    """
    train, held_out = np.asarray(train, np.float64), np.asarray(held_out, np.float64)
    if min(len(train), len(held_out)) < LEAST:
        raise BadInput(
            f"{len(train)} training and {len(held_out)} held-out patches are too few for membership inference: at least {LEAST}"
            " of each are needed"
        )
    both = np.concatenate([train, held_out])
    if not np.isfinite(both).all():
        raise BadInput("the model's loss is not finite on some patches: train it again")
    scale = np.maximum(both.std(axis=0), 1e-12)
    scores = [-(part / scale).mean(axis=1) for part in (train, held_out)]
    value = auc(*scores)
    found = group_interval(auc, scores, value, [train_units, held_out_units], seed=seed)
    low, high = (None if np.isnan(end[0]) else float(np.clip(end[0], 0, 1)) for end in (found.low, found.high))
    verdict = "not measured" if low is None else "suspect" if low > TOLD else "clear"
    return {
        "auc": value,
        "low": low,
        "high": high,
        "interval": found.text,
        "sigmas": [float(s) for s in sigmas],
        "by_sigma": [{"sigma": float(s), "auc": auc(-train[:, k], -held_out[:, k])} for k, s in enumerate(sigmas)],
        "n_train": len(train),
        "n_held_out": len(held_out),
        "verdict": verdict,
        "sentence": _sentence(verdict, value, low, high, found.text),
    }


def _sentence(verdict, value, low, high, text) -> str:
    if verdict == "not measured":
        return f"Whether the model's loss tells what it learned from: AUC {value:.2f}, {text}."
    span = f"AUC {value:.2f}, 95 % interval {low:.2f} to {high:.2f}"
    if verdict == "suspect":
        return f"The model's loss tells the patches that it learned from, from others ({span}): it remembers them."
    return f"The model's loss does not tell the patches that it learned from, from others ({span})."
