"""Upscaling a level by a baseline: each method against what is known of it, and tiles that do not show."""

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from histogenesis.canvas import upscalers
from histogenesis.canvas.averaging import downsample
from histogenesis.canvas.canvas import Level, write_level
from histogenesis.canvas.upscale import Upscaling
from histogenesis.canvas.upscalers import divergence, gradient, make_upscaler, tv_l1, tv_l1_energy
from histogenesis.models.model import Normalisation, build_model, save_model
from histogenesis.recipe import TVL1, Bicubic, Learned, Model, UpscaledLevel

BACKGROUND = (240, 241, 242)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def picture(height, width, seed=0):
    """Smooth blobs with edges and a little grain, as tissue has: uint8 (h, w, 3)."""
    rng = np.random.default_rng(seed)
    blobs = gaussian_filter(rng.standard_normal((height, width, 3)), (3, 3, 0))
    rgb = np.where(blobs > 0, 200, 110) + 400 * blobs + rng.normal(0, 5, blobs.shape)
    return rgb.clip(0, 255).round().astype(np.uint8)


def tensor(rgb):
    return torch.from_numpy(rgb.transpose(2, 0, 1)[None].copy()).float() / 255


@pytest.fixture
def edsr_folder(tmp_path):
    """An EDSR with random weights, whose pictures hang on all that it can see."""
    values = {"patches": "p", "network": {"kind": "edsr", "channels": 8, "blocks": 2}}
    values |= {"objective": {"kind": "super-resolution"}, "conditions": [], "training": {"steps": 1}}
    section, normalisation = Model.model_validate(values), Normalisation([150.0, 140.0, 130.0], 50.0, 0.5)
    torch.manual_seed(0)
    model = build_model(section, 16, normalisation)
    facts = {"patch_px": 16, "mpps": [8.0]}
    save_model(tmp_path / "edsr", dict(model.network.named_parameters()), section, normalisation, **facts)
    return tmp_path / "edsr"


