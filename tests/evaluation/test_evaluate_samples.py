"""Samples against held-out real patches: all together and class by class, each beside its floor; shown by a rule."""

import json

import numpy as np
import pytest

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.evaluate_samples import evaluate_samples, scopes
from histogenesis.evaluation.labelled_sets import collect, labelled
from histogenesis.metrics.encoders.registry import load
from histogenesis.patches.store import Cut, write_store
from histogenesis.recipe import Evaluation

COLOURS = {"a": (200, 120, 180), "b": (120, 180, 200)}
OPTIONS = Evaluation(images=30, train_images=100, n_resamples=10, neighbours=3, n_shown=4, sensitivity_images=0)


def pictures(label, n, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 20, (n, 16, 16, 3)) + rng.normal(0, 10, (n, 1, 1, 3)) + shift
    return (np.array(COLOURS[label]) + noise).clip(0, 255).astype(np.uint8)


def store(path, name, images, labels, groups=None, mpp=float("nan")):
    n = len(images)
    cut = Cut(name, 16, coords=np.full((n, 2), -1), mpp=np.full(n, mpp), tissue=np.ones(n, np.float32))
    cut.texts = {"label": labels} | ({"group": groups} if groups else {})
    write_store(path, cut, images)


@pytest.fixture
def patches(tmp_path):
    """60 patches of each class; groups of 3, of which every third is held out."""
    images = np.concatenate([pictures("a", 60, 1), pictures("b", 60, 2)])
    labels, groups = ["a"] * 60 + ["b"] * 60, [f"g{k // 3}" for k in range(120)]
    store(tmp_path / "p/p.h5", "p", images, labels, groups)
    lines = [f"p\tg{k}\t{'train' if k % 3 else 'validation'}\t0\t1\n" for k in range(40)]
    (tmp_path / "p/splits.tsv").write_text("slide\tpatient\tsplit\tx_from\tx_to\n" + "".join(lines))
    return tmp_path / "p"


def drawn(patches, shift_b=0.0, labels=("a", "b")):
    images = np.concatenate([pictures(c, 25, 5 + k, shift_b if c == "b" else 0.0) for k, c in enumerate(labels)])
    store(patches.parent / "samples.h5", "main", images, [c for c in labels for _ in range(25)])
    return collect(patches, patches / "splits.tsv", patches.parent / "samples.h5", 30, 100, 1)


def test_the_sets_are_of_the_samples_classes_and_share_no_group(patches):
    sets = drawn(patches, labels=("b",))
    assert set(sets.train.label) == set(sets.held_out.label) == {"b"} and len(sets.generated) == 25
    assert not set(sets.train.patient) & set(sets.held_out.patient)
    assert list(scopes(sets, 10)) == ["all"], "of one class, all is that class"
    both = drawn(patches)
    rows = scopes(both, 10)
    assert list(rows) == ["all", "a", "b"]
    assert [len(r) for r in rows["all"]] == [20, 20, 20] and [len(r) for r in rows["a"]] == [10, 10, 10]
    for part, one in zip(rows["a"], both):
        assert set(one.label[part]) == {"a"}
    assert set(labelled(both.train).labels) == {"a", "b"}


def test_a_class_that_is_drawn_badly_shows_in_its_own_numbers(patches, tmp_path):
    sets = drawn(patches, shift_b=45.0)
    found = evaluate_samples(sets, [load("stain-statistics")], OPTIONS, tmp_path / "out")
    kid = {one["class"]: one for one in found["metrics"] if one["name"] == "kid"}
    fid = {one["class"]: one["value"] for one in found["metrics"] if one["name"] == "fid"}
    assert set(kid) == {"all", "a", "b"}
    assert kid["b"]["value"] > 10 * abs(kid["a"]["value"]) and fid["b"] > 5 * fid["a"]
    assert kid["b"]["low"] > kid["b"]["floor_high"], "further than real patches are from each other"
    names = {one["name"] for one in found["metrics"] if one["class"] == "a"}
    assert {"fid", "kid", "precision", "recall", "ssim", "likelihood"} <= names
    assert found["memorisation"]["verdict"] in ("clear", "suspect", "copies")
    for name in ("metrics.json", "metrics.csv", "memorisation.json", "closest_pairs.png", "shown.png"):
        assert (tmp_path / "out" / name).stat().st_size > 50


