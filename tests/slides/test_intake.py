"""Slides as scanners and programs write them: each kind made here, and what is then said of it, by other readers' measure."""

import json

import h5py
import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image, ImageFilter
from small_slides import CENTIMETRE, halves, record_of, write_tiff

from histogenesis.core.errors import BadInput
from histogenesis.patches.cut import cut_slide
from histogenesis.recipe import PatchSet, Tissue
from histogenesis.slides import sources
from histogenesis.slides.files import files_of_slide
from histogenesis.slides.read import DamagedPlace, open_slide
from histogenesis.slides.table import open_record
from histogenesis.slides.tiles import TiledTiff, jpeg_quality
from histogenesis.tissue.files import segment_slide

# ---------------------------------------------------------------------------------------------- direct reading


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
@pytest.mark.parametrize("subsampling", [(1, 1), (2, 2)])
def test_jpeg_tiles_are_openslides_pixels(tmp_path, pixels, photometric, subsampling):
    if photometric == "rgb" and subsampling != (1, 1):
        pytest.skip("RGB is not subsampled")
    with tifffile.TiffWriter(tmp_path / "s.tif") as tiff:
        for k, level in enumerate(halves(pixels)):
            tiff.write(level, tile=(128, 128), photometric=photometric, compression="jpeg", compressionargs={"level": 75},
                       subsampling=subsampling, subfiletype=int(k > 0), metadata=None, **CENTIMETRE)  # fmt: skip
    direct, other = TiledTiff(tmp_path / "s.tif"), openslide.OpenSlide(str(tmp_path / "s.tif"))
    assert direct.level_dimensions == list(other.level_dimensions) and direct.quality == 75
    for k, x, y in ((0, 3, 5), (0, 200, 130), (1, 64, 64), (2, 0, 11)):
        theirs = np.asarray(other.read_region((x * 2**k, y * 2**k), k, (150, 140)))[..., :3]
        assert np.array_equal(direct.read(k, x, y, 150, 140), theirs)


def test_a_real_svs_is_read_directly_and_alike(cmu_slide):
    with open_slide(cmu_slide) as slide, openslide.OpenSlide(str(cmu_slide)) as other:
        assert isinstance(slide._source, sources.TiffSource)
        assert slide.facts["jpeg_quality"] == 30  # its description says Q=30
        for x, y in ((0, 0), (1001, 1503), (1900, 2700)):
            theirs = np.asarray(other.read_region((x, y), 0, (300, 260)))[..., :3]
            ours = slide.read(x, y, (260, 300), slide.mpp)
            assert np.array_equal(ours, theirs)
            part = slide.read(x, y, 20, slide.mpp)
            part[:] = 0  # the caller's own: what is read again is as it was
            assert np.array_equal(slide.read(x, y, 20, slide.mpp), theirs[:20, :20])


@pytest.mark.parametrize("quality", [30, 60, 85, 95])
def test_the_quality_of_a_jpeg_is_that_it_was_written_with(pixels, quality):
    import simplejpeg

    assert jpeg_quality(simplejpeg.encode_jpeg(pixels, quality=quality)) == quality


# ---------------------------------------------------------------------------------------------- what OpenSlide lacks


@pytest.mark.parametrize("compression", ["webp", "jpeg2000", "jpegxl", "deflate"])
def test_codecs_that_openslide_lacks_are_read(tmp_path, pixels, compression):
    lossless = {"webp": {"lossless": True}, "jpegxl": {"lossless": True}}.get(compression, {})
    with tifffile.TiffWriter(tmp_path / "s.tif") as tiff:
        for k, level in enumerate(halves(pixels)):
            tiff.write(level, tile=(128, 128), photometric="rgb", compression=compression, compressionargs=lossless,
                       subfiletype=int(k > 0), metadata=None, **CENTIMETRE)  # fmt: skip
    record = record_of(tmp_path / "s.tif", tmp_path)
    assert record["error"] is None and record["mpp"] == pytest.approx(0.5)
    with open_slide(tmp_path / "s.tif") as slide:
        assert np.array_equal(slide.read(100, 200, 128, 0.5), pixels[200:328, 100:228])
        assert slide.coarsest_mpp == 2.0


