"""Noise schedules, and what networks predict at their steps."""

import math

import numpy as np
import pytest
import torch

from histogenesis.models.model import Denoiser, Normalisation
from histogenesis.models.objectives import EDM, Prediction
from histogenesis.models.options import Options
from histogenesis.models.schedules import alpha_bars, betas, schedule_sigmas, space_timesteps
from histogenesis.recipe import Model, Sampler
from histogenesis.sampling.solvers import sample, solver_evaluations


@pytest.mark.parametrize("kind", ["cosine", "linear"])
@pytest.mark.parametrize("timesteps", [50, 256, 1000])
def test_alpha_bar_is_a_product(kind, timesteps):
    """Son 2023 prints a sum; by a sum, alpha_bar would leave [0, 1] at the second step."""
    product, found = 1.0, alpha_bars(kind, timesteps)
    for t, beta in enumerate(betas(kind, timesteps)):
        product *= 1 - beta
        assert found[t] == pytest.approx(product, rel=1e-12)
    assert np.all(np.diff(found) < 0) and 0 < found[-1] < found[0] < 1


def test_the_published_schedules():
    """Of 1000 steps, at t = 1, 500 and 1000: Ho et al. 2020 by the sum of logarithms; Nichol and Dhariwal 2021, eq. 17."""
    linear = [math.exp(sum(math.log1p(-(1e-4 + (0.02 - 1e-4) * i / 999)) for i in range(t))) for t in (1, 500, 1000)]
    assert alpha_bars("linear", 1000)[[0, 499, 999]] == pytest.approx(linear, rel=1e-9)
    assert alpha_bars("linear", 1000)[[0, 999]] == pytest.approx([0.9999, 4.0358e-5], rel=1e-4)
    f = [math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in (0, 1, 500)]
    assert alpha_bars("cosine", 1000)[[0, 499]] == pytest.approx([f[1] / f[0], f[2] / f[0]], rel=1e-9)
    assert betas("cosine", 1000)[0] == pytest.approx(4.1284e-5, rel=1e-4)
    assert betas("cosine", 1000)[-1] == 0.999, "the last beta is clipped"
    assert alpha_bars("cosine", 1000)[-1] == pytest.approx(2.4288e-9, rel=1e-3)


@pytest.mark.parametrize(
    ("form", "first", "last", "diffusers_form"),
    [
        ("linear", 1e-4, 0.02, "linear"),
        ("linear", 1e-4, 0.01, "linear"),  # Diffusion4Path's DDPM
        ("sqrt-linear", 0.0015, 0.0195, "scaled_linear"),  # its LDM
        ("sqrt-linear", 0.00085, 0.012, "scaled_linear"),
    ],
)
@pytest.mark.parametrize("timesteps", [250, 1000])
def test_schedules_by_their_numbers_are_those_of_diffusers(form, first, last, diffusers_form, timesteps):
    """Value by value; the library computes in float32."""
    from diffusers import DDPMScheduler

    there = DDPMScheduler(timesteps, beta_start=first, beta_end=last, beta_schedule=diffusers_form)
    here = Options(**{"form": form, "from": first, "to": last})
    assert betas(here, timesteps) == pytest.approx(there.betas.double().numpy(), rel=2e-6)
    assert alpha_bars(here, timesteps) == pytest.approx(there.alphas_cumprod.double().numpy(), rel=1e-4)
    assert Prediction("eps", here, timesteps).sigmas == pytest.approx(
        ((1 - there.alphas_cumprod) / there.alphas_cumprod).sqrt().double().tolist(), rel=1e-3
    )


def test_the_ends_of_the_published_schedules():
    """Diffusion4Path: alpha_bar_T = 0.0063 by exp of the sum of ln(1 - beta). Son's bounds reach one beta of the cosine."""
    half = alpha_bars(Options(**{"form": "linear", "from": 1e-4, "to": 1e-2}), 1000)[-1]
    assert half == pytest.approx(
        math.exp(sum(math.log1p(-(1e-4 + (1e-2 - 1e-4) * i / 999)) for i in range(1000))), rel=1e-9
    )
    assert half == pytest.approx(0.0063, abs=1e-4)
    son = betas(Options(**{"form": "cosine", "from": 1e-4, "to": 0.9999}), 1000)
    plain = betas("cosine", 1000)
    assert son[-1] == 0.9999 and plain[-1] == 0.999 and son[0] == 1e-4
    assert np.array_equal(son[20:-1], plain[20:-1])


@pytest.mark.parametrize("timesteps", [256, 1000])
def test_the_continuous_linear_schedule_is_imagens(timesteps):
    """log-SNR = -ln(exp(1e-4 + 10 t^2) - 1) at t = 1 / T, 2 / T, ...; imagen-pytorch, from Chen et al. 2021."""
    time = np.arange(1, timesteps + 1) / timesteps
    log_snr = -np.log(np.expm1(1e-4 + 10 * time**2))
    kept = alpha_bars("continuous-linear", timesteps)
    assert np.log(kept / (1 - kept)) == pytest.approx(log_snr, rel=1e-9, abs=1e-9)
    assert np.abs(kept - alpha_bars("linear", timesteps)).max() < 0.012
    objective = Prediction("v", "continuous-linear", timesteps, noise_cond="log-snr")
    told = objective.scalings(torch.tensor(objective.sigmas, dtype=torch.float64)).noise
    assert told.numpy() == pytest.approx(log_snr, rel=1e-6, abs=1e-6)


