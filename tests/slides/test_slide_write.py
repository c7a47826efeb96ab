"""The slide file: seen alike by OpenSlide, tifffile and libvips; deterministic; and whole or not there."""

import json
import os
import resource
import subprocess
import sys
import threading

import h5py
import numpy as np
import openslide
import pytest
import pyvips
import tifffile
from pydantic import ValidationError
from small_slides import area_mean

from histogenesis.core.errors import BadInput
from histogenesis.recipe import SlideFile
from histogenesis.slides import pyramid, write
from histogenesis.slides.pyramid import Reducer, encode_tile, level_sizes, tiles_of, write_pyramid
from histogenesis.slides.read import open_slide
from histogenesis.slides.write import write_slide

PROVENANCE = {"run": "demo", "model": {"name": "harb", "digest": "0123"}}


def picture(height: int, width: int) -> np.ndarray:
    """Smooth colour with some sharp edges: (height, width, 3) uint8."""
    y, x = np.mgrid[:height, :width]
    image = np.stack(
        [128 + 90 * np.sin(x / 37 + y / 91), 128 + 90 * np.cos(y / 53), 120 + 60 * np.sin((x + y) / 71)], -1
    )
    image[(x // 150 + y // 130) % 3 == 0] *= 0.6
    return image.astype(np.uint8)


def canvas(path, image, mpp=0.4321):
    with h5py.File(path, "w") as file:
        file.create_dataset("image", data=image, chunks=(min(256, image.shape[0]), min(256, image.shape[1]), 3))
        file.attrs.update(mpp=mpp, level=3, slide="synthetic_001", background=(240, 240, 240), seed=1, synthetic=True)
    return path


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A slide of odd size, and the pixels that it was made of."""
    folder = tmp_path_factory.mktemp("slide")
    image = picture(1001, 2003)
    made = write_slide(canvas(folder / "c.h5", image), folder / "s.tif", SlideFile(tile_px=256), PROVENANCE)
    return folder / "s.tif", image, made


def test_what_openslide_sees(odd):
    path, image, made = odd
    with openslide.OpenSlide(path) as slide:
        assert slide.level_dimensions == ((2003, 1001), (1002, 501), (501, 251), (251, 126))
        assert [list(size) for size in slide.level_dimensions] == made["levels"]
        assert slide.properties["openslide.vendor"] == "generic-tiff"
        for axis in "xy":
            assert float(slide.properties[f"openslide.mpp-{axis}"]) == pytest.approx(0.4321, rel=1e-6)
        assert slide.properties["openslide.level[0].tile-width"] == "256"
        assert not slide.associated_images
        pixels = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., :3]
    assert np.abs(pixels.astype(int) - image).mean() < 1.5
    assert [p.name for p in path.parent.iterdir() if p.suffix not in (".h5", ".tif")] == []


def test_tifffile_and_libvips_see_the_same(odd):
    path, _, _ = odd
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_bigtiff
        assert [page.shape for page in tiff.pages] == [(1001, 2003, 3), (501, 1002, 3), (251, 501, 3), (126, 251, 3)]
        assert [int(page.subfiletype) for page in tiff.pages] == [0, 1, 1, 1]
        by_tifffile = tiff.pages[0].asarray()
        x, y = (tiff.pages[0].tags[name].value for name in ("XResolution", "YResolution"))
        assert 10_000 * x[1] / x[0] == pytest.approx(0.4321, rel=1e-9) and x == y
    vips = pyvips.Image.tiffload(str(path))
    assert (vips.width, vips.height) == (2003, 1001)
    assert 1000 / vips.xres == pytest.approx(0.4321, rel=1e-6)
    with open_slide(path) as slide:
        by_openslide = slide.read(0, 0, (1001, 2003), slide.mpp)
    assert np.abs(by_tifffile.astype(int) - by_openslide).max() <= 2
    assert np.abs(vips.numpy()[..., :3].astype(int) - by_openslide).max() <= 2


def test_levels_are_area_averages(odd):
    path, image, _ = odd
    with tifffile.TiffFile(path) as tiff:
        for k in (1, 2, 3):
            level = tiff.pages[k].asarray()
            h, w = (n >> k for n in image.shape[:2])
            exact = area_mean(area_mean(image, 2**k * np.arange(h + 1), 0), 2**k * np.arange(w + 1), 1)
            assert np.abs(level[:h, :w] - exact).mean() < 2.5  # JPEG
            # Rounded half up, once: a bias of half a part in 4^k, and not one that grows with the level
            assert abs((level[:h, :w] - exact).mean()) < 0.5 / 4**k + 0.1


@pytest.mark.parametrize("shape", [(64, 64), (100, 37), (129, 200)])
def test_reduction_is_exact(shape):
    """Before encoding: the mean over 2^k x 2^k pixels, to half a grey level, at every level."""
    image = np.random.default_rng(3).integers(0, 256, (*shape, 3), dtype=np.uint8)
    sizes = level_sizes(*shape, 16)
    kept = [[] for _ in sizes]
    reducer = Reducer(sizes, 16, [_Sink() for _ in sizes], lambda band: [])
    collect = reducer.add

    def keep(level, sums):
        kept[level].append(sums / 4.0**level)
        collect(level, sums)

    reducer.add = keep
    for y in range(0, shape[0], 16):
        reducer.add(0, image[y : y + 16])
    for k, rows in enumerate(kept):
        level = np.concatenate(rows)
        assert level.shape[:2] == sizes[k]
        h, w = (n >> k for n in shape)
        exact = area_mean(area_mean(image, 2**k * np.arange(h + 1), 0), 2**k * np.arange(w + 1), 1)
        assert np.array_equal(level[:h, :w], exact)


class _Sink:
    def write(self, data):
        pass


def test_tiles_lie_where_the_row_lies():
    """But those at the border, which repeat its last row and column."""
    band = np.random.default_rng(1).integers(0, 256, (64, 150, 3), dtype=np.uint8)
    for rows in (64, 41):
        tiles = tiles_of(band[:rows], 64)
        assert np.array_equal(np.hstack(tiles), np.pad(band[:rows], ((0, 64 - rows), (0, 42), (0, 0)), mode="edge"))
        assert [np.shares_memory(tile, band) for tile in tiles] == [rows == 64, rows == 64, False]


def test_the_next_row_is_read_while_one_is_encoded(tmp_path, monkeypatch):
    image, second, in_time = picture(512, 300), threading.Event(), []

    def read(y0, y1):
        if y0 == 256:
            second.set()
        return image[y0:y1]

    def encode(tile, options):
        in_time.append(second.wait(5))
        return encode_tile(tile, options)

    monkeypatch.setattr(pyramid, "encode_tile", encode)
    write_pyramid(read, image.shape[:2], 0.5, tmp_path / "s.tif", SlideFile(tile_px=256), {}, threads=1)
    assert len(in_time) == 5 and all(in_time)


def test_it_says_what_it_is(odd):
    with tifffile.TiffFile(odd[0]) as tiff:
        said = json.loads(tiff.pages[0].description)
        tags = {tag.name for page in tiff.pages for tag in page.tags}
    assert said["synthetic"] is True
    assert said["software"].startswith("histogenesis ")
    assert said["run"] == "demo" and said["model"]["digest"] == "0123" and said["slide"] == "synthetic_001"
    assert not tags & {"DateTime", "Artist", "HostComputer", "Make", "Model", "Copyright"}


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_same_pixels_same_bytes(tmp_path, subsampling):
    source = canvas(tmp_path / "c.h5", picture(500, 700))
    options = SlideFile(tile_px=128, subsampling=subsampling)
    for threads, name in ((1, "a.tif"), (3, "b.tif")):
        write_slide(source, tmp_path / name, options, PROVENANCE, threads)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


@pytest.mark.parametrize(("shape", "mpp"), [((40, 30), 8.0), ((256, 256), 0.0123), ((257, 300), 64.0)])
def test_small_slides_and_extreme_mpp(tmp_path, shape, mpp):
    source = canvas(tmp_path / "c.h5", picture(*shape), mpp)
    write_slide(source, tmp_path / "s.tif", SlideFile(tile_px=256), {})
    with open_slide(tmp_path / "s.tif", trusted=True) as slide:
        assert (slide.height_px, slide.width_px) == shape
        assert slide.mpp == pytest.approx(mpp, rel=1e-4)


def test_noise_passes_its_own_check_and_a_wrong_pixel_does_not(tmp_path, monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    source = canvas(tmp_path / "c.h5", image)
    write_slide(source, tmp_path / "s.tif", SlideFile(tile_px=128), {})
    monkeypatch.setattr(write, "tiles_of", lambda pixels, tile_px: [np.zeros((tile_px, tile_px, 3), np.uint8)])
    with pytest.raises(RuntimeError, match="not what was written"):
        write_slide(source, tmp_path / "t.tif", SlideFile(tile_px=128), {})
    assert sorted(os.listdir(tmp_path)) == ["c.h5", "s.tif"]


def test_what_is_no_canvas(tmp_path):
    with pytest.raises(BadInput, match=r"none\.h5: there is no such canvas"):
        write_slide(tmp_path / "none.h5", tmp_path / "s.tif", SlideFile(), {})
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["image"] = np.zeros((4, 4))
    with pytest.raises(BadInput, match=r"other\.h5: is not a canvas"):
        write_slide(tmp_path / "other.h5", tmp_path / "s.tif", SlideFile(), {})
    with pytest.raises(ValidationError, match="multiple of 16"):
        SlideFile(tile_px=100)


def stitch(root, source, out, **kwargs):
    options = SlideFile(tile_px=128, quality=100).model_dump_json()
    command = [sys.executable, root / "workflow/scripts/stitch_slide.py", "--level", source, "--out", out]
    return subprocess.run(
        [*command, "--options", options, "--provenance", '{"run":"demo"}'],
        capture_output=True,
        text=True,
        check=False,
        **kwargs,
    )


def test_disk_full_is_told_and_leaves_nothing(root, tmp_path):
    """A limit on the size of a file stands in for the full disk: the write fails in the middle."""
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    source = canvas(tmp_path / "c.h5", noise)
    (tmp_path / "out").mkdir()
    limit = 1_500_000
    done = stitch(
        root,
        source,
        tmp_path / "out/s.tif",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    message = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert message.startswith("error: ") and "s.tif" in message and "MB are needed" in message
    assert os.listdir(tmp_path / "out") == []
    done = stitch(root, source, tmp_path / "out/s.tif")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["levels"] == [[1024, 1024], [512, 512], [256, 256], [128, 128]]
    assert os.listdir(tmp_path / "out") == ["s.tif"]


def test_full_file_system(root, tmp_path):
    """The same with a real, small file system, where tests may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    try:
        noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
        done = stitch(root, canvas(tmp_path / "c.h5", noise), disk / "s.tif")
        assert done.returncode == 1
        assert "No space left on device while writing" in done.stderr and "MB are needed" in done.stderr
        assert os.listdir(disk) == []
    finally:
        subprocess.run(["umount", disk], check=True)
