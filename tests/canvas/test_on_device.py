"""A state on the device: nothing crosses to it or from it within a drawing; where it has no room the pixels are the same."""

import numpy as np
import pytest
import torch
from test_draw import NORMALISATION, After, Shuffled, above, drawing, level, windowed  # noqa: F401, a fixture
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from histogenesis.canvas import codec, stepwise
from histogenesis.canvas.conditioning_crop import ConditioningCrop
from histogenesis.canvas.joinings import Average
from histogenesis.canvas.state import State
from histogenesis.core.errors import BadInput
from histogenesis.core.interrupt import Stopped
from histogenesis.models.normalisation import Normalisation

PLACES = ["host", "device", "files"]


def result(d, folder, **options):
    return d.run(folder, "digest", **options).before("x").float().numpy().copy()


def test_no_pixel_leaves_the_device_between_the_first_evaluation_and_the_last(tmp_path, above):  # noqa: F811
    """In memory every pass brings x and the memory to the device and back: 3 channels, 4 bytes each."""
    section = level(kind="dpmpp-2m", steps=5)
    crossed = {place: drawing(section, above).run(tmp_path / place, "d", place=place).state.crossed for place in PLACES}
    assert crossed["device"] == 0
    cores = 64 * 96 * 12
    assert crossed["host"] == crossed["files"] >= 5 * cores + 4 * cores + 8 * cores


