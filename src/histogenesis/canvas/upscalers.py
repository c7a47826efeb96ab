"""Baselines that double a picture without a diffusion model: (B, 3, h, w) float32, 0 to 1 -> (B, 3, 2h, 2w).

Each says how far, in px of its input, a pixel of its result can see (`reach_px`): tiles with such a margin are as the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from histogenesis.canvas.averaging import downsample, upsample
from histogenesis.models.model import Upscaler as Model
from histogenesis.models.model import load_model

FACTOR = 2


class Upscaler(Protocol):
    reach_px: int

    def __call__(self, y_bchw: Tensor) -> Tensor: ...


def make_upscaler(method: Any, model: Path | None, device: str) -> Upscaler:
    """The method of a recipe's level, by its kind; `model` is the folder of the model that it names, if it names one."""
    return UPSCALERS[method.kind](method, model, device)


class BicubicUpscaler:
    """Cubic convolution with a = -1/2 (Keys 1981), the kernel that most image libraries call bicubic."""

    reach_px = 2

    def __init__(self, method: Any, model: None, device: str):
        pass

    def __call__(self, y_bchw: Tensor) -> Tensor:
        # torch has a = -1/2 where it filters against aliasing, and -3/4 elsewhere; enlarging, that filter is the kernel
        return interpolate(y_bchw, scale_factor=FACTOR, mode="bicubic", antialias=True).clamp(0, 1)


class TVL1Upscaler:
    """TV-L1 super-resolution; beyond `reach_px` its result changes by less than a grey step (see the tests)."""

    reach_px = 32

    def __init__(self, method: Any, model: None, device: str):
        self.method = method

    def __call__(self, y_bchw: Tensor) -> Tensor:
        return tv_l1(y_bchw, self.method.fidelity, self.method.iterations).clamp(0, 1)


class LearnedUpscaler:
    """A model with the objective `super-resolution`, in the units that it was trained with."""

    def __init__(self, method: Any, model: Path, device: str):
        learned_model = load_model(model, device)
        assert isinstance(learned_model, Model)
        self.model, self.reach_px = learned_model, learned_model.network.reach_px

    def __call__(self, y_bchw: Tensor) -> Tensor:
        normalisation = self.model.normalisation
        return (normalisation.decode(self.model(normalisation.encode(y_bchw * 255))) / 255).clamp(0, 1)


UPSCALERS: dict[str, Callable[..., Upscaler]] = {
    "bicubic": BicubicUpscaler,
    "tv-l1": TVL1Upscaler,
    "edsr": LearnedUpscaler,
}


# ------------------------------------------------------------------------------------------------ TV-L1


def tv_l1(y_bchw: Tensor, fidelity: float, iterations: int) -> Tensor:
    """Minimise TV(u) + 4 fidelity ||A u - y||_1 from the bicubic picture on, A being average pooling by 2.

    Primal-dual method (Chambolle and Pock, A First-Order Primal-Dual Algorithm for Convex Problems, 2011, algorithm 1
    with theta = 1): p is the dual of the gradient, |p| <= 1; q that of the data term, |q| <= 4 fidelity. The steps
    fulfil tau sigma ||K||^2 < 1 with ||K||^2 <= 8 + 1/4 for the gradient and A together; that the dual ones are so long
    suits pictures from 0 to 1 (measured: sigma 20 is after 100 iterations where sigma 2 is after 200).
    """
    weight = fidelity * FACTOR**2  # a pixel of y covers 4 of u, so that fidelity counts per pixel of u
    sigma, tau = 20.0, 0.99 / (20.0 * 8.25)
    u = interpolate(y_bchw, scale_factor=FACTOR, mode="bicubic", antialias=True)
    forward, p, q = u, torch.zeros(2, *u.shape, device=u.device), torch.zeros_like(y_bchw)
    for _ in range(iterations):
        p = p + sigma * gradient(forward)
        p = p / norms(p).clamp(min=1)
        q = (q + sigma * (downsample(forward, FACTOR) - y_bchw)).clamp(-weight, weight)
        before, u = u, u - tau * (upsample(q, FACTOR) / FACTOR**2 - divergence(p))
        forward = 2 * u - before
    return u


def tv_l1_energy(u_bchw: Tensor, y_bchw: Tensor, fidelity: float) -> float:
    """What tv_l1 minimises."""
    data = (downsample(u_bchw, FACTOR) - y_bchw).abs().sum()
    return float(norms(gradient(u_bchw)).sum() + fidelity * FACTOR**2 * data)


def gradient(u_bchw: Tensor) -> Tensor:
    """Forward differences, 0 at the last row and column: (2, B, C, H, W)."""
    g = torch.zeros(2, *u_bchw.shape, device=u_bchw.device)
    g[0, ..., :-1, :] = u_bchw[..., 1:, :] - u_bchw[..., :-1, :]
    g[1, ..., :-1] = u_bchw[..., 1:] - u_bchw[..., :-1]
    return g


def divergence(p_2bchw: Tensor) -> Tensor:
    """Minus the adjoint of `gradient`."""
    d = torch.zeros_like(p_2bchw[0])
    d[..., :-1, :] += p_2bchw[0, ..., :-1, :]
    d[..., 1:, :] -= p_2bchw[0, ..., :-1, :]
    d[..., :-1] += p_2bchw[1, ..., :-1]
    d[..., 1:] -= p_2bchw[1, ..., :-1]
    return d


def norms(p_2bchw: Tensor) -> Tensor:
    """Length over both directions and the three colours, which so keep their edges together: (1, B, 1, H, W)."""
    return p_2bchw.square().sum(dim=(0, 2), keepdim=True).sqrt()