def test_fewer_steps_are_spaced_from_the_last_to_the_first():
    training_sigmas = schedule_sigmas("cosine", 100)
    assert space_timesteps(training_sigmas, 100) == [*reversed(training_sigmas), 0.0]
    few = space_timesteps(training_sigmas, 12)
    assert (few[0], few[-2], few[-1], len(few)) == (training_sigmas[-1], training_sigmas[0], 0.0, 13)
    with pytest.raises(ValueError, match="101 sampler steps, but the model's schedule has 100"):
        space_timesteps(training_sigmas, 101)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_network_is_told_the_step(schedule):
    objective = Prediction("v", schedule, 250, None)
    sigma = torch.tensor(objective.sigmas, dtype=torch.float64)
    assert torch.allclose(objective.timestep(sigma), torch.arange(1, 251, dtype=torch.float64), atol=1e-6)
    assert float(objective.scalings(sigma[124]).noise) == pytest.approx(500)
    between = objective.timestep((sigma[30] * sigma[31]).sqrt())
    assert float(between) == pytest.approx(31.5)
    assert objective.timestep(torch.tensor([1e-9, 1e9])).tolist() == [1, 250]


def test_training_steps_are_uniform():
    objective = Prediction("eps", "linear", 20, None)
    drawn = objective.sample_sigma(torch.randn(40_000, generator=torch.Generator().manual_seed(0)))
    counts = torch.bincount(objective.timestep(drawn).round().long(), minlength=21)[1:]
    assert counts.min() > 1800 and counts.max() < 2200


ABAR = torch.from_numpy(alpha_bars("cosine", 64))


def network(kind, denoise):
    """What a network with this objective returns if it knows everything: by the definitions, in the schedule's own units."""

    def forward(x_t, told):
        kept = ABAR.to(x_t.dtype)[(told * 64 / 1000).round().long() - 1].reshape(-1, 1, 1, 1)
        x0 = denoise(x_t / kept.sqrt(), ((1 - kept) / kept).sqrt())
        eps = (x_t - kept.sqrt() * x0) / (1 - kept).sqrt()
        return {"x0": x0, "eps": eps, "v": kept.sqrt() * eps - (1 - kept).sqrt() * x0}[kind]

    return forward


def perfect(x, sigma):
    return (0.25 * x + sigma**2 * 0.3) / (0.25 + sigma**2)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "heun", "dpmpp-2m"])
def test_v_eps_and_x0_of_one_perfect_denoiser_give_the_same_sample(sampler):
    noise = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fresh = {n: torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(n)).double() for n in range(1, 200)}
    ends = {}
    for kind in ("v", "eps", "x0"):
        objective, forward = Prediction(kind, "cosine", 64, None), network(kind, perfect)

        def denoise(x, evaluation, objective=objective, forward=forward):
            s = objective.scalings(torch.full((2, 1, 1, 1), evaluation.sigma, dtype=torch.float64))
            return s.skip * x + s.out * forward(s.into * x, s.noise.flatten())

        solver = solver_evaluations(sampler, 32, timestep_spacing="schedule", training_sigmas=objective.sigmas)
        ends[kind] = sample(denoise, noise, solver, fresh.__getitem__)
    directly = sample(lambda x, evaluation: perfect(x, evaluation.sigma), noise, solver, fresh.__getitem__)
    for end in ends.values():
        assert torch.allclose(end, directly, atol=1e-6)


@pytest.mark.parametrize("kind", ["eps", "v", "x0"])
def test_the_weight_makes_the_loss_that_of_the_prediction(kind):
    """|F - F'|^2 = weight * |D - D'|^2; with min-SNR every kind weighs the picture's error by min(SNR, gamma)."""
    sigma = torch.tensor([0.01, 0.3, 1.0, 7.0], dtype=torch.float64)
    plain, clamped = Prediction(kind, "cosine", 64, None), Prediction(kind, "cosine", 64, 5.0)
    assert torch.allclose(plain.weight(sigma) * plain.scalings(sigma).out ** 2, torch.ones(4, dtype=torch.float64))
    snr = 1 / sigma**2
    published = {"eps": snr.clamp(max=5) / snr, "v": snr.clamp(max=5) / (snr + 1), "x0": snr.clamp(max=5)}[kind]
    assert torch.allclose(clamped.weight(sigma) * clamped.scalings(sigma).out ** 2, published)


@pytest.mark.parametrize("kind", ["eps", "v", "x0"])
def test_a_model_of_each_kind_is_built_from_the_recipe_and_starts_at_the_right_loss(kind):
    section = Model.model_validate(
        {
            "patches": "p",
            "network": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention_px": [], "heads": 1},
            "objective": {"kind": kind, "timesteps": 64},
            "training": {"steps": 1},
        }
    )
    torch.manual_seed(0)
    model = Denoiser(section, 16, Normalisation.unit())
    sigma = torch.tensor(model.objective.sigmas).repeat_interleave(2)
    g = torch.Generator().manual_seed(1)
    image = torch.randn(128, 3, 16, 16, generator=g) * 0.5
    noise = torch.randn(128, 3, 16, 16, generator=g)
    with torch.no_grad():
        denoised = model(image + sigma[:, None, None, None] * noise, sigma, torch.ones(128))
    loss = model.objective.weight(sigma) * ((denoised - image) ** 2).mean(dim=(1, 2, 3))
    # An untrained network returns almost 0, so its loss is the variance of what it is to predict.
    kept = ABAR.float().repeat_interleave(2)
    expected = {"eps": torch.ones(128), "x0": torch.full((128,), 0.25), "v": kept + (1 - kept) * 0.25}[kind]
    assert torch.allclose(loss, expected, rtol=0.25)
    assert float(loss.mean()) == pytest.approx(float(expected.mean()), rel=0.02)


def test_edm_has_no_schedule():
    assert EDM(0.5, -1.2, 1.2).sigmas is None
    with pytest.raises(ValueError, match="use `timestep_spacing: karras`"):
        solver_evaluations(**Sampler(timestep_spacing="schedule").solver)
