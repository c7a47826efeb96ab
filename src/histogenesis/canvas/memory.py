"""Memory that a job which draws a level asks for: what the workflow's rules and the estimate before a run both read."""

from __future__ import annotations

from histogenesis.canvas.plan import state_bytes
from histogenesis.canvas.sections import DrawnLevel
from histogenesis.core.sigmas import has_history

TORCH_MB = 4000  # PyTorch and CUDA, before they hold anything
STATE_IN_MEMORY_MB = 64000  # more than that of a canvas lies in files


def state_of(section: DrawnLevel, size_px: tuple[int, int], latent_px: int = 1) -> int:
    """Bytes of a level's state between two steps; 0 where tiles are drawn to their end, and the state is what is finished."""
    if section.tile_by_tile:
        return 0
    height, width = (n // latent_px for n in size_px)
    return state_bytes(section, height, width, planes=1 + has_history(section.networks[-1].sampler.kind))


def drawing_mb(section: DrawnLevel, size_px: tuple[int, int], latent_px: int = 1, processes: int = 1) -> float:
    """Memory of a job that draws a level, MB (10^6 bytes). latent_px: px of the picture to one of the state.

    The state of the canvas, in memory where that is not more than most nodes have; of a larger one, which then lies in files,
    4 bytes a pixel, so that the disk is not all that works. A level in a latent space has as many times fewer, and a row of
    tiles that are decoded (its sum and what is made of it). Of a level that is drawn tile by tile one batch is held, 20 times.
    """
    height, width = size_px
    held = 2 * state_of(section, size_px, latent_px) + height * width  # some of it stays free; and the level above
    if held > STATE_IN_MEMORY_MB * 1e6:
        held = 4 * height * width // latent_px**2
    if section.tile_by_tile:
        held = 240 * section.batch * section.tile_px**2 * processes
    decoded = 32 * section.tile_px * width if latent_px > 1 else 0
    return TORCH_MB * processes + 1e-6 * (held + decoded)