def upscaling(tmp_path, method, tile_px, plan=None, model=None, size=(96, 128)):
    rgb = picture(size[0] // 2, size[1] // 2)
    write_level(tmp_path / "above.h5", [(0, rgb)], *rgb.shape[:2], {"mpp": 8.0})
    section = UpscaledLevel(kind="upscale", mpp=4, method=method, tile_px=tile_px)
    upscaler, above = make_upscaler(method, model, "cpu"), Level(tmp_path / "above.h5")
    return Upscaling(section, size, 1, 1, "s", upscaler, above, plan, BACKGROUND)


def made(task):
    return np.concatenate([rows for _, rows in task.bands()])


def test_bicubic_is_the_bicubic_of_an_image_library():
    rgb = picture(20, 30)
    result = make_upscaler(Bicubic(kind="bicubic"), None, "cpu")(tensor(rgb))[0].numpy()
    for c in range(3):  # mode F: without Pillow's rounding and clipping between rows and columns
        band = Image.fromarray(rgb[..., c].astype(np.float32) / 255)
        reference = np.asarray(band.resize((60, 40), Image.Resampling.BICUBIC)).clip(0, 1)
        assert np.abs(result[c] - reference).max() < 1e-6


def test_divergence_is_minus_the_adjoint_of_the_gradient():
    u, p = (torch.randn(*pair, 3, 9, 7, dtype=torch.float64) for pair in ((1,), (2, 1)))
    assert float((gradient(u) * p).sum()) == pytest.approx(-float((u * divergence(p)).sum()), abs=1e-4)


def test_tv_l1_lowers_its_energy_and_meets_the_level_above():
    y = tensor(picture(32, 40))
    energies = [tv_l1_energy(tv_l1(y, 2.5, n), y, 2.5) for n in (0, 100, 300, 1000)]
    assert energies[1] < 0.8 * energies[0] and energies[3] <= energies[2] < energies[1]
    assert energies[2] < 1.03 * energies[3], "nearly converged"
    off = (downsample(tv_l1(y, 2.5, 300), 2) - y).abs() * 255
    assert float(off.max()) < 1 and float(off.mean()) < 0.2, "grey steps"


def test_no_picture_near_the_result_of_tv_l1_has_less_energy():
    y = tensor(picture(12, 12))
    u = tv_l1(y, 2.5, 5000)
    least, rng = tv_l1_energy(u, y, 2.5), torch.Generator().manual_seed(0)
    for size in (0.1, 0.01):
        for _ in range(20):
            other = u + size * torch.randn(u.shape, generator=rng)
            assert tv_l1_energy(other, y, 2.5) > least


def test_tv_l1_with_little_fidelity_drops_single_pixels_and_with_the_default_keeps_them():
    y = torch.full((1, 3, 15, 15), 0.8)
    y[..., 7, 7] = 0.3
    assert float(downsample(tv_l1(y, 2.5, 500), 2)[..., 7, 7].mean()) == pytest.approx(0.3, abs=0.01)
    assert float(downsample(tv_l1(y, 0.5, 500), 2)[..., 7, 7].mean()) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("kind", ["bicubic", "tv-l1", "edsr"])
def test_tiles_do_not_show(tmp_path, edsr_folder, kind):
    methods = {"bicubic": Bicubic(kind="bicubic"), "tv-l1": TVL1(kind="tv-l1"), "edsr": Learned(kind="edsr", model="m")}
    size = (192, 256)
    whole = made(upscaling(tmp_path, methods[kind], 1024, model=edsr_folder, size=size)).astype(int)
    tiled = made(upscaling(tmp_path, methods[kind], 64, model=edsr_folder, size=size)).astype(int)
    assert np.abs(whole - tiled).max() <= 1 and (whole != tiled).mean() < 1e-3, "rounding alone"


@pytest.mark.parametrize("kind", ["bicubic", "edsr"])
def test_a_margin_one_pixel_smaller_would_show(tmp_path, edsr_folder, kind):
    """So `reach_px` is what the method needs, and the test above can fail."""
    method = Bicubic(kind="bicubic") if kind == "bicubic" else Learned(kind="edsr", model="m")
    whole = upscaling(tmp_path, method, 1024, model=edsr_folder)
    tiled = upscaling(tmp_path, method, 32, model=edsr_folder)
    tiled.upscaler.reach_px = 0
    assert np.abs(made(whole).astype(int) - made(tiled)).max() > 1


def test_only_the_plan_is_upscaled_and_the_rest_is_background(tmp_path):
    plan = np.zeros((12, 16), bool)
    plan[3:9, 4:12] = True
    task = upscaling(tmp_path, Bicubic(kind="bicubic"), 32, plan)
    seen, tile = [], task.tile
    task.tile = lambda rows, columns: seen.append((rows, columns)) or tile(rows, columns)
    task.run(tmp_path / "level1.h5")
    with h5py.File(tmp_path / "level1.h5") as file:
        image, facts = file["image"][:], dict(file.attrs)
    inside = plan.repeat(8, 0).repeat(8, 1)
    assert np.all(image[~inside] == BACKGROUND)
    whole = made(upscaling(tmp_path, Bicubic(kind="bicubic"), 1024))
    assert np.array_equal(image[inside], whole[inside])
    assert 0 < len(seen) < 12, "tiles without tissue are not made"
    wanted = {"mpp": 4, "level": 1, "slide": "s", "seed": 1, "method": "bicubic", "drawn": plan.mean()}
    assert {key: facts[key] for key in wanted} == wanted
    assert bool(facts["synthetic"]) and tuple(facts["background"]) == BACKGROUND


def test_only_what_a_tile_needs_is_held_at_once(tmp_path):
    """Bounded memory: the method never gets more than a tile and its margin."""
    task = upscaling(tmp_path, Bicubic(kind="bicubic"), 32)
    shapes, upscaler = [], task.upscaler
    task.upscaler = lambda y: shapes.append(y.shape[2:]) or upscaler(y)
    task.upscaler.reach_px = 2
    made(task)
    assert len(shapes) == 12 and max(max(shape) for shape in shapes) <= 16 + 4


def test_every_method_of_the_recipe_is_there():
    from typing import get_args

    kinds = {get_args(m.model_fields["kind"].annotation)[0] for m in (Bicubic, TVL1, Learned)}
    assert set(upscalers.UPSCALERS) == kinds
