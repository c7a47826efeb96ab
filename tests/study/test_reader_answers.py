"""From readers' files and the key to numbers: the published tables, planted readers, and files that cannot be used."""

import csv
import json

import numpy as np
import pytest
from made_up_readers import answers_by, marks, pairs_key, save, save_key, slides_key, survey_key

from histogenesis.core.errors import BadInput
from histogenesis.study.analyse import analyse_files
from histogenesis.study.answers import read_answers, read_key
from histogenesis.study.questions import GENERATED

URCDM = [(61, 66), (152, 6), (28, 33), (47, 10), (29, 21)]


def analysed(folder, key):
    return analyse_files(save_key(folder, key), (folder / "answers").glob("*.json"), folder / "analysis")


def other(side):
    return "right" if side == "left" else "left"


# ------------------------------------------------------------------------------------------------ published tables


def test_urcdms_table_from_its_counts(tmp_path):
    """Readers who rated as many pairs as they did, and were wrong as often (NeurIPS workshop 2023, table 1)."""
    key = pairs_key(160)
    for n, (tp, fp) in enumerate(URCDM, start=1):
        rows = key["questions"][: tp + fp]
        values = {row["id"]: row["truth"] if k < tp else other(row["truth"]) for k, row in enumerate(rows)}
        save(tmp_path / "answers", key, f"pathologist-{n}", values)
    (part,) = analysed(tmp_path, key)["parts"]
    found = [(row["tp"], row["fp"], round(row["p"], 4), round(row["off_half"], 4)) for row in part["by_reader"]]
    printed = [(0.5197, 0.0197), (0.0380, 0.4620), (0.5410, 0.0410), (0.1754, 0.3246), (0.4200, 0.0800)]
    assert found == [(*counts, *p) for counts, p in zip(URCDM, printed)]
    assert part["weighted_mae"] == pytest.approx(0.2219, abs=5e-5)
    assert (part["pooled"]["k"], part["pooled"]["n"]) == (317, 317 + 136)
    assert part["by_reader"][0]["p_exact"] > 0.5 and part["by_reader"][1]["p_exact"] < 1e-30
    with open(tmp_path / "analysis/readers.csv") as file:
        assert [(int(row["tp"]), int(row["fp"])) for row in csv.DictReader(file)] == URCDM


# Son 2023, tables 3 to 7: right answers of nine readers, by part and stratum, and sums of nine marks (3.89 is 35 / 9).
SON = {
    ("match-class", None): 25,
    ("name-class", "class +"): 15,
    ("name-class", "class -"): 11,
    ("pick-generated", "class +"): 8,
    ("pick-generated", "class -"): 8,
    ("origin", "class +, is real"): 4,
    ("origin", "class -, is real"): 2,
    ("origin", "class +, is generated"): 2,
    ("origin", "class -, is generated"): 3,
}
SON_MARKS = {
    "+": {"cellularity": 35, "atypia": 38, "colour": 33, "overall": 39},
    "-": {"cellularity": 39, "atypia": 36, "colour": 33, "overall": 37},
}


