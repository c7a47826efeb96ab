"""Cheating: a program that looks at everything but the tissue tells files apart that were not made equal, and none of ours."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from planted_slides import SIDE, planted

from histogenesis.recipe.reading import Pairs, WholeSlides
from histogenesis.study import compose
from histogenesis.study.answers import read_key
from histogenesis.study.cheat import CHANNELS, Sent, cheat, cheat_at, told_apart
from histogenesis.study.equal import TINT, balanced
from histogenesis.study.folder import write_study
from histogenesis.study.questions import REAL

EACH = 12


@pytest.fixture(scope="module")
def slides():
    return planted(EACH)


@pytest.fixture(scope="module")
def folders(slides, tmp_path_factory) -> Path:
    """Pairs and whole slides of the planted ones, as they are handed out, beside their keys."""
    out = tmp_path_factory.mktemp("studies")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compose, "sources_of", lambda *_: slides)
        asked = Pairs(kind="pairs", each=2 * EACH, size_px=96, min_tissue=0.4)
        made = compose.pairs(asked, out, [], [0.5])
        write_study(made, asked, "pairs", "planted", out / "pairs/for_readers", out / "pairs/key.json")
        asked = WholeSlides(kind="whole-slides", each=EACH)
        made = compose.whole_slides(asked, out, [])
        write_study(made, asked, "slides", "planted", out / "slides/for_readers", out / "slides/key.json")
    return out


def careless(slide, n: int) -> Sent:
    """A picture as one saves it without a thought: its own size, name, time, codec and comment."""
    real = slide.kind == REAL
    file, window = io.BytesIO(), slide.image[40:170, 60:190] if real else slide.image[40:168, 60:188]
    exif = Image.Exif()
    exif[0x010F] = "scanner"
    Image.fromarray(window).save(file, "JPEG", quality=90 if real else 75, **({"exif": exif} if real else {}))
    return Sent((file.getvalue(),), f"{'TCGA' if real else 'sample'}-{n:03d}", 1.7e9 + (0 if real else 5000) + n, n)


@pytest.mark.parametrize("channel", CHANNELS)
def test_files_that_were_not_made_equal_are_told_apart(slides, channel):
    """The test can fail: each channel alone tells them."""
    sent = [careless(slide, n) for n, slide in enumerate([*slides[0], *slides[1]])]
    found = {row["channel"]: row for row in cheat(sent, [False] * EACH + [True] * EACH)}
    assert found[channel]["auc"] > 0.9 and found[channel]["p"] < 0.01


@pytest.mark.parametrize("study", ["pairs", "slides"])
def test_what_readers_receive_is_not(folders, study):
    for row in cheat_at(folders / study / "for_readers", folders / study / "key.json"):
        assert row["auc"] < 0.7 and row["p"] > 0.01, row


def test_nor_are_forty_slides_of_each_kind(monkeypatch, tmp_path):
    """So many find a codec's grid that lies at one place of the tissue in every synthetic slide, and at random in real ones."""
    monkeypatch.setattr(compose, "sources_of", lambda *_: planted(40, first=1000))
    asked = WholeSlides(kind="whole-slides", each=40)
    made = compose.whole_slides(asked, tmp_path, [])
    write_study(made, asked, "slides", "planted", tmp_path / "out", tmp_path / "key.json")
    for row in cheat_at(tmp_path / "out", tmp_path / "key.json"):
        assert row["auc"] < 0.65 and row["p"] > 0.05, row


@pytest.mark.parametrize("part", ["codec", "glass"])
def test_each_half_of_the_treatment_is_needed(slides, part, monkeypatch, tmp_path):
    """Without it, what readers receive is told apart."""
    monkeypatch.setattr(compose, "sources_of", lambda *_: slides)
    if part == "codec":
        monkeypatch.setattr(compose, "scanners_of", lambda *_: [])
    else:
        monkeypatch.setattr("histogenesis.study.equal.balanced", lambda image, glass: image)
        monkeypatch.setattr("histogenesis.study.equal.on_glass", lambda image, glass, wanted: image)
    asked = Pairs(kind="pairs", each=2 * EACH, size_px=128, min_tissue=0.3)
    made = compose.pairs(asked, tmp_path, [], [0.5])
    write_study(made, asked, "pairs", "planted", tmp_path / "out", tmp_path / "key.json")
    found = {row["channel"]: row for row in cheat_at(tmp_path / "out", tmp_path / "key.json")}
    told = found["grid" if part == "codec" else "glass"]
    assert told["p"] < 0.01 and told["auc"] > 0.75


def test_the_classifier_is_at_chance_on_noise_and_right_on_what_differs():
    rng, truth = np.random.default_rng(1), np.arange(40) < 20
    p = [told_apart(rng.standard_normal((40, 30)), truth, seed)[1] for seed in range(60)]
    chance = np.mean([told_apart(rng.standard_normal((40, 30)), truth, seed)[0] for seed in range(60)])
    assert abs(chance - 0.5) < 0.04, "one that is left out does not tell by what is left"
    assert 0.3 < np.mean(p) < 0.7 and np.mean(np.array(p) < 0.05) < 0.15
    table = rng.standard_normal((40, 30))
    table[truth, 7] += 4
    assert told_apart(table, truth)[0] > 0.9
    assert told_apart(np.ones((40, 3)), truth) == (0.5, 1), "nothing varies: nothing is told"


# ------------------------------------------------------------------------------------------------ what is equal


