"""Average pooling and its pseudoinverse: how a picture and the one of a lower resolution belong together."""

from torch import Tensor
from torch.nn.functional import avg_pool2d


def downsample(u: Tensor, factor: int) -> Tensor:
    """A: average pooling by `factor`."""
    return avg_pool2d(u, factor)


def upsample(y: Tensor, factor: int) -> Tensor:
    """A+: the pseudoinverse of A, which repeats each pixel (PatchUpsample in Harb et al. 2024, supplement I)."""
    return y.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
