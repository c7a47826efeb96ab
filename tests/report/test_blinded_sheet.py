"""A blinded sheet: nothing but the tissue tells which is which, and the key is right."""

import csv

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest

from histogenesis.core.errors import BadInput
from histogenesis.study.blinded_sheet import blinded, draw_numbered, write_blinded_sheet


def run_of(run):
    return run / "patches/main", run / "splits.tsv", run / "synthetic/synthetic_001"


def crops(n: int, value: int) -> np.ndarray:
    return np.full((n, 64, 64, 3), value, np.uint8)


def test_the_key_says_what_each_crop_is():
    shown, kinds = blinded(crops(20, 60), crops(20, 200), seed=3)
    assert [kind == "real" for kind in kinds] == [crop.mean() < 130 for crop in shown]
    assert kinds.count("real") == kinds.count("generated") == 20


def test_the_order_says_nothing_and_depends_on_the_seed_alone():
    kinds = [blinded(crops(20, 0), crops(20, 9), seed)[1] for seed in range(200)]
    assert kinds[0] == blinded(crops(20, 0), crops(20, 9), 0)[1] != kinds[1]
    first = sum(one[0] == "real" for one in kinds)
    assert binomtest(first, 200, 0.5).pvalue > 1e-3


def test_compression_does_not_give_the_answer_away():
    """Of JPEG's 8 px blocks a real crop has traces; after it, a generated one has them too."""

    def blockiness(images: np.ndarray) -> float:
        steps = np.abs(np.diff(images.astype(float).mean(axis=-1), axis=2)).mean(axis=(0, 1))
        return steps[7::8].mean() / np.delete(steps, np.s_[7::8]).mean()

    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.normal(0, 3, (20, 64, 64, 3)), axis=2)
    generated = np.clip(smooth + 128, 0, 255).astype(np.uint8)
    shown, kinds = blinded(generated, generated, seed=1)
    halves = [blockiness(shown[[k == kind for k in kinds]]) for kind in ("real", "generated")]
    assert halves[0] == pytest.approx(halves[1], abs=0.02) and min(halves) > blockiness(generated) + 0.02


def test_the_sheet_shows_every_crop_once():
    sheet = np.asarray(draw_numbered(np.stack([np.full((64, 64, 3), 20 + n, np.uint8) for n in range(40)]), 1, 8))
    assert {20 + n for n in range(40)} <= set(np.unique(sheet[..., 0]).tolist())


def test_too_few_crops_are_named(made_up_run, tmp_path):
    with pytest.raises(BadInput, match="crops at 4 mpp, but the sheet wants 5000"):
        write_blinded_sheet(*run_of(made_up_run), mpp=4, each=5000, seed=1, out=tmp_path / "sheet.png")


def test_a_sheet_and_its_key(made_up_run, tmp_path):
    write_blinded_sheet(*run_of(made_up_run), mpp=4, each=3, seed=1, out=tmp_path / "sheet.png")
    with open(tmp_path / "sheet.key.tsv") as file:
        kinds = [row["kind"] for row in csv.DictReader(file, delimiter="\t")]
    assert sorted(kinds) == ["generated"] * 3 + ["real"] * 3
    picture = Image.open(tmp_path / "sheet.png")
    assert not picture.info, "no metadata"
