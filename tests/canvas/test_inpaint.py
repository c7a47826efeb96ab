"""Held pixels: exact at the end, without a seam, and the unknown ones come to have the right distribution."""

import numpy as np
import pytest
import torch

from histogenesis.canvas.tilewise import impose_known_region
from histogenesis.models.schedules import schedule_sigmas
from histogenesis.sampling.solvers import solve, solver_evaluations, takes

SIGMAS = schedule_sigmas("cosine", 200)


def inpaint_known(denoise, evaluations, known, mask, noise, resample=1):
    """As a tile is drawn to its end."""
    impose, sigma = impose_known_region(known, mask, noise), evaluations[0].sigma
    x = impose(noise("fresh", 0, 0) * sigma, None, sigma)
    return solve(x, takes(evaluations, resample), denoise, noise, after=impose)[0]


def noises(shape, seed=0):
    """Keyed noise: another one for every purpose, step and draw, the same whenever it is asked for."""

    def noise(purpose, step, draw):
        key = torch.Generator().manual_seed(seed + 10 * ord(purpose[0]) + 10_000 * step + 100_000_000 * draw)
        return torch.randn(shape, generator=key, dtype=torch.float64)

    return noise


@pytest.mark.parametrize("kind", ["ddpm", "ddim", "heun", "dpmpp-2m"])
@pytest.mark.parametrize("resample", [1, 3])
def test_held_pixels_are_the_known_ones_and_no_seam_is_seen(kind, resample):
    """With a denoiser that knows the answer everywhere the unknown half fits the known one."""
    truth = torch.linspace(-1, 1, 64, dtype=torch.float64).reshape(1, 1, 8, 8).expand(2, 3, 8, 8)
    mask = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    mask[..., :3] = True
    solver = solver_evaluations(kind, 40, training_sigmas=SIGMAS)
    asked = []

    def denoise(x, evaluation):
        asked.append(evaluation.sigma)
        return truth + 1e-9 * x

    end = inpaint_known(denoise, solver, truth * mask, mask, noises(truth.shape), resample)
    assert torch.equal(end[..., :3], truth[..., :3])
    assert float((end - truth).abs().max()) < 1e-3
    repeated = sum(evaluation.step < 39 for evaluation in solver) * (resample - 1)
    assert len(asked) == len(solver) + repeated, "r evaluations of every step but the last"


def test_what_is_known_is_seen_at_the_right_noise_level():
    """At every evaluation the known pixels are theirs plus noise of that level, and fresh noise at every step."""
    known = torch.full((1, 1, 60, 60), 5.0, dtype=torch.float64)
    mask = torch.zeros(1, 1, 60, 60, dtype=torch.bool)
    mask[..., :30] = True
    seen = []

    def denoise(x, evaluation):
        seen.append(((x[..., :30] - 5) / evaluation.sigma).flatten())
        return torch.zeros_like(x)

    inpaint_known(denoise, solver_evaluations("ddpm", 30, training_sigmas=SIGMAS), known, mask, noises(known.shape), 2)
    for grain in seen:
        assert float(grain.std()) == pytest.approx(1, abs=0.08)
    alike = [float((a * b).mean()) for a, b in zip(seen, seen[2::2])]
    assert max(map(abs, alike)) < 0.15


def test_nothing_known_is_plain_sampling():
    shape = (1, 3, 6, 6)
    noise, none = noises(shape), torch.zeros(1, 1, 6, 6, dtype=torch.bool)
    solver = solver_evaluations("ddpm", 20, training_sigmas=SIGMAS)
    x = noise("fresh", 0, 0) * solver[0].sigma
    for n, evaluation in enumerate(solver, start=1):
        x, _ = evaluation.update(x, x / (1 + evaluation.sigma**2), None)
        x = x + evaluation.sigma_up * (noise("fresh", n, 0) if evaluation.sigma_up else 0)
    held = inpaint_known(lambda x, s: x / (1 + s.sigma**2), solver, torch.zeros(shape).double(), none, noise)
    assert torch.allclose(held, x)


def test_a_step_that_is_taken_again_remembers_no_estimate_of_another_noise_level():
    """After the way back DPM-Solver++(2M) takes a step of first order, which is DDIM's of eta 0 (Lu et al. 2022, section 4);
    where nothing was taken back it is of second order, and that is another."""
    shape, g = (1, 3, 4, 4), torch.Generator().manual_seed(0)
    second, first = (
        solver_evaluations(kind, 4, timestep_spacing="karras", training_sigmas=SIGMAS) for kind in ("dpmpp-2m", "ddim")
    )
    noise, order, begun, made = noises(shape), takes(second, 2), [], []

    def denoise(x, evaluation):
        begun.append((x, torch.randn(shape, generator=g, dtype=torch.float64)))
        return begun[-1][1]

    solve(20 * noise("fresh", 0, 0), order, denoise, noise, after=lambda x, take: made.append(x) or x)
    alike = [
        torch.allclose(x, first[take.number].update(*pair, None)[0])
        for take, x, pair in zip(order, made, begun, strict=True)
    ]
    assert [take.resample_index for take in order] == [0, 1, 0, 1, 0, 1, 0]
    assert alike == [True, True, False, True, False, True, True], "the first step and the last are of first order"


def gaussian_field(px, length=2.0):
    """Covariance of a stationary field of px x px pixels."""
    y, x = np.divmod(np.arange(px * px), px)
    distance = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2
    return np.exp(-distance / (2 * length**2)) + 0.02 * np.eye(px * px)


def conditional_error(kind, resample, samples=1500, steps=30):
    """How far the drawn unknown pixels' mean and covariance given the known ones are from the exact ones (relative)."""
    px, g = 6, torch.Generator().manual_seed(1)
    covariance = torch.from_numpy(gaussian_field(px))
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.sqrt()) @ vectors.T  # one machine gives other eigenvectors than another, and the same root
    y = root @ torch.randn(px * px, generator=g, dtype=torch.float64)
    mask = torch.zeros(px, px, dtype=torch.bool)
    mask[:, :3] = True
    k, u = mask.flatten().nonzero().flatten(), (~mask).flatten().nonzero().flatten()
    gain = covariance[u][:, k] @ torch.linalg.inv(covariance[k][:, k])
    mean, spread = gain @ y[k], covariance[u][:, u] - gain @ covariance[k][:, u]

    def denoise(x, evaluation):
        flat = x.flatten(1)
        shrink = (vectors * (values / (values + evaluation.sigma**2))) @ vectors.T
        return (flat @ shrink).reshape(x.shape)

    shape = (samples, 1, px, px)
    known = y.reshape(1, 1, px, px).expand(shape)
    held = mask.expand(samples, 1, px, px)
    solver = solver_evaluations(kind, steps, training_sigmas=SIGMAS)
    end = inpaint_known(denoise, solver, known, held, noises(shape, seed=2), resample).flatten(1)[:, u]
    found = torch.cov(end.T)
    return (
        float((end.mean(0) - mean).norm() / spread.trace().sqrt()),
        float((found - spread).norm() / spread.norm()),
    )


@pytest.mark.parametrize("kind", ["ddpm", "ddim"])
def test_the_conditional_distribution_comes_closer_to_the_right_one_with_resampling(kind):
    """On a Gaussian field everything is known exactly. r = 1 misses; each larger r misses by less."""
    errors = [conditional_error(kind, r) for r in (1, 4, 16)]
    total = [a + b for a, b in errors]
    assert total[0] > total[1] > total[2], errors
    assert total[2] < 0.5 * total[0], errors
