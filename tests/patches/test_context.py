"""Patches with a wider view: the same centre, padded at the border, and nothing of what is held out; white patches."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from skimage.filters import gaussian

from histogenesis.core.errors import BadInput
from histogenesis.patches.cut import cut_slide
from histogenesis.patches.dataset import PatchCollection
from histogenesis.patches.splits import write_splits
from histogenesis.patches.views import read_context, read_padded, white_share
from histogenesis.phantom.slide import make_phantom
from histogenesis.recipe import PatchSet, Phantom, Tissue
from histogenesis.slides.average import area_average
from histogenesis.slides.read import open_slide
from histogenesis.slides.table import SlideRow, register
from histogenesis.steps.inputs import say_of_cut
from histogenesis.tissue.files import load_tissue, segment_slide


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    """A phantom with its record and tissue."""
    path = tmp_path_factory.mktemp("context")
    make_phantom(Phantom(name="s", seed=4, width_mm=1.2, height_mm=1.0, mpp=1), path / "s.tif", path / "truth.png")
    (path / "s.json").write_text(json.dumps(register(SlideRow(slide="s", path=str(path / "s.tif"), patient="p"), path)))
    segment_slide(path / "s.json", path, Tissue(), path / "tissue")
    return path


def cut(path, name="a", **options):
    section = PatchSet(**({"size_px": 40, "mpps": [2.0], "per_slide": 30, "context_ratio": 2.5} | options))
    (path / name).mkdir(exist_ok=True)
    return cut_slide(
        path / "s.json",
        path,
        path / "tissue",
        section,
        1,
        path / name / "s.h5",
        path / name / "s.png",
        path / name / "c",
    )


def misfit(target, context, ratio, shift=0):
    """Mean difference between a patch, averaged to the context's scale, and the context's centre (moved by `shift` px)."""
    px = len(target)
    inside = px / ratio
    small = area_average(target, np.arange(int(inside) + 1) * ratio, np.arange(int(inside) + 1) * ratio).astype(int)
    start = round((px - inside) / 2) + shift
    return np.abs(small - context[start : start + len(small), start : start + len(small)].astype(int)).mean()


def test_the_contexts_centre_is_the_patch(phantom):
    cut(phantom)
    with h5py.File(phantom / "a/s.h5") as file:
        assert file["context"].shape == file["imgs"].shape and file.attrs["context_ratio"] == 2.5
        fits = [misfit(t, c, 2.5) for t, c in zip(file["imgs"], file["context"])]
        moved = [misfit(t, c, 2.5, shift=1) for t, c in zip(file["imgs"], file["context"])]
    # The context is read from a coarser level of the pyramid, which has been averaged over other pixels
    assert np.mean(fits) < 0.4 * np.mean(moved), "one pixel to the side would show"


def test_it_is_aligned_on_a_real_slide(cmu_slide):
    with open_slide(cmu_slide) as slide:
        for ratio, x, y in [(2.5, 821, 1203), (5.0, 801, 1203), (2.0, 790, 1190)]:
            background = np.array([1, 2, 3], np.uint8)
            target = read_padded(slide, x, y, 80, slide.mpp, background)
            context = read_context(slide, x, y, 80, slide.mpp, ratio, background)
            assert misfit(target, context, ratio) < 0.1, "read from one level, it is the same pixels"
            assert min(misfit(target, context, ratio, shift) for shift in (-1, 1)) > 0.2


def where_it_is_darkest(slide) -> tuple[int, int]:
    """A place of tissue, in the slide's own pixels, far enough from its borders: on glass every shift fits."""
    shown = gaussian(slide.overview(40 * slide.mpp).mean(axis=-1), 5)[15:-15, 15:-15]
    y, x = np.unravel_index(shown.argmin(), shown.shape)
    return 40 * (int(x) + 15), 40 * (int(y) + 15)


@pytest.mark.slow
def test_it_is_aligned_on_the_real_slides_at_hand(test_data):
    tried = 0
    for path in sorted((test_data / "slides").rglob("*"))[:40]:
        if path.suffix.lower() not in (".svs", ".tif", ".tiff", ".ndpi"):
            continue
        try:
            slide = open_slide(path)
        except BadInput:
            continue
        with slide:
            mpp, background = 2 * slide.mpp, np.array([255, 255, 255], np.uint8)
            if min(slide.width_px, slide.height_px) < 1200:
                continue
            x, y = where_it_is_darkest(slide)
            target = read_padded(slide, x, y, 80, mpp, background)
            context = read_context(slide, x, y, 80, mpp, 5.0, background)
            if target.std() < 8:
                continue  # glass: nothing that could be aligned
            left, fit, right = (misfit(target, context, 5.0, shift) for shift in (-1, 0, 1))
            assert fit < 0.6 * min(left, right), f"{path}: {left}, {fit}, {right}"
            tried += 1
        if tried == 4:
            break
    if not tried:
        pytest.skip("no slide that is large enough")


