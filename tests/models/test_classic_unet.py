"""Son's U-Net: where the time enters, where attention stands, and what the skips carry, as its published code has it."""

import pytest
import torch
from torch.overrides import TorchFunctionMode

from histogenesis.models.conditioning import NetworkInputs
from histogenesis.models.networks.classic_unet import ClassicUNet
from histogenesis.models.networks.keys import ClassicUNet as Keys


class Seen(TorchFunctionMode):
    """What max pooling takes and gives, and what is concatenated to what is enlarged, in the order of the forward."""

    def __init__(self):
        super().__init__()
        self.into_pooling, self.pooled, self.skips = [], [], []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.nn.functional.max_pool2d:
            self.into_pooling.append(args[0])
            self.pooled.append(out)
        elif func is torch.cat:
            self.skips.append(args[0][1])
        return out


@pytest.fixture
def passed():
    """A forward of a small network that attends at both levels: the network, Seen, and (module, what it took, what it gave)."""
    torch.manual_seed(0)
    keys = Keys(channels=4, multipliers=[1, 2, 4], heads=2, attention_channels=[4, 8])
    network, calls, seen = ClassicUNet(keys, NetworkInputs(16)).eval(), {}, Seen()
    for name, module in network.named_modules():
        module.register_forward_hook(lambda m, args, out, name=name: calls.update({name: (args, out)}))
    with torch.no_grad(), seen:
        network(torch.randn(2, 3, 16, 16), torch.tensor([3.0, 700.0]))
    return network, seen, calls


def test_attention_stands_after_pooling_and_not_in_the_skips(passed):
    _, seen, calls = passed
    assert len(seen.into_pooling) == len(seen.skips) == 2
    for level, (into, pooled, skip) in enumerate(zip(seen.into_pooling, seen.pooled, reversed(seen.skips))):
        (attended, *_), attention = calls[f"down_attention.{level}"]
        assert skip is into is calls[f"down.{level}"][1]
        assert attended is pooled and not torch.equal(attention, pooled)
        below = calls[f"down.{level + 1}" if level == 0 else "middle"][0][0]
        assert below is attention


def test_the_time_is_added_before_the_first_convolution_and_nowhere_else(passed):
    _, _, calls = passed
    blocks = [name for name in calls if name.count(".") == 1 and name.startswith(("down.", "up."))] + ["middle"]
    assert len(blocks) == 5
    for name in blocks:
        (x, embedding), _ = calls[name]
        told = calls[f"{name}.affine"]
        assert told[0][0] is embedding and told[1].abs().min() > 0
        assert torch.equal(calls[f"{name}.conv0"][0][0] - x, (x + told[1][:, :, None, None]) - x)
        for before, after in (("conv0", "norm0"), ("conv1", "norm1")):
            assert calls[f"{name}.{after}"][0][0] is calls[f"{name}.{before}"][1]
        assert torch.equal(calls[f"{name}.conv1"][0][0], calls[f"{name}.norm0"][1].relu())
