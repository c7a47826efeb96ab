"""The moving average of the weights against its closed form, step by step."""

import numpy as np
import pytest
from test_clip_gradient import small_trainer

BATCH = 2


@pytest.mark.parametrize(
    "half_life,rampup,keeps",
    [
        (BATCH, 0.0, [0.5, 0.5]),  # a batch is one half-life
        (2 * BATCH, 0.0, [0.5**0.5] * 2),
        (1000 * BATCH, 0.5, [0.5**2, 0.5**1]),  # at first half of what was seen: half a batch, then one
    ],
)
def test_the_average_has_its_half_life_in_images_and_a_shorter_one_at_the_start(tmp_path, half_life, rampup, keeps):
    seen = {"ema_half_life_images": half_life, "ema_rampup": rampup, "warmup_steps": 0}
    trainer = small_trainer(tmp_path, lr=1e-2, **seen)
    expected = flat(trainer.ema)
    for step, keep in enumerate(keeps):
        trainer.train_step([trainer.batches.read(step, share, "cpu") for share in trainer.micro_batches()])
        new = flat(trainer.weights)
        assert np.abs(new - expected).max() > 1e-3
        expected = keep * expected + (1 - keep) * new
        np.testing.assert_allclose(flat(trainer.ema), expected, atol=1e-6)


def flat(weights) -> np.ndarray:
    return np.concatenate([w.detach().double().numpy().ravel() for w in weights.values()])
