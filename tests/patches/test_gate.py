"""The data gate asks the data: planted patches of known mpp, class, slide and patient, and what is then said of them."""

from pathlib import Path

import numpy as np
import pytest

from histogenesis.patches.gate import Counted, gate_data
from histogenesis.patches.splits import write_splits
from histogenesis.patches.store import Cut, write_store
from histogenesis.recipe import parse_recipe
from histogenesis.recipe.needs import needs_of

P = 4
LIMITS = {"train_patches": 1, "held_out_patches": 0, "slides": 1}
SPLITS = [("a", "pa", "train"), ("b", "pb", "train"), ("c", "pc", "validation")]


def plant(folder: Path, name: str, counts: dict[float, int], slide_mpp=0.25, labels=None, **facts) -> Path:
    mpp = np.repeat(list(counts), list(counts.values())).astype(float)
    cut = Cut(
        name, P, 4000, 4000, slide_mpp, np.zeros((len(mpp), 2), np.int64), mpp, np.ones(len(mpp), np.float32), **facts
    )
    cut.texts = {"label": labels} if labels else {}
    write_store(folder / f"{name}.h5", cut, np.zeros((len(mpp), P, P, 3), np.uint8))
    return folder / f"{name}.h5"


def counted(folder: Path, files: list[Path]) -> Counted:
    write_splits(
        folder / "splits.tsv",
        [dict(zip(("slide", "patient", "split", "x_from", "x_to"), (*row, 0.0, 1.0))) for row in SPLITS],
    )
    return Counted("main", folder, folder / "splits.tsv", files)


def need(mpp, levels, drawn=True, label=None, told=False):
    asked = {"model": "m", "patch_set": "main", "mpp": mpp, "class": label}
    return asked | {"levels": levels, "drawn": drawn, "told": told}


def gate(sets, needs, **limits):
    return gate_data({}, {}, sets, needs, LIMITS | limits)


@pytest.fixture
def half(tmp_path):
    """Two slides to learn from and one held out; at 0.5 mpp only slide b has patches, and the held-out one none."""
    why = {0.5: "finer than the slide's 0.6 mpp"}
    files = [
        plant(tmp_path, "a", {1.0: 5}, slide_mpp=0.6, skipped=why),
        plant(tmp_path, "b", {1.0: 3, 0.5: 2}, slide_mpp=0.505),
        plant(tmp_path, "c", {1.0: 4}, slide_mpp=0.6, skipped=why),
    ]
    return {"main": counted(tmp_path, files)}


def test_counts_of_a_level_are_of_patches_slides_and_patients(half):
    row = gate(half, [need(1.0, [0])])["rows"][0]
    assert row["train"] == {"patches": 8, "slides": 2, "patients": 2}
    assert row["held_out"] == {"patches": 4, "slides": 1, "patients": 1}
    assert gate(half, [need(0.5, [1])])["rows"][0]["true_mpps"] == [0.505]


def test_a_level_that_nothing_was_learnt_of_ends_the_run_and_says_why(half):
    found = gate(half, [need(0.25, [2])])
    assert len(found["errors"]) == 1 and "models.m at 0.25 mpp for level 2: 0 patch(es)" in found["errors"][0]
    found = gate(half, [need(0.5, [1])], slides=2)
    assert "2 patch(es) of 1 slide(s)" in found["errors"][0]
    assert "a: finer than the slide's 0.6 mpp" in found["errors"][0]
    assert not gate(half, [need(0.5, [1])])["errors"]


def test_what_nothing_draws_is_a_warning(half):
    found = gate(half, [need(0.25, [], drawn=False)])
    assert not found["errors"] and any("at 0.25 mpp" in one for one in found["warnings"])


def test_nothing_held_out_is_a_warning_unless_the_recipe_wants_it(half):
    found = gate(half, [need(0.5, [1])])
    assert not found["errors"] and "nothing of it is held out" in found["warnings"][0]
    assert "1 mpps or classes without held-out patches" in found["summary"]
    assert "0 slide(s) held out" in gate(half, [need(0.5, [1])], held_out_patches=1)["errors"][0]


