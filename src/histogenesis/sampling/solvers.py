"""Samplers: solvers of the ODE and of the SDE, written as lists of pointwise evaluations.

An evaluation says at which noise level the denoiser is asked, and how the answer changes the pixels. Nothing in it looks at
a neighbouring pixel, so one and the same sampler runs on a batch of patches in memory and on a canvas that is larger than
memory, tile by tile; and a drawing can stop and go on between any two tiles.

The steps are written as one pass over memory each where they can be: a.lerp(b, w) is a + w (b - a), which on a large canvas
is what a step costs.

x is always image + sigma * noise. A model of the variance-preserving form (eps, v, x0) is such a denoiser too, so the steps of
DDPM and DDIM are written in sigma: x = x_t / sqrt(alpha_bar_t), alpha_bar_t = 1 / (1 + sigma^2).
"""

import math
from collections.abc import Callable
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from torch import Tensor

from histogenesis.core.sigmas import karras_sigmas
from histogenesis.models.schedules import space_timesteps


class Evaluation(NamedTuple):
    """One network evaluation at noise level `sigma`, within sampler step `step`.

    `update(x, denoised, history)` gives the next x and history; `has_history`: whether the next evaluation needs it. Then
    noise of standard deviation `sigma_up` is injected.
    """

    step: int
    sigma: float
    has_history: bool
    update: Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor | None]]
    sigma_up: float = 0.0


def solver_evaluations(
    kind: str,
    steps: int,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    rho: float = 7.0,
    eta: float | None = None,
    variance: str | None = None,
    timestep_spacing: str | None = None,
    training_sigmas: list[float] | None = None,
    start: float | None = None,
) -> list[Evaluation]:
    """The evaluations of sampler `kind`. `training_sigmas`: sigma_1 to sigma_T of the model's schedule, if it has one.

    start: the noise level of the first step, where that is not pure noise. Raises ValueError where the schedule has fewer
    steps (at or below `start`) than are asked for.
    """
    if start is not None:
        sigma_max = min(sigma_max, start)
        if training_sigmas is not None:
            training_sigmas = [sigma for sigma in training_sigmas if sigma <= start]
        if training_sigmas == []:
            raise ValueError(f"start: the model has learned no noise level as low as {start:g}")
    if timestep_spacing is None:
        timestep_spacing = "schedule" if training_sigmas and kind in ON_SCHEDULE else "karras"
    sigmas = space_sigmas(steps, sigma_min, sigma_max, rho, timestep_spacing, training_sigmas)
    extras: dict[str, dict[str, Any]] = {"ddim": {"eta": eta or 0.0}, "ddpm": {"variance": variance or "posterior"}}
    return SAMPLERS[kind](sigmas, **extras.get(kind, {}))


def space_sigmas(
    steps: int, sigma_min: float, sigma_max: float, rho: float, spacing: str, training_sigmas: list[float] | None
) -> list[float]:
    """`steps` falling noise levels, then 0: of the model's own schedule, or those of Karras et al. within its reach."""
    if spacing == "karras":
        if training_sigmas:
            sigma_min, sigma_max = max(sigma_min, training_sigmas[0]), min(sigma_max, training_sigmas[-1])
        return karras_sigmas(steps, sigma_min, sigma_max, rho)
    if training_sigmas is None:
        raise ValueError(
            "timestep_spacing: schedule: the model was trained without one; use `timestep_spacing: karras`"
        )
    return space_timesteps(training_sigmas, steps)


class Take(NamedTuple):
    """One evaluation of a drawing: the `number`-th of the solver, taken for the `resample_index`-th time (0: the first).

    Before it, noise of standard deviation `back` leads back to where the step began (RePaint). `sigma`: the noise level of x
    afterwards.
    """

    number: int
    evaluation: Evaluation
    resample_index: int
    back: float
    sigma: float


def takes(evaluations: list[Evaluation], resample: int = 1) -> list[Take]:
    """All evaluations, in order. resample: r of RePaint (Lugmayr et al. 2022, algorithm 1), how often each step is taken.

    At the last step the pictures are clean, and there is nothing to add to: it is taken once.
    """
    reached, order = [*(evaluation.sigma for evaluation in evaluations[1:]), 0.0], []
    for _, group in groupby(enumerate(evaluations), key=lambda one: one[1].step):
        numbered = list(group)
        begin, end = numbered[0][1].sigma, reached[numbered[-1][0]]
        for resample_index in range(resample if end > 0 else 1):
            for k, (n, evaluation) in enumerate(numbered):
                back = math.sqrt(begin**2 - end**2) if resample_index and not k else 0.0
                order.append(Take(n, evaluation, resample_index, back, reached[n]))
    return order