def test_where_the_view_leaves_the_slide_it_is_background(phantom):
    background = np.array([10, 20, 30], np.uint8)
    with open_slide(phantom / "s.tif") as slide:
        view = read_context(
            slide, 0, 0, 40, 2.0, 3.0, background
        )  # 120 px wide at 6 mpp, its patch in the top left corner
        assert np.all(view[:13] == background) and np.all(view[:, :13] == background)
        assert not np.any(np.all(view[14:, 14:] == background, axis=-1))
        inside = read_padded(slide, 0, 0, 26, 6.0, background)
        assert np.abs(view[14:, 14:].astype(int) - read_padded(slide, 4, 4, 26, 6.0, background)).mean() < 12
        assert not np.any(np.all(inside == background, axis=-1))


def test_a_patch_of_the_whole_slide(phantom):
    found = cut(phantom, "some", mpps=[4.0, 32.0], whole_mpps=[32.0], context_ratio=None, min_tissue=0.01)
    assert (found.mpp == 32).sum() == 1 and (found.mpp == 4).sum() > 1, "only that one is of the whole slide"
    found = cut(phantom, "whole", placement="whole", mpps=[32.0], context_ratio=None, min_tissue=0.01)
    assert found.coords.tolist() == [[600 - 640, 500 - 640]]
    background = load_tissue(phantom / "tissue").background
    with h5py.File(phantom / "whole/s.h5") as file, open_slide(phantom / "s.tif") as slide:
        picture = file["imgs"][0]
        assert "context" not in file
        assert np.all(picture[:4] == background) and np.all(picture[:, 0] == background)
        centre = slide.read(600 - 320, 500 - 320, 20, 32.0)
        assert np.abs(picture[10:30, 10:30].astype(int) - centre.astype(int)).max() <= 1


def test_a_slide_wider_than_its_one_patch_says_what_is_left_out(phantom, capsys):
    """Of 1.2 x 1 mm in a patch of 0.8: the tissue between 0.2 and 1 mm from the left, 0.1 and 0.9 from the top, is in it."""
    found = cut(phantom, "cropped", placement="whole", mpps=[20.0, 32.0], context_ratio=None, min_tissue=0.01)
    assert list(found.cropped) == [20.0], "the other holds all of it"
    with open_slide(phantom / "s.tif") as slide:
        assert (slide.width_px * slide.mpp, slide.height_px * slide.mpp) == (1200, 1000)
    assert "the slide has 1.2 x 1.0 mm, its one patch 0.8" in found.cropped[20.0]
    tissue = load_tissue(phantom / "tissue")
    x, y = (round(um / tissue.mpp) for um in (200, 100))
    inside = tissue.mask[y : y + round(800 / tissue.mpp), x : x + round(800 / tissue.mpp)].sum() / tissue.mask.sum()
    said = int(found.cropped[20.0].split(" with ")[1].split("%")[0])
    assert said < 100 and said == pytest.approx(100 * inside, abs=1)
    with h5py.File(phantom / "cropped/s.h5") as file:
        assert json.loads(file.attrs["cropped_mpps"]) == {"20": found.cropped[20.0]}
    say_of_cut(found.slide, found.error, found.skipped, found.cropped)
    assert "s: cropped at 20 mpp: the slide has" in capsys.readouterr().err


def test_no_view_of_a_model_shows_what_is_held_out(phantom):
    cut(phantom, "split", per_slide=200)
    parts = [("train", 0.0, 0.6), ("validation", 0.6, 1.0)]
    write_splits(
        phantom / "splits.tsv",
        [{"slide": "s", "patient": "p", "split": name, "x_from": a, "x_to": b} for name, a, b in parts],
    )
    for name, a, b in parts:
        patches = PatchCollection(phantom / "split", phantom / "splits.tsv", name)
        centre, half = patches.coords[:, 0] + 40, 100  # 40 px at 2 mpp are 80 px of the slide; the view is 200
        assert patches.context_ratio == 2.5 and len(patches) > 3
        assert np.all(np.maximum(centre - half, 0) >= a * 1200 - 1e-6)
        assert np.all(np.minimum(centre + half, 1200) <= b * 1200 + 1e-6)
        context = patches.read_context([1, 0])
        assert context.shape == (2, 40, 40, 3)
        fit, moved = (misfit(patches.read([1])[0], context[0], 2.5, shift) for shift in (0, 1))
        assert fit < moved


def test_white_patches_are_left_out(phantom):
    white = {"share": 0.3, "above": 200}
    everything = cut(phantom, "all", min_tissue=0.05, per_slide=100)
    fewer = cut(phantom, "few", min_tissue=0.05, per_slide=100, skip_background=white)
    assert 0 < len(fewer.coords) < len(everything.coords)
    with h5py.File(phantom / "few/s.h5") as few, h5py.File(phantom / "all/s.h5") as every:
        assert max(white_share(p, 200) for p in few["imgs"]) <= 0.3 < max(white_share(p, 200) for p in every["imgs"])
        kept = {tuple(c) for c in few["coords"][:]}
        for coords, picture in zip(every["coords"], every["imgs"]):
            assert (tuple(coords) in kept) == (white_share(picture, 200) <= 0.3)
    none = cut(phantom, "none", skip_background={"share": 0.0, "above": 0})
    assert none.skipped == {2.0: "every place was left out (more than 0% white)"}
