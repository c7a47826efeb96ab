"""Overlapping tiles whose estimates are averaged at every step, and pictures beside tiles that are drawn step by step."""

import numpy as np
import pytest
import torch
from test_draw import After, Shuffled

from histogenesis.canvas.averaging import downsample
from histogenesis.canvas.canvas import Level as LevelFile
from histogenesis.canvas.canvas import write_level
from histogenesis.canvas.engine import Drawing
from histogenesis.canvas.task import Bundle
from histogenesis.core.field import NoiseField
from histogenesis.core.interrupt import Stopped
from histogenesis.models.model import Normalisation
from histogenesis.recipe import Level

NORMALISATION = Normalisation([128.0, 128.0, 128.0], 40.0, 0.5)


def wiener(x, sigma, mpp, **cond):
    return x * 0.25 / (0.25 + sigma[:, None, None, None] ** 2)


def windowed(x, sigma, mpp, **cond):
    """A denoiser that depends on the whole window, as a network does."""
    extra = 0.3 * cond["cond_image_bchw"][:, :3] if "cond_image_bchw" in cond else 0
    return wiener(x, sigma, mpp) + 0.1 * torch.tanh(x.mean(dim=(2, 3), keepdim=True)) + extra


def level(constraint="none", joining="average", sampler="heun", steps=5, batch=3, **sampling):
    joined = {"kind": joining} | ({"stride_px": 12} if joining == "average" else {})
    return Level.model_validate(
        {
            "mpp": 4,
            "model": "m",
            "tile_px": 16,
            "batch": batch,
            "constraint": {"kind": constraint},
            "joining": joined,
            "sampler": {"kind": sampler, "steps": steps, **sampling},
        }
    )


@pytest.fixture
def above(tmp_path):
    rows = np.random.default_rng(0).integers(90, 170, (20, 26, 3), dtype=np.uint8)
    write_level(tmp_path / "above.h5", [(0, rows)], 20, 26, {"mpp": 8.0})
    return LevelFile(tmp_path / "above.h5")


def drawing(section, above=None, **kwargs):
    values = {"plan": None, "seed": 1, "slide": "s", "k": 1, **kwargs}
    known = {"conditions": values.pop("conditions", ())}
    bundle = Bundle(values.pop("denoise", windowed), NORMALISATION, **known)
    return Drawing(section, (40, 52), bundles=[bundle], above=above, **values)


def pixels(d, folder, **kwargs):
    return d.run(folder, "digest", **kwargs).before("x").numpy().copy()


@pytest.mark.parametrize("sampler", ["heun", "dpmpp-2m", "ddpm"])
def test_it_is_the_average_of_the_estimates_at_every_step(tmp_path, sampler):
    """MultiDiffusion (Bar-Tal et al. 2023, eq. 5), done here on a whole canvas in memory."""
    d = drawing(level(sampler=sampler))
    found = pixels(d, tmp_path)
    noise = NoiseField(1, "s", "m", 1)
    x, history = noise.window(0, 0, 40, 52)[None] * d.evaluations[0][0].sigma, None
    for n, evaluation in enumerate(d.evaluations[0]):
        total, count = torch.zeros_like(x), torch.zeros_like(x)
        for tile in d.schedule[n].tiles.values():
            window = (..., *tile.window)
            total[window] += windowed(x[window], torch.tensor([evaluation.sigma]), None)
            count[window] += 1
        x, history = evaluation.update(x, total / count, history)
        if evaluation.sigma_up:
            x = x + evaluation.sigma_up * noise.window(0, 0, 40, 52, step=n + 1)
    assert float(count.max()) == 4 and float(count.min()) == 1
    assert np.abs(found - x[0].numpy()).max() < 1e-4


def test_order_and_interruption_change_nothing(tmp_path):
    first = pixels(drawing(level(sampler="dpmpp-2m")), tmp_path / "a")
    shuffled = drawing(level(sampler="dpmpp-2m"))
    shuffled.schedule = Shuffled(shuffled.schedule)
    assert np.array_equal(first, pixels(shuffled, tmp_path / "b"))

    for _ in range(100):
        try:
            found = pixels(drawing(level(sampler="dpmpp-2m")), tmp_path / "c", stop=After(3))
            break
        except Stopped:
            continue
    assert np.array_equal(first, found)


@pytest.mark.parametrize("joining", ["average", "grid-shift", "independent"])
def test_the_null_space_holds_whatever_the_joining(tmp_path, above, joining):
    x = torch.from_numpy(pixels(drawing(level("null-space", joining), above), tmp_path / "a"))
    back = downsample(NORMALISATION.decode(x)[None], 2)[0].permute(1, 2, 0).numpy()
    assert np.abs(back - above.image[:]).max() < 1e-3


@pytest.mark.parametrize("joining", ["average", "grid-shift", "independent"])
@pytest.mark.parametrize("constraint", ["lowres", "context"])
def test_pictures_of_the_level_above_go_with_every_joining(tmp_path, above, joining, constraint):
    section = level(constraint, joining)
    found = pixels(drawing(section, above, conditions=[constraint]), tmp_path / "a")
    again = pixels(drawing(section, above, conditions=[constraint]), tmp_path / "b")
    assert np.array_equal(found, again)
    assert not np.allclose(found, pixels(drawing(section, above), tmp_path / "c"), atol=0.01), "the model is told it"


def test_overlaps_hide_the_tile_lines_that_independent_tiles_show(tmp_path):
    """A denoiser whose estimate jumps at its window's border."""

    def tilted(x, sigma, mpp, **cond):
        return wiener(x, sigma, mpp) + torch.linspace(-0.5, 0.5, x.shape[-1])

    def jump(joining, lines):
        x = pixels(drawing(level(joining=joining, steps=24), denoise=tilted), tmp_path / joining)
        gradient = np.abs(np.diff(x, axis=2)).mean(axis=(0, 1))
        return gradient[lines].mean() / np.delete(gradient, lines).mean()

    independent, average = jump("independent", [15, 31, 47]), jump("average", [11, 15, 23, 27, 35, 39])
    assert independent > 1.3 and average < 0.6 * independent + 0.5, (independent, average)


def test_background_stays_background(tmp_path, above):
    plan = np.zeros((20, 26), bool)
    plan[3:9, 4:12] = True
    d = drawing(level("null-space"), above, plan=plan, background=(240, 238, 241))
    d.finish(d.run(tmp_path / "state", "digest"), tmp_path / "level.h5")
    image = LevelFile(tmp_path / "level.h5").image[:]
    drawn = plan.repeat(2, 0).repeat(2, 1)
    assert np.all(image[~drawn] == (240, 238, 241)) and image[drawn].std() > 5
