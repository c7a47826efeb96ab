"""Average pooling and its pseudoinverse: how a picture and the one of a lower resolution belong together."""

from torch import Tensor
from torch.nn.functional import avg_pool2d


def downsample(u: Tensor, factor: int) -> Tensor:
    """A: average pooling by `factor`."""
    return avg_pool2d(u, factor)


def upsample(y: Tensor, factor: int) -> Tensor:
    """A+: the pseudoinverse of A, which repeats each pixel (PatchUpsample in Harb et al. 2024, supplement I)."""
    return y.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)


def project(u: Tensor, y: Tensor, factor: int) -> Tensor:
    """The nearest image to u whose average pooling is y: (I - A+ A) u + A+ y (Harb et al. 2024, supplement eq. 21).

    `u` (B, C, f h, f w), `y` (B, C, h, w). Windows must start at multiples of `factor`.
    """
    change = y - downsample(u, factor)
    b, c, h, w = change.shape
    return u + change[:, :, :, None, :, None].expand(b, c, h, factor, w, factor).reshape(u.shape)