def test_sons_tables_from_his_counts(tmp_path):
    key = survey_key()
    names = {"match-class": ("left", "right"), "name-class": ("+", "-"), "pick-generated": ("left", "right")}
    names |= {"origin": ("real", "generated")}
    values = [{} for _ in range(9)]
    for (part, stratum), k in SON.items():
        rows = [q for q in key["questions"] if q["part"] == part]
        rows = [q for q in rows if stratum in (None, ", ".join(f"{a} {b}" for a, b in q["strata"].items()))]
        for n in range(9 * len(rows)):
            row = rows[n // 9]
            wrong = next(v for v in names[part] if v != row["truth"])
            values[n % 9][row["id"]] = row["truth"] if n < k else wrong
    for row in key["questions"][-2:]:
        for n in range(9):
            sums = SON_MARKS[row["strata"]["class"]]
            values[n][row["id"]] = marks({s: total // 9 + (n < total % 9) for s, total in sums.items()})
    for n, one in enumerate(values):
        save(tmp_path / "answers", key, f"evaluator-{n}", one)
    found = analysed(tmp_path, key)
    parts = {part["part"]: part for part in found["parts"]}
    assert found["problems"] == []
    assert (parts["match-class"]["pooled"]["k"], parts["match-class"]["pooled"]["n"]) == (25, 36)
    assert round(100 * parts["match-class"]["pooled"]["value"], 1) == 69.4
    percent = {
        (name, row["stratum"]): round(100 * row["value"], 1) for name in names for row in parts[name]["by_stratum"]
    }
    assert percent["name-class", "class +"] == 83.3 and percent["name-class", "class -"] == 61.1
    assert percent["pick-generated", "class +"] == percent["pick-generated", "class -"] == 44.4
    assert percent["origin", "class +, is real"] == 44.4 and percent["origin", "class -, is generated"] == 33.3
    assert percent["origin", "class -, is real"] == percent["origin", "class +, is generated"] == 22.2
    means = {(row["class"], row["scale"]): round(row["mean"], 2) for row in parts["rate"]["ratings"]}
    assert [means["+", s] for s in SON_MARKS["+"]] == [3.89, 4.22, 3.67, 4.33]
    assert [means["-", s] for s in SON_MARKS["-"]] == [4.33, 4.00, 3.67, 4.11]


# ------------------------------------------------------------------------------------------------ planted readers


def test_those_who_guess_and_those_who_see(tmp_path):
    key, rng = slides_key(20), np.random.default_rng(1)
    for n in range(3):
        guess = answers_by(key, lambda row, k: str(rng.integers(1, 7)))
        save(tmp_path / "guess/answers", key, f"g{n}", guess)
        see = answers_by(
            key, lambda row, k: str(rng.integers(4, 7) if row["truth"] == GENERATED else rng.integers(1, 4))
        )
        save(tmp_path / "see/answers", key, f"s{n}", see)
    (part,) = analysed(tmp_path / "guess", key)["parts"]
    assert part["auc"]["low"] < 0.5 < part["auc"]["high"] and part["auc"]["method"].startswith("Obuchowski")
    assert part["pooled"]["by_both"][0] < 0.5 < part["pooled"]["by_both"][1]
    assert part["weighted_mae"] < 0.15 and abs(part["agreement"]["gwet_ac1"]) < 0.3
    (part,) = analysed(tmp_path / "see", key)["parts"]
    assert part["auc"]["value"] == 1 and part["pooled"]["value"] == 1 and part["weighted_mae"] == 0.5
    assert all(row["sensitivity"]["value"] == row["specificity"]["value"] == 1 for row in part["by_reader"])
    assert part["agreement"]["fleiss_kappa"] == 1 and part["pooled"]["p"] < 1e-30
    assert (tmp_path / "see/analysis/analysis.png").stat().st_size > 5000


def test_sensitivity_and_specificity_are_told_apart(tmp_path):
    """One who calls everything synthetic, but is surer of what is."""
    key = slides_key(10)
    save(tmp_path / "answers", key, "a", answers_by(key, lambda row, n: "6" if row["truth"] == GENERATED else "4"))
    (part,) = analysed(tmp_path, key)["parts"]
    (row,) = part["by_reader"]
    assert row["sensitivity"]["value"] == 1 and row["specificity"]["value"] == 0 and row["value"] == 0.5
    assert row["auc"]["value"] == 1
    assert "alone" in part["auc"]["method"], "of one reader nothing is said of others"


def test_magnifications_are_counted_apart(tmp_path):
    key = pairs_key(20)
    for n in range(2):
        values = answers_by(key, lambda row, k: row["truth"] if row["strata"]["mpp"] == "8" else other(row["truth"]))
        save(tmp_path / "answers", key, f"r{n}", values)
    (part,) = analysed(tmp_path, key)["parts"]
    assert [(row["stratum"], row["value"]) for row in part["by_stratum"]] == [("mpp 0.5", 0), ("mpp 8", 1)]


# ------------------------------------------------------------------------------------------------ what cannot be used


@pytest.fixture
def study(tmp_path):
    """Three good readers of a study of ten pairs, all right."""
    key = pairs_key(10)
    for reader in "abc":
        save(tmp_path / "answers", key, reader, answers_by(key, lambda row, n: row["truth"]))
    return tmp_path, key


def test_good_files_have_no_problems(study):
    found = analysed(*study)
    assert found["readers"] == 3 and found["problems"] == []


def changed(folder, name, change):
    path = folder / "answers" / name
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda text: text[: len(text) // 2], "cut off"),
        (lambda text: "", "cut off"),
        (lambda text: "[1, 2]", "no file of answers"),
        (lambda text: text.replace('"end": "end"', '"x": 0'), "cut off"),
        (lambda text: text.replace('"study": "', '"study": "f'), "another study"),
        (lambda text: text.replace('"agreed": true', '"agreed": false'), "has not agreed"),
    ],
)
def test_a_bad_file_is_named_and_the_rest_is_analysed(study, change, says):
    changed(study[0], "answers-b.json", change)
    found = analysed(*study)
    assert found["readers"] == 2 and found["parts"][0]["pooled"]["value"] == 1
    (line,) = found["problems"]
    assert "answers-b.json" in line and says in line


def test_unanswered_questions_are_counted_and_the_rest_is_analysed(study):
    folder, key = study
    some = answers_by(key, lambda row, n: row["truth"])
    some.pop(key["questions"][0]["id"])
    some["0123456789abcdef"] = "left"
    some[key["questions"][1]["id"]] = "up"
    save(folder / "answers", key, "b", some)
    found = analysed(folder, key)
    assert found["readers"] == 3 and found["parts"][0]["pooled"]["n"] == 28
    assert sorted(line.split(": ", 1)[1][:9] for line in found["problems"]) == ["2 answer(", "2 of 10 q"]


def test_one_reader_twice(study):
    folder, key = study
    early = dict(list(answers_by(key, lambda row, n: row["truth"]).items())[:4])
    save(folder / "answers", key, "early", early, reader="B")
    found = analysed(folder, key)
    assert found["readers"] == 3 and "the fullest file counts" in " ".join(found["problems"])
    save(folder / "answers", key, "late", answers_by(key, lambda row, n: "left"), reader="b")
    found = analysed(folder, key)
    assert found["readers"] == 2 and "none of them counts" in " ".join(found["problems"])


def test_an_edited_key_is_found_and_what_is_as_it_was_is_analysed(study):
    folder, key = study
    key = json.loads(json.dumps(key))
    for row in key["questions"][:3]:
        row["truth"] = other(row["truth"])
    found = analysed(folder, key)
    assert [f"question {n}" in line for n, line in enumerate(found["problems"], start=1)] == [True] * 3
    assert (found["parts"][0]["pooled"]["k"], found["parts"][0]["pooled"]["n"]) == (21, 21)
    key["questions"] = key["questions"][3:]
    with pytest.raises(BadInput, match="every question was changed"):  # their numbers have moved, and so their ids
        analysed(folder, key)


@pytest.mark.parametrize("content", ["", "{}", '{"parts": 3}', "[]"])
def test_what_is_no_key_is_named(tmp_path, content):
    (tmp_path / "key.json").write_text(content)
    with pytest.raises(BadInput, match=r"key\.json: is no key"):
        read_key(tmp_path / "key.json")
    with pytest.raises(BadInput, match="No such file"):
        read_key(tmp_path / "none.json")


def test_no_answers_yet(tmp_path):
    found = analysed(tmp_path, slides_key(2))
    assert found["readers"] == 0 and found["parts"][0]["pooled"]["value"] is None
    assert read_answers([], read_key(tmp_path / "key.json")) == ([], [])


def test_a_key_does_not_tell_its_truth_by_its_ids(tmp_path):
    """Two keys of the same questions and another secret share no id, so that the page's ids say nothing without it."""
    one, two = pairs_key(10), pairs_key(10)
    assert one == two
    other_secret = json.loads(json.dumps(one)) | {"secret": "0" * 32}
    with pytest.raises(BadInput, match="every question was changed"):
        read_key(save_key(tmp_path, other_secret))
