"""Patches cut from whole slides on the device: the slide's pixels, where there is tissue, the same in any share of a batch."""

import runpy

import numpy as np
import pytest
import tifffile
import torch

from histogenesis.models.normalisation import Normalisation
from histogenesis.models.pyramids import SlideBatches, halved


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


def test_halving_keeps_the_mean():
    picture = torch.randint(0, 256, (64, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert abs(float(halved(picture).float().mean() - picture.float().mean())) < 0.2


def test_slides_are_decoded_as_tifffile_does(root, test_data):
    path = test_data / "slides/stomach_metaplasia_20x.tif"
    decoded, mpp = runpy.run_path(str(root / "benchmarks/train_on_gpu.py"))["read_slide"](path)
    wanted = tifffile.imread(path, level=0)
    assert decoded.shape == wanted.shape and mpp == pytest.approx(0.5056, rel=0.01)
    assert np.abs(decoded.astype(int) - wanted).mean() < 1.0, "two decoders of one JPEG differ by roundings"
