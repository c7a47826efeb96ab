"""Patches cut from whole slides on the device: the slide's pixels, where there is tissue, the same in any share of a batch."""

import runpy

import numpy as np
import pytest
import tifffile
import torch
from scipy.ndimage import map_coordinates

from histogenesis.models.normalisation import Normalisation
from histogenesis.models.pyramids import SlideBatches, halved


def zoomed(plane):
    """Twice as large, bilinear, pixel centres kept."""
    at = [np.clip((np.arange(2 * n) + 0.5) / 2 - 0.5, 0, n - 1) for n in plane.shape]
    return map_coordinates(plane, np.meshgrid(*at, indexing="ij"), order=1)


# Each flip and rotation undone: applied to a patch, it is as the slide has it.
ALL_WAYS = [lambda v, k=k, m=m: np.rot90(v[:, ::-1] if m else v, k) for m in (False, True) for k in range(4)]


@pytest.fixture(scope="module")
def slides():
    """Glass (grey) with a coloured rectangle, whose every pixel is another."""
    rng, found = np.random.default_rng(0), []
    for height, width in ((161, 200), (128, 96)):
        slide = np.full((height, width, 3), 240, np.uint8)
        slide[32:128, 32:96] = rng.integers(0, 80, (96, 64, 3)) + np.array([140, 20, 90])
        found.append(slide)
    return found


def batches(slides, **options):
    return SlideBatches(slides, [0.5, 0.6], [0, 1, 2], 16, torch.exp, 1, normalisation=Normalisation.unit(), **options)


def test_a_patch_is_the_slides_area_average_at_its_mpp(slides):
    batch = batches(slides).read(0, range(96))
    shown = Normalisation.unit().to_uint8(batch.image).permute(0, 2, 3, 1).numpy()
    averages = {}
    for slide, mpp in zip(slides, (0.5, 0.6)):
        level = slide.astype(float)
        for n in range(3):
            averages[round(mpp * 2**n, 4)] = level
            h, w = (v // 2 * 2 for v in level.shape[:2])
            level = np.floor(level[:h, :w].reshape(h // 2, 2, w // 2, 2, 3).mean(axis=(1, 3)) + 0.5)
    assert {round(float(mpp), 4) for mpp in batch.mpp} == set(averages), "every slide at every resolution"
    for patch, mpp in zip(shown, batch.mpp):
        level = averages[round(float(mpp), 4)].astype(np.uint8)
        views = [np.rot90(v, k) for v in (patch, patch[:, ::-1]) for k in range(4)]
        windows = np.lib.stride_tricks.sliding_window_view(level, (16, 16, 3))[:, :, 0]
        assert any((windows == view).all(axis=(2, 3, 4)).any() for view in views), mpp


def test_places_have_tissue(slides):
    batch = batches(slides, min_tissue=0.9).read(0, range(64))
    shown = Normalisation.unit().to_uint8(batch.image).float()
    coloured = (shown.amax(dim=1) - shown.amin(dim=1) > 18).float().mean(dim=(1, 2))
    assert float(coloured.min()) > 0.6, "asked for 0.9, and moved by at most an eighth of a patch along each side"


def test_a_sample_is_the_same_in_any_share_of_the_batch(slides):
    fed = batches(slides)
    whole, part = fed.read(5, range(10)), fed.read(5, range(4, 10))
    assert torch.equal(whole.image[4:], part.image) and torch.equal(whole.noise[4:], part.noise)
    assert not torch.equal(fed.read(6, range(10)).image, whole.image)


def test_the_level_above_is_the_patch_s_own_at_any_place_of_its_grid(slides):
    """Area averages of 2 x 2 px enlarged by another library, of which the patch's window is found in the slide."""
    batch = batches(slides, lowres_factor=2, lowres_noise_limit=0.0).read(0, range(48))
    shown = Normalisation.unit().to_uint8(batch.image).permute(0, 2, 3, 1).numpy()
    beside = 127.5 * (batch.cond_image.permute(0, 2, 3, 1).numpy() + 1)
    assert batch.lowres_noise.tolist() == [0.0] * 48
    grids = []
    for patch, above, mpp in zip(shown, beside, batch.mpp.tolist()):
        if round(mpp, 4) not in (0.5, 0.6):  # the slides as they are
            continue
        slide = slides[round(mpp, 4) == 0.6]
        windows = np.lib.stride_tricks.sliding_window_view(slide, (16, 16, 3))[:, :, 0]
        places = [(way, np.argwhere((windows == way(patch)).all(axis=(2, 3, 4)))) for way in ALL_WAYS]
        found = [(way, where[0]) for way, where in places if len(where) == 1]
        if not found:  # glass, which is everywhere
            continue
        (way, (y, x)), errors = found[0], {}
        for top, left in ((0, 0), (0, 1), (1, 0), (1, 1)):  # of the grid of 2 x 2 px
            height, width = ((n - first) // 2 * 2 for n, first in zip(slide.shape, (top, left)))
            of_grid = slide[top : top + height, left : left + width].astype(np.float32)
            halves = of_grid.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))
            large = np.stack([zoomed(halves[..., c]) for c in range(3)], axis=-1)
            part = large[y - top + 1 : y - top + 15, x - left + 1 : x - left + 15]
            errors[(y - top) % 2, (x - left) % 2] = np.square(part - way(above)[1:-1, 1:-1]).mean()
        grid = min(errors, key=errors.get)
        assert errors[grid] ** 0.5 == pytest.approx(1.275, rel=0.15), "the least noise, 0.01 of 127.5 grey levels"
        grids.append(grid)
    assert len(grids) > 12 and len(set(grids)) > 2, "the grid lies anywhere, as it does under tiles that are drawn"


def test_the_level_above_is_noised_up_to_the_limit(slides):
    plain, noised = (
        batches(slides, lowres_factor=2, lowres_noise_limit=limit).read(3, range(64)) for limit in (0.0, 0.4)
    )
    assert torch.equal(plain.image, noised.image)
    assert 0.3 < float(noised.lowres_noise.max()) <= 0.4 and float(noised.lowres_noise.min()) < 0.1
    for b in range(64):  # signal and noise of the linear schedule, as Ho et al. 2022 write it
        kept = np.exp(-1e-4 - 10 * float(noised.lowres_noise[b]) ** 2)
        share = np.sqrt(kept / np.exp(-1e-4))  # the level 0 leaves 0.01 of the same noise
        rest = noised.cond_image[b] - share * plain.cond_image[b]
        assert float(rest.std()) == pytest.approx(np.sqrt(1 - kept) - share * 0.01, rel=0.1, abs=1e-4)
    part = batches(slides, lowres_factor=2, lowres_noise_limit=0.4).read(3, range(60, 64))
    assert torch.equal(part.cond_image, noised.cond_image[60:])


def test_halving_keeps_the_mean():
    picture = torch.randint(0, 256, (64, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert abs(float(halved(picture).float().mean() - picture.float().mean())) < 0.2


def test_slides_are_decoded_as_tifffile_does(root, test_data):
    path = test_data / "slides/stomach_metaplasia_20x.tif"
    decoded, mpp = runpy.run_path(str(root / "benchmarks/train_on_gpu.py"))["read_slide"](path)
    wanted = tifffile.imread(path, level=0)
    assert decoded.shape == wanted.shape and mpp == pytest.approx(0.5056, rel=0.01)
    assert np.abs(decoded.astype(int) - wanted).mean() < 1.0, "two decoders of one JPEG differ by roundings"