class Crossings(TorchDispatchMode):
    """Counts the bytes that operations carry from memory to a device or back; of a device that computes nothing come zeros."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        aten, kwargs = torch.ops.aten, kwargs or {}
        source = args[1] if operation is aten.copy_.default else args[0] if operation is aten._to_copy.default else None
        leaves = source is not None and source.is_meta
        if leaves and operation is aten.copy_.default and not args[0].is_meta:
            out = args[0]
        elif leaves and kwargs.get("device", source.device).type == "cpu":
            out = torch.zeros(source.shape, dtype=kwargs.get("dtype") or source.dtype)
        else:
            out = operation(*args, **kwargs)
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        made = [one for one in tree_leaves(out) if isinstance(one, torch.Tensor)]
        if len({one.device.type for one in given + made if one.ndim}) > 1:
            self.bytes += sum(one.numel() * one.element_size() for one in made)
        return out


class Sent(TorchFunctionMode):
    """Counts, for a `Crossings`, what `torch.tensor` sends to a device: that is no operation."""

    def __init__(self, crossings):
        super().__init__()
        self.crossings = crossings

    def __torch_function__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if function in (torch.tensor, torch.as_tensor) and out.is_meta:
            self.crossings.bytes += out.numel() * out.element_size()
        return out


LEFT = np.zeros((8, 12), bool)
LEFT[1:7, :7] = True  # of the canvas is drawn; some tiles are half of it
SHOWN = {"lowres": ("lowres",), "context": ("context",), "lowres-null-space": ("lowres",)}


@pytest.mark.parametrize(
    ("place", "kind", "constraint", "joining", "start", "plan"),
    [
        ("device", "dpmpp-2m", "null-space", "grid-shift", None, None),
        ("device", "ddpm", "null-space", "grid-shift", None, None),
        ("host", "dpmpp-2m", "null-space", "grid-shift", None, None),
        ("device", "heun", "null-space", "grid-shift", 5, LEFT),
        ("device", "ddpm", "none", "grid-shift", 5, LEFT),
        ("device", "ddpm", "lowres", "grid-shift", 5, None),
        ("device", "dpmpp-2m", "lowres-null-space", "independent", None, LEFT),
        ("device", "dpmpp-2m", "context", "grid-shift", 5, LEFT),
        ("device", "ddpm", "context", "average", None, LEFT),
        ("device", "dpmpp-2m", "lowres", "average", 5, LEFT),
    ],
)
def test_on_a_device_no_operation_of_a_stage_carries_a_byte_over_the_bus(
    tmp_path,
    above,  # noqa: F811
    place,
    kind,
    constraint,
    joining,
    start,
    plan,
):
    """By what PyTorch is asked to do, from the first evaluation to the last: the level above, the tissue plan, weights of
    tiles and all noise are there. What would wait for the device (how many places of a mask are true) cannot be answered
    there, and fails."""
    joined = {"kind": joining} | ({"stride_px": 8} if joining == "average" else {})
    section = level(kind=kind, steps=3).model_dump() | {"joining": joined, "constraint": {"kind": constraint}}
    section = level().model_validate(section | ({"start": {"sigma": start}} if start else {}))
    with Crossings() as crossings, Sent(crossings):
        asked = []

        def denoise(x, sigma, mpp, **cond):
            assert ("cond_image_bchw" in cond) == (constraint in SHOWN)
            if not asked:
                crossings.bytes = 0
            asked.append(crossings.bytes)
            return windowed(x, sigma, mpp)

        d = drawing(section, above, device="meta", denoise=denoise, plan=plan, conditions=SHOWN.get(constraint, ()))
        d.run(tmp_path, "d", place=place, save_every_s=1e9)
    assert len(asked) > 6
    if place == "device":
        assert asked[-1] == 0
    else:
        assert asked[-1] > 2 * 64 * 96 * 3 * 4, "in memory x goes there and back, in each stage"


def test_out_of_memory_on_the_device_goes_on_in_memory_to_the_same_pixels(tmp_path, above, capsys):  # noqa: F811
    whole, left = result(drawing(level(), above), tmp_path / "whole"), [17]

    def bursting(x, sigma, mpp):
        left[0] -= 1
        if left[0] == 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return windowed(x, sigma, mpp)

    assert np.array_equal(whole, result(drawing(level(), above, denoise=bursting), tmp_path / "a", place="device"))
    assert "out of memory on cpu; the state lies in memory now" in capsys.readouterr().out
    left[0] = 5
    with pytest.raises(BadInput, match="no room for 3 tiles of 16 px at once: set a smaller `batch`"):
        drawing(level(), above, denoise=bursting).run(tmp_path / "b", "digest", place="host")


@pytest.mark.parametrize("kind", ["dpmpp-2m", "ddpm"])
@pytest.mark.parametrize("when", [1, 3, 11, 14])
def test_out_of_memory_while_estimates_are_merged_goes_on_in_memory_to_the_same_pixels(
    tmp_path,
    above,  # noqa: F811
    monkeypatch,
    capsys,
    kind,
    when,
):
    """Band by band, in the middle of a pass: some have taken their step, in place, when the device is full."""
    monkeypatch.setattr(stepwise, "BAND_PX", 16)
    section = level(kind=kind, steps=4).model_dump() | {"joining": {"kind": "average", "stride_px": 8}}
    section, merge, left = level().model_validate(section), Average.merge, [0]
    whole = result(drawing(section, above, plan=LEFT), tmp_path / "whole", place="device")

    def bursting(*args):
        left[0] -= 1
        if left[0] == 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return merge(*args)

    monkeypatch.setattr(Average, "merge", bursting)
    left[0] = when
    found = drawing(section, above, plan=LEFT).run(tmp_path / "a", "digest", place="device")
    assert left[0] < 0 and found.state.place == "host"
    assert np.array_equal(whole, found.before("x").numpy())
    assert "out of memory on cpu; the state lies in memory now" in capsys.readouterr().out
    left[0] = 5
    with pytest.raises(BadInput, match="s level 1: cpu has no room for 16 rows of 96 px"):
        drawing(section, above).run(tmp_path / "b", "digest", place="host")


def bursts(monkeypatch, what, name, when):
    """The device is full at the `when`-th call of a method, and then not again."""
    call, left = getattr(what, name), [when]

    def bursting(self, *args):
        left[0] -= 1
        if left[0] == 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return call(self, *args)

    monkeypatch.setattr(what, name, bursting)


@pytest.mark.parametrize("plane", [1, 2])
def test_a_device_without_room_for_the_state_leaves_it_in_memory(tmp_path, above, monkeypatch, capsys, plane):  # noqa: F811
    """Also where a drawing goes on that was stopped with its state on the device."""
    section = level(kind="dpmpp-2m")
    whole = result(drawing(section, above), tmp_path / "whole")
    with pytest.raises(Stopped):
        drawing(section, above).run(tmp_path / "a", "digest", After(20), place="device")
    bursts(monkeypatch, State, "_empty", plane)
    found = drawing(section, above).run(tmp_path / "a", "digest", place="device")
    assert found.state.place == "host" and np.array_equal(whole, found.before("x").numpy())
    said = capsys.readouterr().out
    assert "s level 1: out of memory on cpu; the state lies in memory now" in said and "going on from pass" in said


def test_a_device_without_room_for_the_level_above_has_it_sent(tmp_path, above, monkeypatch, capsys):  # noqa: F811
    whole = result(drawing(level(), above), tmp_path / "whole")
    bursts(monkeypatch, ConditioningCrop, "hold", 1)
    found = drawing(level(), above).run(tmp_path / "a", "digest", place="device")
    assert found.state.place == "device" and np.array_equal(whole, found.before("x").numpy())
    assert "no room for the level above on cpu; it lies in memory" in capsys.readouterr().out


@pytest.mark.parametrize("when", [1, 3, 4])
def test_a_device_without_room_to_finish_gives_the_bands_that_are_left_from_memory(
    tmp_path,
    above,  # noqa: F811
    monkeypatch,
    when,
):
    monkeypatch.setattr(codec, "BAND_PX", 16)
    d = drawing(level(), above, plan=LEFT)
    easel = d.run(tmp_path, "digest", place="device")
    whole = list(d.bands(easel))
    assert [y for y, _ in whole] == [0, 16, 32, 48]
    bursts(monkeypatch, Normalisation, "to_picture", when)
    found = list(d.bands(easel))
    assert easel.state.place == "host" and [y for y, _ in found] == [0, 16, 32, 48]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(whole, found))
    bursts(monkeypatch, Normalisation, "to_picture", 2)
    with pytest.raises(BadInput, match="no room for 3 tiles of 16 px at once: set a smaller `batch`"):
        list(d.bands(easel))