def test_all_files_have_one_time_and_slides_as_many_tiles(folders):
    folder = folders / "slides/for_readers"
    assert {path.stat().st_mtime for path in folder.rglob("*")} == {946684800}
    tiles = [sorted(p.relative_to(one).as_posix() for p in one.rglob("*.jpg")) for one in (folder / "tiles").iterdir()]
    assert len(tiles) == 2 * EACH and all(one == tiles[0] for one in tiles)


def test_no_word_of_the_key_is_in_what_readers_receive(folders):
    for study in ("pairs", "slides"):
        key = read_key(folders / study / "key.json")
        for path in (folders / study / "for_readers").rglob("*"):
            words = path.read_bytes().decode("latin-1") if path.suffix in (".html", ".jpg") else ""
            text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", words)
            for word in ("truth", "secret", "generated_", "real_0", "planted", "strata"):
                assert word not in text.replace('["generated"', ""), (path, word)
        page = (folders / study / "for_readers/index.html").read_text()
        assert all(question in page for question in key.questions)


def test_order_and_sides_are_even_and_follow_the_seed(slides, monkeypatch, tmp_path):
    monkeypatch.setattr(compose, "sources_of", lambda *_: slides)
    asked = Pairs(kind="pairs", each=8, size_px=64)
    made = [compose.pairs(asked.model_copy(update={"seed": seed}), tmp_path, [], [0.5]) for seed in (1, 1, 2)]
    sides = [[question.truth for question in one.questions] for one in made]
    assert sides[0] == sides[1] != sides[2] and made[0].pictures == made[1].pictures
    assert all(one.count("left") == 4 for one in sides)


def test_a_pair_shows_about_as_much_tissue(slides, monkeypatch, tmp_path):
    monkeypatch.setattr(compose, "sources_of", lambda *_: slides)
    made = compose.pairs(Pairs(kind="pairs", each=24, size_px=128, min_tissue=0.2), tmp_path, [], [0.5])
    shares = [
        np.mean(np.abs(np.asarray(Image.open(io.BytesIO(f))).astype(int) - TINT).max(axis=-1) > 6)
        for f in made.pictures
    ]
    left, right = (np.array([shares[q.pictures[k]] for q in made.questions]) for k in (0, 1))
    assert np.abs(left - right).mean() < 0.12 < np.abs(left - np.roll(right, 1)).mean()


def test_glass_becomes_one_tint_and_tissue_stays():
    rng = np.random.default_rng(1)
    image = np.full((64, 64, 3), [246, 241, 236], float) + rng.normal(0, 1, (64, 64, 3))
    image[20:50, 20:50] = [150, 90, 140]
    found = balanced(np.rint(image).astype(np.uint8), np.array([246, 241, 236]))
    assert (found[:12] == TINT).all()
    assert np.abs(found[25:45, 25:45] - np.array([150, 90, 140]) * TINT / [246, 241, 236]).max() <= 1


def test_a_slide_is_tiled_to_the_last_pixel(slides, folders):
    """The tiles of the finest level are the slide, and a coarser one is its mean."""
    key = read_key(folders / "slides/key.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compose, "sources_of", lambda *_: slides)
        made = compose.whole_slides(WholeSlides(kind="whole-slides", each=EACH), folders, [])
    slide = made.pictures[0]
    assert slide.size_px == (SIDE, SIDE) and slide.last == 9 and len(key.questions) == 2 * EACH
    tiles = {
        (level, x, y): np.asarray(Image.open(io.BytesIO(file))).astype(float) for level, x, y, file in slide.tiles()
    }
    whole = np.concatenate([np.concatenate([tiles[9, x, y] for x in range(2)], axis=1) for y in range(2)])
    assert whole.shape == (SIDE, SIDE, 3)
    assert np.abs(whole - slide.pixels(0, 0, SIDE, SIDE)).mean() < 1.5
    seam = np.abs(np.diff(whole[100:340].mean(axis=-1), axis=1)).mean(axis=0)
    assert seam[255] < 1.5 * np.median(seam[150:340]), "no line where tiles meet"
    half = whole.reshape(SIDE // 2, 2, SIDE // 2, 2, 3).mean(axis=(1, 3))
    assert np.abs(tiles[8, 0, 0] - half[:256, :256]).mean() < 2
    assert (slide.pixels(0, 0, 8, SIDE) == TINT).all(), "a frame of glass"


def test_a_window_that_is_too_small_lies_where_most_tissue_is(slides):
    (slide,) = planted(1)[0]
    slide.mask = np.zeros((100, 100), bool)
    slide.mask[10:20, 40:60] = slide.mask[60:95, 40:60] = True
    x, y = slide.centre_um(slide.height_um * 0.4, slide.width_um * 0.5)
    assert x == pytest.approx(0.5 * slide.width_um) and 0.7 * slide.height_um < y < 0.85 * slide.height_um


def test_slides_with_cut_tissue_are_noted(slides, monkeypatch, tmp_path):
    monkeypatch.setattr(compose, "sources_of", lambda *_: slides)
    asked = WholeSlides(kind="whole-slides", each=2)
    assert compose.whole_slides(asked, tmp_path, []).notes == []
    narrow = [*slides[0]]
    for slide in narrow:
        monkeypatch.setattr(slide, "mask", np.ones_like(slide.mask))
    (note,) = compose.whole_slides(asked, tmp_path, []).notes
    assert "2 of 2 real slides and of 0 of 2 synthetic" in note
