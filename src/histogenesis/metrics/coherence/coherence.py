"""How well the tiles and the levels of one synthetic slide agree: seams and cross-scale error of each level."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveInt
from tqdm import tqdm

from histogenesis.core.errors import BadInput
from histogenesis.core.files import written
from histogenesis.metrics.coherence.cross_scale import cross_scale_error
from histogenesis.metrics.coherence.error_map import ErrorMap
from histogenesis.metrics.coherence.seam_map import render_seam_map, seam_map
from histogenesis.metrics.coherence.seams import gradient_profiles, seam_score, tile_lines
from histogenesis.metrics.coherence.strips import open_levels, read_plan

LEAST_SHIFTS = 40  # different shifts that must remain, over both directions: fewer give no 95 % interval


class LevelTiles(BaseModel):
    """How a level was drawn: joining and constraint as their kind, or as the recipe's whole section."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tile_px: PositiveInt
    joining: str | dict[str, Any]
    constraint: str | dict[str, Any]

    @property
    def constraint_kind(self) -> str:
        return self.constraint["kind"] if isinstance(self.constraint, dict) else self.constraint

    @property
    def overlap(self) -> tuple[int | None, str | None]:
        """How far apart the tiles of a joining with overlaps lie, and the order in which they decide."""
        joining = self.joining if isinstance(self.joining, dict) else {}
        return joining.get("stride_px"), joining.get("order")


def block_px(sizes_px: list[tuple[int, int]], tiles: list[LevelTiles], k: int) -> int:
    """Side in px of the blocks that level k inherits from the levels that constrain it (see metrics/coherence/seams.py).

    As many levels upwards as leave LEAST_SHIFTS shifts of the tile lines; none across a ratio that is no integer.
    """
    block, tile_px = 1, tiles[k].tile_px
    directions = sum(side > tile_px for side in sizes_px[k])
    for j in range(k, 0, -1):
        ratio = sizes_px[j][1] / sizes_px[j - 1][1]
        if tiles[j].constraint_kind in ("none", "context") or ratio != int(ratio):
            break
        if (tile_px / (block * ratio)) ** directions < LEAST_SHIFTS:
            break
        block *= int(ratio)
    return block


def measure_coherence(
    levels_dir: str | Path, plan_png: str | Path, shifts: int, tiles: list[LevelTiles], maps: Path | None = None
) -> dict:
    """Seam score and cross-scale error of each level, as one JSON-ready dict: {"slide", "levels": [...]}.

    levels_dir holds level0.h5, level1.h5, ...; tiles says how each was drawn; `maps` is a folder for what shows where: pictures
    of where levels depart from the one above, and of seams, as pictures and arrays. Raises BadInput if they do not match.
    """
    plan = read_plan(plan_png)
    with ExitStack() as stack:
        files = [stack.enter_context(file) for file in open_levels(levels_dir)]
        if len(files) != len(tiles):
            raise BadInput(
                f"{levels_dir} holds {len(files)} levels, but the recipe has {len(tiles)}: draw the slide again"
            )
        images = [file["image"] for file in files]
        sizes_px = [image.shape[:2] for image in images]
        if plan.shape != sizes_px[0]:
            raise BadInput(f"{plan_png} is {plan.shape} px, but level 0 is {sizes_px[0]}: plan the tissue again")
        levels = []
        for k, (file, image, tile) in enumerate(tqdm(list(zip(files, images, tiles)), desc="coherence", unit="level")):
            height, width = sizes_px[k]
            row_lines, column_lines = (tile_lines(side, tile.tile_px, *tile.overlap) for side in (height, width))
            block = block_px(sizes_px, tiles, k)
            profiles = gradient_profiles(image, plan)
            seams = asdict(seam_score(profiles, row_lines, column_lines, shifts=shifts, seed=k, block_px=block))
            error_map = ErrorMap(*sizes_px[k - 1]) if k and maps else None
            errors = cross_scale_error(image, images[k - 1], plan, error_map) if k else None
            if maps:
                maps.mkdir(parents=True, exist_ok=True)
            if error_map:
                with written(maps / f"cross_scale_level{k}.png") as part:
                    error_map.picture().save(part)
            if maps and seams["score"] is not None:
                found = seam_map(image, plan, row_lines, column_lines, block_px=block)
                seams |= {"map": f"seams_level{k}.npz", "picture": f"seams_level{k}.png"}
                found.save(maps / seams["map"])
                render_seam_map(maps / seams["picture"], image, found)
            levels.append(
                {
                    "level": k,
                    "mpp": float(file.attrs["mpp"]),
                    "height_px": height,
                    "width_px": width,
                    **tile.model_dump(),
                    "seams": seams,
                    "cross_scale": {name: asdict(error) for name, error in errors.items()} if errors else None,
                    "cross_scale_map": f"cross_scale_level{k}.png" if error_map else None,
                }
            )
        return {"slide": str(files[0].attrs.get("slide", Path(levels_dir).name)), "levels": levels}