def solve(
    x: Tensor,
    takes: list[Take],
    estimate: Callable[[Tensor, Evaluation], Tensor],
    noise: Callable[[str, int, int], Tensor],
    history: Tensor | None = None,
    after: Callable[[Tensor, Take], Tensor] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The one loop of all solvers: x through some evaluations, with the history that they need of those before.

    estimate(x, evaluation): the clean image. noise(purpose, step, resample_index): standard normal, of x's shape: `fresh` is
    what a stochastic sampler injects, keyed by the evaluation's number from 1; `back` leads back. after(x, take): what becomes
    of x.
    """
    for take in takes:
        evaluation = take.evaluation
        if take.back:  # what was estimated before is of another noise: a second-order step from it would grow each time
            x, history = x + take.back * noise("back", evaluation.step + 1, take.resample_index), None
        x, history = evaluation.update(x, estimate(x, evaluation), history)
        if evaluation.sigma_up:
            x = x + evaluation.sigma_up * noise("fresh", take.number + 1, take.resample_index)
        if after:
            x = after(x, take)
    return x, history


def sample(
    estimate: Callable[[Tensor, Evaluation], Tensor],
    noise_bchw: Tensor,
    evaluations: list[Evaluation],
    injected_noise: Callable[[int], Tensor] | None = None,
) -> Tensor:
    """Images from standard normal noise; `estimate(x, evaluation)` is that of the clean image.

    `injected_noise(n)`: standard normal, for the n-th evaluation (1, 2, ...) of a sampler that adds some.
    """
    x = noise_bchw * evaluations[0].sigma
    noise = (lambda purpose, step, resample_index: injected_noise(step)) if injected_noise else None
    return solve(x, takes(evaluations), estimate, noise)[0]


def euler(sigmas: list[float]) -> list[Evaluation]:
    """First order: x' = x + (s' - s) (x - D) / s."""

    def step(s, s_next):
        return lambda x, denoised, history: (x.lerp(denoised, 1 - s_next / s), None)

    return [Evaluation(i, s, False, step(s, s_next)) for i, (s, s_next) in enumerate(pairwise(sigmas))]


def heun(sigmas: list[float]) -> list[Evaluation]:
    """Second order, Karras et al. 2022, algorithm 1: an Euler step, then the trapezoid; the last step to 0 is Euler's.

    The first half of a step leaves x + (s' - s) d / 2 as history, which is all that the second half needs of it.
    """

    def predict(s, s_next):
        def update(x, denoised, history):
            return x.lerp(denoised, 1 - s_next / s), x.lerp(denoised, (1 - s_next / s) / 2)

        return update

    def correct(s, s_next):
        return lambda x, denoised, history: (history.add(x - denoised, alpha=(s_next - s) / 2 / s_next), None)

    result = []
    for i, (s, s_next) in enumerate(pairwise(sigmas)):
        if s_next == 0:
            result.append(euler([s, s_next])[0]._replace(step=i))
        else:
            result += [Evaluation(i, s, True, predict(s, s_next)), Evaluation(i, s_next, False, correct(s, s_next))]
    return result


def dpmpp_2m(sigmas: list[float]) -> list[Evaluation]:
    """DPM-Solver++(2M), Lu et al. 2022, algorithm 2 in its data-prediction form with lambda = -ln sigma.

    The history is the previous estimate D. First and last step are of first order.
    """

    def step(s_before, s, s_next):
        if s_next == 0:
            return lambda x, denoised, history: (denoised, None)
        h = math.log(s / s_next)
        share = 0.0 if s_before is None else h / (2 * math.log(s_before / s))

        def update(x, denoised, history):
            estimate = denoised if history is None else history.lerp(denoised, 1 + share)
            return (x * (s_next / s)).add_(estimate, alpha=-math.expm1(-h)), denoised

        return update

    before = [None, *sigmas]
    return [Evaluation(i, s, s_next > 0, step(before[i], s, s_next)) for i, (s, s_next) in enumerate(pairwise(sigmas))]


def ddim(sigmas: list[float], eta: float) -> list[Evaluation]:
    """Song et al. 2021 (DDIM), eqs. 12 and 16: eta = 0 is deterministic, eta = 1 is DDPM with the posterior's variance.

    In sigma: x' = D + sqrt(s'^2 - u^2) (x - D) / s + u z, u = eta s' sqrt(1 - s'^2 / s^2).
    """

    def evaluation(i, s, s_next):
        sigma_up = eta * s_next * math.sqrt(1 - (s_next / s) ** 2)
        weight = math.sqrt(s_next**2 - sigma_up**2) / s
        return Evaluation(i, s, False, lambda x, denoised, history: (denoised.lerp(x, weight), None), sigma_up)

    return [evaluation(i, s, s_next) for i, (s, s_next) in enumerate(pairwise(sigmas))]


def ddpm(sigmas: list[float], variance: str) -> list[Evaluation]:
    """Ancestral sampling, Ho et al. 2020, algorithm 2, with the posterior's variance or with beta_t (their section 3.2).

    Over fewer levels than the model has learned, beta_t is that of the step from one to the next (Nichol and Dhariwal 2021).
    """

    def evaluation(i, s, s_next):
        posterior = s_next**2 * (1 - (s_next / s) ** 2)  # beta_tilde_t / alpha_bar_{t-1}
        beta = (s**2 - s_next**2) * (1 + s_next**2) / (1 + s**2)  # beta_t / alpha_bar_{t-1}
        sigma_up = math.sqrt({"posterior": posterior, "beta": beta}[variance]) if s_next else 0.0
        weight = (s_next / s) ** 2
        return Evaluation(i, s, False, lambda x, denoised, history: (denoised.lerp(x, weight), None), sigma_up)

    return [evaluation(i, s, s_next) for i, (s, s_next) in enumerate(pairwise(sigmas))]


# Steps that are even in t are wide in ln sigma towards the end: ancestral steps can do with that, second-order ones cannot.
ON_SCHEDULE = ("ddim", "ddpm")
SAMPLERS: dict[str, Callable[..., list[Evaluation]]] = {
    "euler": euler,
    "heun": heun,
    "dpmpp-2m": dpmpp_2m,
    "ddim": ddim,
    "ddpm": ddpm,
}


def step_sigmas(evaluations: list[Evaluation]) -> list[float]:
    """The noise level at which each sampler step begins, then 0."""
    first = {evaluation.step: evaluation.sigma for evaluation in reversed(evaluations)}
    return [*(first[step] for step in sorted(first)), 0.0]
