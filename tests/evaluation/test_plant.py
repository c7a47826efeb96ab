"""The copies that are planted for the audit's power are what is said of them: turned, mirrored, shifted by up to half."""

import numpy as np
from skimage.feature import match_template

from histogenesis.evaluation.evaluate_copies import PLANTED, plant
from histogenesis.metrics.memorisation.windows import orientations


def test_planted_copies_lie_turned_and_shifted_by_up_to_half_a_patch():
    rng = np.random.default_rng(0)
    train, own = rng.integers(30, 220, (2, PLANTED, 32, 32, 3), dtype=np.uint8)
    copies = plant(train, own, rng)
    turns, shifts = [], []
    for copy, of, rest in zip(copies.astype(float).mean(-1), train.astype(float).mean(-1), own):
        padded = np.pad(copy, 16, constant_values=copy.mean())
        scores = [match_template(padded, view) for view in orientations(of)]
        best = int(np.argmax([one.max() for one in scores]))
        turns.append(best)
        shifts.append(np.array(np.unravel_index(scores[best].argmax(), scores[best].shape)) - 16)
        kept = (copies[len(turns) - 1] == rest).all(axis=-1).mean()
        free = 1 - np.prod(1 - np.abs(shifts[-1]) / 32)
        assert abs(kept - free) < 0.01, "what the shift leaves free is the generated patch's own"
    assert len(set(turns)) == 8
    assert np.abs(shifts).max() <= 16 and np.abs(shifts).max(axis=0).min() >= 14
