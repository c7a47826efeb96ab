"""The study's table: means over seeds with Student's interval, whether they differ from the best, the same in any order."""

import itertools
import json

import numpy as np
import pytest
from scipy import stats

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.study_table import apart, choose_winner, numbers_of, study_table, write_study
from histogenesis.recipe import Cell, Winner
from histogenesis.steps.gather_study import gather_study

VALUES = {"slow": [0.30, 0.34, 0.32], "fast": [0.11, 0.09, 0.10]}
MODELS = {f"m_speed-{s}_seed-{k}": {"patches": "p", "speed": s} for s in VALUES for k in (1, 2, 3)}


def cells():
    return [
        Cell(
            values={"speed": speed},
            seed=seed,
            samples={"main": f"main_speed-{speed}_seed-{seed}", "other": f"other_seed-{seed}"},
            models={"main": f"m_speed-{speed}_seed-{seed}", "other": "m"},
            names={"main": f"speed-{speed}", "other": "all"},
        )
        for speed, seed in itertools.product(VALUES, (1, 2, 3))
    ]


def entry(name, value, better, encoder="efficientnet-lite0", label="all"):
    about = {"name": name, "encoder": encoder, "class": label, "better": better, "floor": 0.01}
    return about | {"value": value, "low": value - 0.5, "high": value + 0.5}


@pytest.fixture
def evaluation(tmp_path):
    found = {f"main_speed-{s}_seed-{k + 1}": v for s, values in VALUES.items() for k, v in enumerate(values)}
    found |= {f"other_seed-{k}": 0.5 + k for k in (1, 2, 3)}
    for name, value in found.items():
        (tmp_path / name).mkdir()
        rows = [
            entry("kid", value, "lower"),
            entry("coverage", value, "higher"),
            entry("kid", None or value, "lower", label="a"),
        ]
        rows.append({**entry("fid", 0.0, "lower", label="b"), "value": None, "low": None, "high": None})
        (tmp_path / name / "metrics.json").write_text(json.dumps(rows))
    return tmp_path


def row(rows, **wanted):
    found = [r for r in rows if all(r[k] == v for k, v in wanted.items())]
    assert len(found) == 1
    return found[0]


def test_means_and_intervals_are_students_over_seeds(evaluation):
    rows = study_table(cells(), evaluation)
    slow = row(rows, samples="main", combination="speed-slow", metric="kid", **{"class": "all"})
    low, high = stats.t.interval(0.95, 2, np.mean(VALUES["slow"]), stats.sem(VALUES["slow"]))
    assert slow["value"] == pytest.approx(0.32) and (slow["low"], slow["high"]) == pytest.approx((low, high))
    assert slow["seeds"] == 3 and slow["each"] == VALUES["slow"] and slow["interval"] == "over seeds"
    assert slow["floor"] == pytest.approx(0.01)
    assert not [r for r in rows if r["metric"] == "fid"], "what was not measured has no row"
    assert row(rows, samples="other", metric="kid", **{"class": "all"})["seeds"] == 3, (
        "shared by combinations, counted once"
    )


def test_the_best_is_told_from_the_others_by_what_seeds_do(evaluation):
    rows = study_table(cells(), evaluation)
    kid = {speed: row(rows, combination=f"speed-{speed}", metric="kid", **{"class": "all"}) for speed in VALUES}
    assert kid["fast"]["best"] and kid["fast"]["apart_from_best"] is None
    assert not kid["slow"]["best"] and kid["slow"]["apart_from_best"] is True
    assert row(rows, combination="speed-slow", metric="coverage", **{"class": "all"})["best"], "higher is better"
    assert apart([0.1, 0.5, 0.3], [0.2, 0.4, 0.35]) is False
    assert apart([0.1], [0.2]) is None and apart([0.1, 0.1], [0.1, 0.1]) is False


def test_the_table_is_the_same_whatever_order_its_cells_are_in(evaluation, tmp_path):
    """Jobs end in any order; files are read in the grid's. Even the list of cells may be turned within a combination."""
    first, last = study_table(cells(), evaluation), None
    for order in ([0, 1, 2, 3, 4, 5], [2, 1, 0, 5, 3, 4]):
        turned = [cells()[k] for k in order]
        last = study_table(turned, evaluation)
        assert last == first
    write_study(tmp_path / "1", first)
    write_study(tmp_path / "2", last)
    for name in ("table.json", "table.csv", "study.png"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_one_seed_has_the_interval_of_its_own_evaluation(evaluation):
    rows = study_table([c for c in cells() if c.seed == 1], evaluation)
    slow = row(rows, combination="speed-slow", metric="kid", **{"class": "all"})
    assert (slow["low"], slow["high"]) == pytest.approx((-0.2, 0.8)) and "subsampling" in slow["interval"]
    assert slow["apart_from_best"] is None


def test_the_winner_is_the_best_mean_with_its_model(evaluation):
    rows = study_table(cells(), evaluation)
    winner = choose_winner(rows, cells(), MODELS, Winner(samples="main", metric="kid"))
    assert winner["combination"] == "speed-fast" and winner["model"] == {"patches": "p", "speed": "fast"}
    assert winner["apart_from_all_others"] is True and winner["values"] == {"speed": "fast"}
    assert choose_winner(rows, cells(), MODELS, Winner(samples="main", metric="coverage"))["values"] == {
        "speed": "slow"
    }
    with pytest.raises(BadInput, match="ssim by pixels was measured for no combination"):
        choose_winner(rows, cells(), MODELS, Winner(samples="main", metric="ssim", encoder="pixels"))


def test_accuracies_of_the_classifier_stand_in_the_table(evaluation):
    folder = evaluation / "main_speed-fast_seed-1"
    arms = {"generated": {"accuracy": [0.8], "value": 0.8, "low": 0.7, "high": 0.9}}
    recognised = {"accuracy": [0.7], "value": 0.7, "low": 0.6, "high": 0.8}
    (folder / "utility.json").write_text(json.dumps({"arms": arms, "recognised": recognised}))
    found = {one["name"]: one for one in numbers_of(folder) if one["encoder"] == "classifier"}
    assert list(found) == ["accuracy, trained on generated", "class recognised"]
    assert found["class recognised"]["value"] == 0.7 and {one["better"] for one in found.values()} == {"higher"}
    with pytest.raises(BadInput, match="were not evaluated"):
        numbers_of(evaluation / "absent")


def test_what_arms_differ_in_lies_beside_the_table(evaluation, tmp_path):
    arms = [
        {"axis": "speed", "samples": "main", "options": ["slow", "fast"], "named": ["speed"], "besides": ["model.lr"]}
    ]
    gather_study(evaluation=evaluation, cells=cells(), out=tmp_path / "study", arms=arms)
    assert json.loads((tmp_path / "study/arms.json").read_text()) == arms
    assert not (tmp_path / "study/winner.json").exists()
