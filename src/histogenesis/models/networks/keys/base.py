"""What every network can be asked before it is built."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Any, ClassVar

CHANNELS = "of the first level"
MULTIPLIERS = "channels of each level, as a multiple of `channels`; each next level is half as wide"
BLOCKS = "residual blocks per resolution"
HEADS = "of the self-attention"
DROPOUT = "share of activations left out in training"


def key(default: Any, description: str, **bounds: Any) -> Any:
    """A key of a recipe; lists are copied. bounds: as pydantic's Field names them."""
    metadata = {"description": description, **bounds}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


class NetworkKeys:
    """What a network is made from. Subclasses are frozen dataclasses: their fields are a recipe's keys."""

    kind: str
    objective: ClassVar[str] = ""  # the one that it is made for; "": any that learns to denoise
    denoises: ClassVar[bool] = True  # whether it is told its conditions, and draws

    @property
    def widths(self) -> list[int]:
        """Channels of each level, from the finest on."""
        return [round(self.channels * m) for m in self.multipliers]  # type: ignore[attr-defined]

    @property
    def halvings(self) -> int:
        """How often it halves its picture."""
        return len(self.multipliers) - 1  # type: ignore[attr-defined]

    @property
    def multiple_px(self) -> int:
        """Height and width of the pictures that it takes are multiples of so many px, of what it draws."""
        return 2**self.halvings

    @property
    def attends(self) -> bool:
        """Whether what a pixel becomes may depend on the whole patch."""
        return True

    def check(self, size_px: int) -> None:
        """Raises ValueError where it attends to what no feature map is, or cannot split channels into heads.

        size_px: height and width of what it learns from, as it is given to it. The message lacks the model's name.
        """

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that no network can have."""
        for name in ("multipliers", "blocks"):
            values = getattr(self, name, 1)
            if any(value <= 0 for value in (values if isinstance(values, list | tuple) else [values])):
                raise ValueError(f"{name}: {values} must all be more than 0")


def there(asked: Iterable[int], options: Iterable[int]) -> None:
    """Raises ValueError where attention is asked for at what there is not."""
    options = list(options)
    absent = [value for value in asked if value not in options]
    if absent:
        raise ValueError(
            f"has attention at {absent} where no feature map is: there are {options}; leave it out or choose among them"
        )


def splits(width: int, heads: int, what: str = "") -> None:
    """Raises ValueError where heads do not divide the channels."""
    if width % heads:
        raise ValueError(f"splits {what}{width} channels into {heads} heads, which do not divide them; change `heads`")


class Attending(NetworkKeys):
    """A network whose attention is named by the size of feature maps of a training patch, or by level. Both: ValueError."""

    attention_px: list[int] | None
    attention_levels: list[int] | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attention_px and self.attention_levels is not None:
            raise ValueError("attention is named by `attention_px` and by `attention_levels`; give one of both")

    @property
    def asked_px(self) -> list[int]:
        by_default = self.attention_px is None and self.attention_levels is None
        return DEFAULT_PX if by_default else self.attention_px or []

    def attention(self, size_px: int) -> list[int]:
        """The levels that attend, besides the middle, where it learns from size_px."""
        if self.attention_levels is not None:
            return sorted(self.attention_levels)
        return [level for level in range(len(self.widths)) if size_px >> level in self.asked_px]

    def check(self, size_px: int) -> None:
        levels = range(len(self.widths))
        there(self.asked_px, [size_px >> level for level in levels])
        there(self.attention_levels or [], levels)


DEFAULT_PX = [32, 16, 8]
ATTENTION_PX = "feature-map sizes that have self-attention; default: 32, 16, 8, where no `attention_levels` are named"
ATTENTION_LEVELS = (
    "levels that have self-attention, 0 the finest, whatever the patches' size; in place of `attention_px`"
)