def test_where_the_mpp_is_known_tissue_and_a_classifier_speak_too(patches, tmp_path):
    """As of slides: real patches can hardly be told from real ones, others are; where the mpp is not known neither is asked."""
    asked = OPTIONS.model_copy(update={"morphology_images": 20, "c2st_steps": 40})
    found = {}
    for name, mpp, shift in (("unknown", float("nan"), 0.0), ("alike", 1.0, 0.0), ("other", 1.0, 60.0)):
        images = np.concatenate([pictures("a", 60, 1), pictures("b", 60, 2)])
        store(patches / "p.h5", "p", images, ["a"] * 60 + ["b"] * 60, [f"g{k // 3}" for k in range(120)], mpp)
        images = np.concatenate([pictures(c, 25, 5 + k, shift) for k, c in enumerate("ab")])
        store(patches.parent / "samples.h5", "main", images, [c for c in "ab" for _ in range(25)], mpp=mpp)
        sets = collect(patches, patches / "splits.tsv", patches.parent / "samples.h5", 30, 100, 1)
        rows = evaluate_samples(sets, [load("stain-statistics")], asked, tmp_path / name)["metrics"]
        found[name] = {(row["name"], row["encoder"]): row for row in rows if row["class"] == "all"}
    network, stain = ("c2st", "small-network"), ("stain_vectors", "stain")
    assert not {network, stain} & set(found["unknown"])
    assert found["alike"][network]["value"] < 0.7 < 0.9 < found["other"][network]["value"]
    assert found["alike"]["c2st", "stain-statistics"]["n"] == 42 and "samples" in found["alike"][network]["interval"]
    amount = "eosin_amount", "stain"
    assert found["alike"][amount]["value"] < found["other"][amount]["value"] and stain in found["other"]
    assert (tmp_path / "alike" / found["alike"][network]["file"]).stat().st_size > 1000


def test_what_is_shown_follows_the_rule(patches, tmp_path):
    sets = drawn(patches)
    evaluate_samples(sets, [load("stain-statistics")], OPTIONS, tmp_path / "out")
    shown = json.loads((tmp_path / "out/shown.json").read_text())
    assert [one["class"] for one in shown["shown"]] == ["a"] * 4 + ["b"] * 4
    encoder = load("stain-statistics")
    made, real = (encoder.encode(s.images[s.label == "a"]) for s in (sets.generated, sets.held_out))
    far = np.linalg.norm(made[:, None].astype(float) - real[None], axis=2).min(axis=1)
    ranked = np.argsort(far, kind="stable")
    assert [one["sample"] for one in shown["shown"][:4]] == ranked[[0, 8, 16, 24]].tolist()


def test_patches_of_another_mpp_are_not_compared(patches):
    store(patches.parent / "samples.h5", "main", pictures("a", 25, 1), ["a"] * 25, mpp=1.75)
    with pytest.raises(BadInput, match=r"no real patches at 1.75 mpp"):
        collect(patches, patches / "splits.tsv", patches.parent / "samples.h5", 30, 100, 1)


def test_of_a_group_s_copies_one_alone_is_compared(patches):
    drawn(patches)
    more = collect(patches, patches / "splits.tsv", patches.parent / "samples.h5", 30, 100, 1, one_per_group=True)
    for one in (more.train, more.held_out):
        assert len(set(one.patient)) == len(one.patient)
    assert len(more.held_out) == 14, "every third of 40 groups, each there three times"
    assert set(more.held_out.label) == {"a", "b"}