def test_ome_has_its_mpp_in_xml_and_its_levels_in_subifds(tmp_path, pixels):
    size = {f"PhysicalSize{axis}": 0.5 for axis in "XY"} | {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    with tifffile.TiffWriter(tmp_path / "s.ome.tif", bigtiff=True, ome=True) as tiff:
        options = {"photometric": "rgb", "tile": (128, 128), "compression": "jpeg"}
        tiff.write(pixels, subifds=2, metadata={"axes": "YXS"} | size, **options)
        for level in halves(pixels)[1:]:
            tiff.write(level, subfiletype=1, metadata=None, **options)
    with open_slide(tmp_path / "s.ome.tif") as slide:
        assert (slide.mpp, slide.coarsest_mpp) == (0.5, 2.0)


def test_twelve_bits_in_sixteen_are_twelve(tmp_path, pixels):
    write_tiff(tmp_path / "s.tif", [level.astype(np.uint16) * 16 for level in halves(pixels)], 0.5)
    record = record_of(tmp_path / "s.tif", tmp_path)
    assert record["error"] is None and "samples of 12 bits are read as 8" in record["warnings"]
    with open_slide(tmp_path / "s.tif") as slide:
        assert np.array_equal(slide.read(0, 0, (768, 640), 0.5), pixels)


@pytest.mark.parametrize("compression", [None, "jpeg", "deflate"])
def test_strips_are_imported_once(tmp_path, pixels, compression):
    tifffile.imwrite(
        tmp_path / "s.tif", pixels, photometric="rgb", rowsperstrip=64, compression=compression, **CENTIMETRE
    )
    record = record_of(tmp_path / "s.tif", tmp_path)
    assert record["error"] is None and "imported once from TIFF in strips" in record["warnings"][0]
    assert record["path"] == "run:imported/s.tif" and record["imported_from"].endswith("s.tif")
    (tmp_path / "s.json").write_text(json.dumps(record))
    with open_record(tmp_path / "s.json", tmp_path) as slide:
        assert slide.mpp == pytest.approx(0.5) and slide.coarsest_mpp > 1.9
        theirs = tifffile.imread(tmp_path / "s.tif")
        assert np.abs(slide.read(0, 0, (768, 640), 0.5).astype(int) - theirs).mean() < 3


COMPRESSION, COLOURS, PLANES = 259, 262, 284  # tags of a TIFF


@pytest.mark.parametrize(
    ("tag", "value", "options", "refused"),
    [
        (COMPRESSION, None, {"rowsperstrip": 64}, ""),
        (COLOURS, 60_000, {"rowsperstrip": 64}, ""),
        (PLANES, 60_000, {"rowsperstrip": 64}, "planes are of a kind that is not known (60000)"),
        (PLANES, 60_000, {"tile": (128, 128)}, "planes are of a kind that is not known (60000)"),
        (COLOURS, None, {"tile": (128, 128)}, ""),
        (COMPRESSION, 60_000, {"tile": (128, 128)}, "60000 is not a known COMPRESSION"),
    ],
)
def test_a_tag_whose_value_has_no_name_does_not_end_the_intake(tmp_path, pixels, tag, value, options, refused):
    """None: the file lacks the tag. What can be imported all the same is; the rest is set aside with the reason."""
    file = tmp_path / "s.tif"
    tifffile.imwrite(file, pixels, photometric="rgb", **options, **CENTIMETRE)
    with tifffile.TiffFile(file, mode="r+") as tiff:
        there = tiff.pages.first.tags[tag]
        there.overwrite(value or 1)
    if value is None:
        octets = bytearray(file.read_bytes())
        octets[there.offset : there.offset + 2] = (64_000).to_bytes(2, "little")  # a private tag in its place
        file.write_bytes(octets)
    record = record_of(file, tmp_path)
    if refused:
        assert refused in record["error"]
        return
    assert record["error"] is None and "imported once from TIFF" in record["warnings"][0]
    (tmp_path / "s.json").write_text(json.dumps(record))
    with open_record(tmp_path / "s.json", tmp_path) as slide:
        assert np.abs(slide.read(0, 0, (768, 640), 0.5).astype(int) - pixels).mean() < 3


def test_a_picture_is_imported_with_the_mpp_of_the_table(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "s.png")
    assert "is a PNG picture, which does not say its mpp" in record_of(tmp_path / "s.png", tmp_path)["error"]
    record = record_of(tmp_path / "s.png", tmp_path, mpp=0.5)
    assert record["error"] is None and (record["width_px"], record["mpp"]) == (640, pytest.approx(0.5))


# ---------------------------------------------------------------------------------------------- mpp that cannot be


@pytest.mark.parametrize("dpi", [72, 300, 600])
def test_a_resolution_for_printing_is_no_mpp(tmp_path, pixels, dpi):
    tifffile.imwrite(
        tmp_path / "s.tif", pixels, tile=(128, 128), photometric="rgb", resolution=(dpi, dpi), resolutionunit=2
    )
    assert "give it in the `mpp` column" in record_of(tmp_path / "s.tif", tmp_path)["error"]
    assert record_of(tmp_path / "s.tif", tmp_path, mpp=0.5)["mpp"] == 0.5


def test_the_magnification_in_the_mpp_column_is_refused(tmp_path, pixels):
    write_tiff(tmp_path / "s.tif", [pixels], 0.5)
    error = record_of(tmp_path / "s.tif", tmp_path, mpp=40)["error"]
    assert "the file says 0.5 (is 40 the magnification? That would be 0.25 mpp)" in error


def test_an_objective_contradicts_a_wrong_tag(tmp_path, pixels):
    for mpp, words in ((0.05, "finer than any objective resolves"), (0.1, "an objective of 20 x")):
        write_tiff(tmp_path / "s.svs", [pixels], None, f"Aperio Image Library v1\r\n640x768 |AppMag = 20|MPP = {mpp}")
        assert words in record_of(tmp_path / "s.svs", tmp_path)["error"]


# ---------------------------------------------------------------------------------------------- damage


def test_a_place_that_reads_after_reopening_was_the_network(tmp_path, pixels, monkeypatch):
    write_tiff(tmp_path / "s.tif", [pixels], 0.5)
    with open_slide(tmp_path / "s.tif") as slide:
        failures, read = [1], TiledTiff.read

        def once(self, *place):
            if failures:
                failures.pop()
                raise sources.TileError("lost")
            return read(self, *place)

        monkeypatch.setattr(TiledTiff, "read", once)
        assert np.array_equal(slide.read(0, 0, 64, 0.5), pixels[:64, :64]) and not slide.damaged


def spoiled(path, number):
    """A tile of the full resolution becomes zeros, which no codec takes."""
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages[0].dataoffsets[number], tiff.pages[0].databytecounts[number]
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(bytes(count))


def test_damage_is_local(tmp_path, pixels):
    write_tiff(tmp_path / "s.tif", [pixels], 0.5)
    spoiled(tmp_path / "s.tif", 12)  # 10 tiles a row: x 128 to 192, y 64 to 128
    with open_slide(tmp_path / "s.tif") as slide:
        with pytest.raises(DamagedPlace, match=r"at pixel \(130, 70\)"):
            slide.read(130, 70, 32, 0.5)
        assert np.array_equal(slide.read(256, 256, 256, 0.5), pixels[256:512, 256:512])
        overview = slide.overview(0.5)
        assert np.array_equal(overview[256:], pixels[256:]) and slide.damaged == [(0, 0, 256, 256)]
    record = record_of(tmp_path / "s.tif", tmp_path)
    assert record["error"] is None and record["damaged"]["failed"] > 0


def test_damaged_and_poor_patches_are_left_out_counted_and_shown(tmp_path, cmu_slide):
    """Half of the slide out of focus, a tile that does not decode: the numbers tell them apart, and the sheet shows them."""
    with openslide.OpenSlide(str(cmu_slide)) as slide:
        pixels = np.asarray(slide.read_region((300, 1000), 0, (768, 768)))[..., :3]
    soft = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(3)))
    write_tiff(tmp_path / "s.tif", [np.concatenate([pixels, soft], axis=1)], 0.5)
    spoiled(tmp_path / "s.tif", 30)
    (tmp_path / "s.json").write_text(json.dumps(record_of(tmp_path / "s.tif", tmp_path)))
    segment_slide(tmp_path / "s.json", tmp_path, Tissue(mpp=8, guard=False), tmp_path / "tissue")
    options = PatchSet(size_px=64, mpps=[0.5], placement="grid", min_tissue=0.5, quality={"min_sharpness": 0.35})
    files = [tmp_path / "set" / name for name in ("s.h5", "s.png", "coords")]
    cut = cut_slide(tmp_path / "s.json", tmp_path, tmp_path / "tissue", options, 1, *files)
    assert (cut.coords[:, 0] < 768).all() and len(cut.coords) > 20
    assert cut.left_out["not sharp"] > 20
    with h5py.File(files[0]) as file:
        assert json.loads(file.attrs["left_out"]) == cut.left_out
        assert (file["sharpness"][:] >= 0.35).all() and len(file["sharpness"]) == len(file["imgs"]) == len(
            file["stain"]
        )
        for (x, y), patch in zip(file["coords"][:], file["imgs"][:]):
            assert np.array_equal(patch, pixels[y : y + 64, x : x + 64])
    assert np.asarray(Image.open(tmp_path / "set/left_out/s.png")).std() > 10


