"""The plan of a drawing, as data: which tiles, through which evaluations, in which order, and what may run at once.

Drawing, cost, memory, progress and the jobs of a cluster all read it. A plan is a sequence of rounds, each of
which begins when the one before has ended. Tiles of one round do not wait for each other: they may be evaluated in any order,
in any batch, anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from histogenesis.canvas.joinings import Joining, Layout
from histogenesis.canvas.sections import DrawnLevel
from histogenesis.canvas.tiling import Tile, TileIndex
from histogenesis.core.sigmas import evaluations

BYTES = {"fp32": 4, "bf16": 2}


@dataclass(frozen=True)
class Round:
    """Tiles, and the evaluations [first, last) of each network that they are taken through."""

    number: int
    tiles: dict[TileIndex, Tile]
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """evaluations: of each network, from a cascade's smallest to the one that decides; tile_by_tile: each drawn to its end."""

    joining: Joining
    layout: Layout
    evaluations: tuple[int, ...]
    tile_by_tile: bool = False

    @cached_property
    def wavefronts(self) -> list[dict[TileIndex, Tile]]:
        return self.joining.wavefronts(self.layout)

    def __len__(self) -> int:
        return len(self.wavefronts) if self.tile_by_tile else self.evaluations[-1]

    def __getitem__(self, number: int) -> Round:
        if not 0 <= number < len(self):
            raise IndexError(number)
        if self.tile_by_tile:
            return Round(number, self.wavefronts[number], 0, max(self.evaluations))
        tiles = self.joining.tiles(self.layout, number)
        return Round(number, {(tile.y, tile.x): tile for tile in tiles}, number, number + 1)

    def __iter__(self) -> Iterator[Round]:
        return (self[number] for number in range(len(self)))

    def evaluated(self, this_round: Round) -> tuple[int, ...]:
        """How often each network sees each tile of a round."""
        return tuple(min(this_round.last, n) - min(this_round.first, n) for n in self.evaluations)


def plan_of(
    section: DrawnLevel, size_px: tuple[int, int], key: tuple[int | str, ...] = (), latent_px: int = 1, ratio: float = 1
) -> Plan:
    """A level's plan. key: (seed, slide, level); latent_px: px to one of the state; ratio: px to one of the level above."""
    joining, block = section.joining, section.constraint.block_px(ratio)
    align = block // math.gcd(block, latent_px)
    height, width, tile, stride = (n // latent_px for n in (*size_px, section.tile_px, section.stride_px))
    asked = (network.sampler for network in section.networks)
    counts = tuple(evaluations(sampler.kind, sampler.steps, joining.resample) for sampler in asked)
    return Plan(joining, Layout(height, width, tile, stride, align, key), counts, section.tile_by_tile)


def state_bytes(section: DrawnLevel, height: int, width: int, channels: int = 3, planes: int = 2) -> int:
    """Of a canvas between two steps, each plane there once, with the windows that are set aside (a sixteenth more at most)."""
    planes += section.joining.colours
    return height * width * channels * planes * BYTES[section.state] * 17 // 16
