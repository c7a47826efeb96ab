"""The noise of the papers' recipes, value by value: what stands in config/published/, against other people's arithmetic."""

import math

import numpy as np
import pytest

from histogenesis.models.schedules import alpha_bars
from histogenesis.recipe import load_recipe
from histogenesis.sampling.solvers import solver_evaluations


@pytest.fixture(scope="module")
def recipe(root):
    return lambda name: load_recipe(root / f"config/published/{name}.yaml")


def of_diffusers(timesteps, form, first, last):
    from diffusers import DDPMScheduler

    return DDPMScheduler(timesteps, beta_start=first, beta_end=last, beta_schedule=form).alphas_cumprod.double().numpy()


def of_cosine(timesteps, first, last):
    """alpha_bar of Nichol and Dhariwal's betas between two bounds, by the library's own function."""
    from diffusers.schedulers.scheduling_ddpm import betas_for_alpha_bar

    return np.cumprod(1 - betas_for_alpha_bar(timesteps, max_beta=last).double().numpy().clip(min=first))


def learnt(model, kind, timesteps):
    assert (model.objective.kind, model.objective.timesteps) == (kind, timesteps)
    return alpha_bars(model.objective.schedule, timesteps)


@pytest.mark.parametrize("name", ["ddpm", "ddpm-336"])
def test_diffusion4paths_ddpm(recipe, name):
    found = learnt(recipe("diffusion4path").trained_models[name], "eps", 1000)
    assert found == pytest.approx(of_diffusers(1000, "linear", 1e-4, 0.01), rel=1e-4)
    assert found[-1] == pytest.approx(0.0063, abs=1e-4)


@pytest.mark.parametrize("name", ["ldm", "ldm-336"])
def test_diffusion4paths_latents(recipe, name):
    found = learnt(recipe("diffusion4path").trained_models[name], "eps", 1000)
    assert found == pytest.approx(of_diffusers(1000, "scaled_linear", 0.0015, 0.0195), rel=1e-4)


@pytest.mark.parametrize("form", ["linear", "cosine"])
def test_sons_two(recipe, form):
    wanted = of_diffusers(1000, "linear", 1e-4, 0.02) if form == "linear" else of_cosine(1000, 1e-4, 0.9999)
    arms = [model for name, model in recipe("son").trained_models.items() if f"schedule-{form}" in name]
    assert len(arms) == 2  # with attention and without
    for model in arms:
        assert learnt(model, "eps", 1000) == pytest.approx(wanted, rel=2e-4)


@pytest.mark.parametrize("magnification", [0, 1, 2])
def test_urcdms_three(recipe, magnification):
    """cos^2 and exp(-1e-4 - 10 t^2) at t = 1 / T, 2 / T, ...: the schedules of imagen-pytorch, which are continuous in t. The
    discrete cosine is divided by its value at t = 0, which makes 2e-4 of difference."""
    models = recipe("urcdm").models
    for px, kind, timesteps in ((64, "eps", 1024), (256, "v", 256)):
        found = learnt(models[f"m{magnification}-{px}"], kind, timesteps)
        t = np.arange(1, timesteps + 1) / timesteps
        assert found == pytest.approx(of_cosine(timesteps, 0, 0.999), rel=2e-4)
        assert np.abs(found - np.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2).max() < 2e-4
    t = np.arange(1, 257) / 256
    found = learnt(models[f"m{magnification}-1024"], "v", 256)
    assert found == pytest.approx(np.exp(-1e-4 - 10 * t**2), rel=1e-9)


def test_harbs_noise(recipe):
    """Table 3: what is learnt, and Karras et al. 2022, eq. 5, from 80 down to 0.002 with rho = 7; steps are our 100."""
    harb = recipe("harb")
    objective = harb.models["shared"].objective
    assert (objective.kind, objective.sigma_data, objective.p_mean, objective.p_std) == ("edm", 0.5, -1.2, 1.2)
    for level in harb.synthetic.levels:
        solver = solver_evaluations(**level.sampler.solver)
        wanted = [(80 ** (1 / 7) + i / 99 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(100)]
        visited = sorted({evaluation.sigma for evaluation in solver}, reverse=True)
        assert visited == pytest.approx(wanted, rel=1e-6)