# ---------------------------------------------------------------------------------------------- slides of many files


def test_all_files_of_a_mirax_and_of_a_dicom_series(tmp_path):
    (tmp_path / "m").mkdir()
    for name in ("m.mrxs", "m/Slidedat.ini", "m/Data0000.dat", "other.mrxs"):
        (tmp_path / name).write_text(name)
    assert [f.name for f in files_of_slide(tmp_path / "m.mrxs")] == ["m.mrxs", "Data0000.dat", "Slidedat.ini"]

    def dicom(series):
        uid = series.encode() + b"\0" * (len(series) % 2)
        return bytes(128) + b"DICM" + b"\x20\x00\x0e\x00UI" + len(uid).to_bytes(2, "little") + uid

    for name, series in (("a.dcm", "1.2.3"), ("b.dcm", "1.2.3"), ("c.dcm", "1.2.33")):
        (tmp_path / name).write_bytes(dicom(series))
    assert [f.name for f in files_of_slide(tmp_path / "b.dcm")] == ["b.dcm", "a.dcm"]
    assert files_of_slide(tmp_path / "gone.svs") == [tmp_path / "gone.svs"]


def test_another_file_of_a_set_changed_is_another_slide(tmp_path, pixels, monkeypatch):
    """The digest of the record covers all of them."""
    path = write_tiff(tmp_path / "s.tif", [pixels], 0.5)
    (tmp_path / "more.dat").write_text("1")
    monkeypatch.setattr("histogenesis.slides.table.files_of_slide", lambda p: [p, tmp_path / "more.dat"])
    first = record_of(path, tmp_path)
    (tmp_path / "more.dat").write_text("2")
    assert first["files"] == 2 and record_of(path, tmp_path)["sha256"] != first["sha256"]


def test_a_tiff_that_nothing_reads_says_the_true_reason(tmp_path):
    tifffile.imwrite(tmp_path / "s.tif", np.zeros((300, 300), np.float32), tile=(128, 128), **CENTIMETRE)
    with pytest.raises(BadInput, match="samples of type float32"):
        open_slide(tmp_path / "s.tif")
