"""What every constraint can be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

Size = tuple[int, int]  # height, width in px


class Constraint:
    """How a level agrees with the one above. Subclasses are frozen dataclasses: their fields are a recipe's keys."""

    kind: str
    conditions: ClassVar[tuple[str, ...]] = ()  # pictures of the level above that the model must be given
    doubles: ClassVar[bool] = False  # whether the level above has exactly half of the px
    follows: ClassVar[bool] = True  # whether there must be a level above
    ties: ClassVar[bool] = False  # whether what lies above a tile, pixel for pixel, decides what the tile shows
    of_pixels: ClassVar[bool] = False  # whether it means nothing for latents

    @property
    def words(self) -> str:
        """For tables that compare runs."""
        return self.kind

    def block_px(self, ratio: float) -> int:
        """Tiles split no block of so many px; ratio: px of this level to one of the level above."""
        return 1

    def projects(self, sigma: float) -> bool:
        """Whether estimates are changed in a sampler step that begins at noise level sigma."""
        return False

    def apply(self, denoised_bchw: Tensor, y_bchw: Tensor) -> Tensor:
        """The estimates as they must be beside the level above, in the same units."""
        return denoised_bchw

    def check(self, where: str, size_px: Size, above_px: Size | None, tile_px: int, stride_px: int) -> None:
        """Raises ValueError where a level cannot have this constraint: the place in the recipe, the reason, the remedy."""
