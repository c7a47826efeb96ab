"""Samplers against a case where the perfect denoiser is known: Gaussian data."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from histogenesis.core.sigmas import evaluations, karras_sigmas, release_sigma
from histogenesis.sampling.solvers import SAMPLERS, sample, solver_evaluations

MEAN, STD = 0.7, 0.5


def perfect(x, evaluation):
    """E[x0 | x] for data N(MEAN, STD^2)."""
    sigma = evaluation.sigma
    return (STD**2 * x + sigma**2 * MEAN) / (STD**2 + sigma**2)


def exact_end(noise, sigma_max):
    """The probability-flow ODE of Gaussian data, solved: x - MEAN shrinks by STD / sqrt(STD^2 + sigma_max^2)."""
    return MEAN + (noise * sigma_max - MEAN) * STD / (STD**2 + sigma_max**2) ** 0.5


def error(kind, steps):
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64).reshape(1, 1, 3, 3)
    end = sample(perfect, noise, solver_evaluations(kind, steps, 0.002, 10.0, 7.0))
    return float((end - exact_end(noise, 10.0)).abs().max())


@pytest.mark.parametrize(("kind", "order"), [("euler", 1), ("heun", 2), ("dpmpp-2m", 2)])
def test_order_of_convergence(kind, order):
    errors = np.array([error(kind, steps) for steps in (32, 64, 128)])
    measured = np.log2(errors[:-1] / errors[1:])
    # The last step, from sigma_min to 0, is of first order in all of them; it is tiny, so the order shows all the same.
    assert np.all(np.abs(measured - order) < 0.35), f"{kind}: errors {errors}, orders {measured}"


@pytest.mark.parametrize("kind", ["dpmpp-2m", "euler", "heun"])
def test_end_distribution_is_the_data_distribution(kind):
    noise = torch.randn(1, 1, 200, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    end = sample(perfect, noise, solver_evaluations(kind, 64, 0.002, 80.0, 7.0))
    # Euler's error at 64 steps is a few per cent; the others' far less.
    tolerance = 0.05 if kind == "euler" else 0.012
    assert abs(float(end.mean()) - MEAN) < tolerance
    assert abs(float(end.std()) / STD - 1) < tolerance


@pytest.mark.parametrize("kind", sorted(SAMPLERS))
def test_one_evaluation_per_stage(kind):
    assert len(solver_evaluations(kind, 12, 0.002, 80.0, 7.0)) == evaluations(kind, 12)


def test_karras_sigmas_meet_their_ends():
    sigmas = karras_sigmas(18, 0.002, 80.0, 7.0)
    assert len(sigmas) == 19
    assert sigmas[0] == pytest.approx(80) and sigmas[-2] == pytest.approx(0.002) and sigmas[-1] == 0
    assert all(a > b for a, b in pairwise(sigmas))


def test_release_sigma_frees_exactly_the_last_steps():
    sigmas = karras_sigmas(40, 0.002, 80.0, 7.0)
    for last in (0, 1, 28, 39):
        release = release_sigma(sigmas, last)
        assert sum(sigma <= release for sigma in sigmas[:-1]) == last
    with pytest.raises(ValueError, match="frees all 40 steps; use at most 39"):
        release_sigma(sigmas, 40)


def test_dpmpp_2m_weighs_the_last_two_estimates_by_their_steps():
    """Steps of ln 2 and ln 4: r = 1/2, so D = (1 + 1/(2r)) D_1 - 1/(2r) D_0 = 2 D_1 - D_0 (Lu et al. 2022, algorithm 2)."""
    estimates = iter((torch.tensor(1.0), torch.tensor(3.0), torch.tensor(7.0)))
    asked = []

    def denoise(x, evaluation):
        asked.append((float(x), evaluation.sigma))
        return next(estimates)

    end = sample(denoise, torch.tensor(2.0), SAMPLERS["dpmpp-2m"]([4.0, 2.0, 0.5, 0.0]))
    first = 2 / 4 * 8 + (1 - 2 / 4) * 1
    second = 0.5 / 2 * first + (1 - 0.5 / 2) * (2 * 3 - 1)
    np.testing.assert_allclose(asked, [(8, 4), (first, 2), (second, 0.5)])
    assert float(end) == pytest.approx(7)