def test_a_patch_set_of_which_nothing_is_held_out_ends_the_run_before_training_does(tmp_path):
    """As where patches of 0.5 mm do not fit the part that is held out of one slide."""
    files = [plant(tmp_path, name, {16.0: 5}) for name in "ab"]
    files.append(plant(tmp_path, "c", {}, skipped={16.0: "no room"}))
    errors = gate({"main": counted(tmp_path, files)}, [need(16.0, [0])])["errors"]
    assert len(errors) == 1, errors
    error = errors[0]
    assert error.startswith("patches.main: nothing of it is held out at any mpp") and "c: no room" in error
    assert (
        gate({"main": counted(tmp_path, [*files[:2], plant(tmp_path, "c", {8.0: 1})])}, [need(16.0, [0])])["errors"]
        == []
    )


def test_a_class_that_is_only_held_out_ends_the_run(tmp_path):
    files = [
        plant(tmp_path, "a", {1.0: 2}, labels=["benign", "benign"]),
        plant(tmp_path, "b", {1.0: 1}, labels=["benign"]),
        plant(tmp_path, "c", {1.0: 3}, labels=["benign", "tumour", "tumour"]),
    ]
    sets = {"main": counted(tmp_path, files)}
    found = gate(sets, [need(1.0, [0], told=True)])
    assert [(row["class"], row["train"]["patches"], row["held_out"]["patches"]) for row in found["rows"]] == [
        ("benign", 3, 1),
        ("tumour", 0, 2),
    ]
    assert len(found["errors"]) == 1 and "of class tumour" in found["errors"][0]


def test_every_loss_reaches_the_summary_with_its_count(half):
    records = {"a": {"error": None, "warnings": ["odd mpp"]}, "b": {"error": None}, "d": {"error": "d.svs: is empty"}}
    found = gate_data(records, {"a": {"warnings": ["pen mark?"]}}, half, [need(1.0, [0])], LIMITS)
    assert found["slides"]["set_aside"] == [{"slide": "d", "why": "d.svs: is empty"}]
    assert found["slides"]["warned"] == [{"slide": "a", "warnings": ["odd mpp", "pen mark?"]}]
    assert (
        found["summary"]
        == "2 of 3 slides used; 1 set aside; 2 warnings on 1 slides; 2 mpps that a slide could not give"
    )


def test_a_recipe_asks_for_each_mpp_of_a_cascade_and_of_a_ladder(root):
    import yaml

    values = yaml.safe_load((root / "config/test/harb.yaml").read_text())
    values["patches"]["main"]["mpps"] = [16, 8, 4, 2]
    asked = [row for row in needs_of(parse_recipe(values)) if row["model"]]
    assert [(row["mpp"], row["levels"], row["drawn"]) for row in asked] == [
        (16, [0], True),
        (8, [1], True),
        (4, [2], True),
        (2, [], False),
    ]
    cascade = needs_of(parse_recipe(yaml.safe_load((root / "config/test/urcdm.yaml").read_text())))
    levels = {k for row in cascade if row["model"] for k in row["levels"]}
    assert levels and all(row["drawn"] for row in cascade if row["model"] and row["levels"])


def test_a_model_of_one_stain_asks_whether_slides_have_it(tmp_path):
    brown, pink = np.array([120, 80, 50], np.uint8), np.array([200, 120, 180], np.uint8)
    for name, colour in (("a", brown), ("b", pink)):
        cut = Cut(name, P, 4000, 4000, 0.5, np.zeros((5, 2), np.int64), np.full(5, 1.0), np.ones(5, np.float32))
        write_store(tmp_path / f"{name}.h5", cut, np.broadcast_to(colour, (5, P, P, 3)).copy())
    sets = {"main": counted(tmp_path, [tmp_path / "a.h5", tmp_path / "b.h5"])}
    found = gate_data({}, {}, sets, [need(1.0, [0])], LIMITS, of_he=["main"])["warnings"]
    assert [line[:2] for line in found if "eosin" in line] == ["a:"]
    cut = Cut("c", P, 4000, 4000, 0.5, np.zeros((5, 2), np.int64), np.full(5, 1.0), np.ones(5, np.float32))
    write_store(tmp_path / "c.h5", cut, np.broadcast_to(brown, (5, P, P, 3)).copy())
    held_out = {"main": counted(tmp_path, [tmp_path / f"{name}.h5" for name in "abc"])}
    found = gate_data({}, {}, held_out, [need(1.0, [0])], LIMITS, of_he=["main", "main"])["warnings"]
    assert sorted(line[:2] for line in found if "eosin" in line) == ["a:", "c:"], "also of what is held out, once"
    assert not [line for line in gate(sets, [need(1.0, [0])])["warnings"] if "eosin" in line]
