"""The whole account: numbers beside their floor, an overfitted model caught and an honest one cleared, and the scripts."""

import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.cells import NAMES
from histogenesis.evaluation.collect import checked_splits
from histogenesis.evaluation.evaluate import evaluate
from histogenesis.evaluation.evaluate_pfid import pfid_metrics
from histogenesis.evaluation.sets import Sets, matched
from histogenesis.metrics.encoders.features import ImageSet
from histogenesis.metrics.encoders.registry import Encoder
from histogenesis.metrics.encoders.stain_statistics import stain_statistics
from histogenesis.patches.store import Cut, write_store
from histogenesis.recipe import EncoderFile, Evaluation

OPTIONS = Evaluation(n_resamples=10, images=60, n_folds=3, sensitivity_images=0, morphology_images=0, c2st_steps=0)


def blobs(n, seed, size=24, shift=0):
    """Smooth random stains, no two alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(n, size // 6 + 1, size // 6 + 1, 3)).repeat(6, 1).repeat(6, 2)[:, :size, :size]
    tint = np.array([200 - shift, 140, 190])
    return (tint + 25 * coarse + rng.normal(0, 6, (n, size, size, 3))).clip(0, 255).astype(np.uint8)


def image_set(name, images, patients, mpps=(2.0, 1.0)):
    n = len(images)
    patient = np.array([f"{patients}{i // 2 % 8}" for i in range(n)])
    return ImageSet(name, images, np.array(mpps)[np.arange(n) % len(mpps)], patient, patient)


def thumbnail(images):
    return images[:, ::3, ::3].reshape(len(images), -1).astype(np.float32) / 64


REFERENCES = {"patients", "patients_low", "patients_high", "ceilings", "compression", "scale"}
ENCODERS = [Encoder("stain-statistics", "0", stain_statistics, turned_alike=True), Encoder("thumbnail", "1", thumbnail)]


def sets(generated, n=240):
    train = image_set("train", blobs(n, 0), "train")
    return Sets(train, image_set("held_out", blobs(120, 1), "other"), image_set("generated", generated, "made"))


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    out = tmp_path_factory.mktemp("honest")
    return out, evaluate(sets(blobs(120, 2)), ENCODERS, OPTIONS, out)


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_two_processes_measure_the_same(tmp_path, one_thread):
    options = OPTIONS.model_copy(update={"c2st_steps": 5, "morphology_images": 20})
    outs = [tmp_path / str(n) for n in (1, 2)]
    for n, out in enumerate(outs, 1):
        also = {"more": os.getpid}
        few = sets(blobs(40, 2), 60)
        found = evaluate(few, ENCODERS, options.model_copy(update={"cpu_processes": n}), out, also=also)
        assert (found["more"] == os.getpid()) == (n == 1)
    for name in ("metrics.json", "metrics.csv", "memorisation.json", "closest_pairs.png", "c2st/1.png"):
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes(), name


def test_entries(honest):
    out, found = honest
    entries = json.loads((out / "metrics.json").read_text())
    assert len(entries) == len(found["metrics"])
    keys = {
        "name",
        "encoder",
        "mpp",
        "value",
        "low",
        "high",
        "floor",
        "floor_low",
        "floor_high",
        "n_real",
        "n_generated",
    }
    names = set()
    for entry in entries:
        if entry["kind"] in ("morphology", "classifier"):
            continue
        assert keys | REFERENCES | {"better", "file", "note", "kind", "speaks", "interval"} == set(entry)
        assert set(entry["ceilings"]) == {"phase", "bicubic"}
        names.add((entry["name"], entry["encoder"], entry["mpp"]))
        if entry["value"] is None:
            assert entry["name"] == "fid_infinity" and "too few to extrapolate" in entry["note"]
            continue
        if entry["name"].endswith("_mean"):
            continue
        assert entry["low"] <= entry["value"] <= entry["high"]
        assert entry["floor_low"] <= entry["floor"] <= entry["floor_high"]
        assert not entry["file"] or (out / entry["file"]).is_file()
    for metric in ("fid", "fid_infinity", "kid", "cmmd", "precision", "recall", "density", "coverage"):
        for encoder in ("stain-statistics", "thumbnail"):
            assert {(metric, encoder, m) for m in (None, 1.0, 2.0)} <= names
    assert ("ssim", "pixels", 1.0) in names
    assert ("likelihood", "pixels", 2.0) in names


def test_honest_model_is_near_the_floor_and_shows_no_copies(honest):
    out, found = honest
    audits = found["memorisation"]["encoders"]
    assert audits["stain-statistics"]["verdict"] == audits["thumbnail"]["verdict"] == "clear"
    assert found["memorisation"]["verdict"] == "not measured", "one copy in 48 patches would hardly have been found"
    assert audits["pixels"]["power"]["found"] < 0.8
    for entry in found["metrics"]:
        if entry["name"] == "kid" and entry["mpp"] is None:
            assert entry["low"] < entry["floor_high"]
            assert entry["high"] > entry["floor_low"]
            assert "8 patients against 8 synthetic slides" in entry["interval"]
    assert all(e["floor"] > 0 for e in found["metrics"] if e["name"] == "fid")  # two different halves
    warned = [e for e in found["metrics"] if e["name"] == "fid" and e["encoder"] == "thumbnail"]
    assert all("KID" in e["note"] for e in warned)  # 192 dimensions from 120 images
    assert Image.open(out / "closest_pairs.png").size[0] > 100


def test_every_number_stands_between_a_floor_and_ceilings(honest):
    """`scale` is 0 at the floor and 1 at phase noise."""
    _, found = honest
    for entry in found["metrics"]:
        if entry["name"] == "kid" and entry["encoder"] == "thumbnail" and entry["mpp"]:
            expected = (entry["value"] - entry["floor"]) / (entry["ceilings"]["phase"] - entry["floor"])
            assert entry["scale"] == pytest.approx(expected)
            assert entry["patients_low"] <= entry["patients"] <= entry["patients_high"]


def test_wrong_model_is_beyond_the_floor(tmp_path):
    found = evaluate(sets(blobs(120, 2, shift=40)), ENCODERS, OPTIONS, tmp_path)
    for entry in found["metrics"]:
        if entry["name"] in ("kid", "fid") and entry["encoder"] == "stain-statistics":
            assert entry["low"] > entry["floor_high"]


def test_overfitted_model_is_caught(tmp_path):
    """Generated patches are training patches, turned, with a little noise: the turned ones are found by their views."""
    train = blobs(240, 0)
    rng = np.random.default_rng(5)
    copies = np.ascontiguousarray(np.rot90(train[:120], axes=(1, 2)))
    copies = (copies + rng.normal(0, 3, copies.shape)).clip(0, 255).astype(np.uint8)
    found = evaluate(sets(copies), ENCODERS, OPTIONS, tmp_path)["memorisation"]
    assert found["verdict"] == "copies"
    assert found["encoders"]["thumbnail"]["verdict"] == "copies"
    assert all(pair["generated"] == pair["train"] for pair in found["encoders"]["thumbnail"]["closest"])
    assert json.loads((tmp_path / "memorisation.json").read_text())["verdict"] == "copies"


def test_too_few_and_nothing_at_all(tmp_path):
    few = sets(blobs(12, 2))
    rows, left_out = matched(few, 60)
    assert not rows
    assert "too few patches at 2 mpp" in left_out[2.0]
    found = evaluate(few, ENCODERS, OPTIONS, tmp_path / "few")
    assert found["memorisation"]["verdict"] == "not measured"
    assert all(e["value"] is None for e in found["metrics"])
    nothing = Sets(few.train, few.held_out.take(np.zeros(0, int)), few.generated)
    found = evaluate(nothing, ENCODERS, OPTIONS, tmp_path / "nothing")
    assert "no patches in: held_out" in found["memorisation"]["sentence"]
    assert (tmp_path / "nothing" / "closest_pairs.png").is_file()


def test_patients_of_a_few_patches_cost_a_cell_and_not_the_evaluation(tmp_path):
    """Held-out patients with 1, 2, 2, 5, 5 and 5 patches: every metric that can be computed is there, with why no interval."""
    whole = sets(blobs(20, 2))
    names = np.repeat(["a", "b", "c", "d", "e", "f"], [1, 2, 2, 5, 5, 5])
    held_out = whole.held_out.take(np.arange(20))
    held_out = ImageSet("held_out", held_out.images, np.full(20, 2.0), names, names)
    made = ImageSet("generated", whole.generated.images, np.full(20, 2.0), *[whole.generated.slide[:20]] * 2)
    train = ImageSet("train", whole.train.images, np.full(240, 2.0), *[whole.train.slide] * 2)
    found = evaluate(Sets(train, held_out, made), ENCODERS, OPTIONS, tmp_path)
    kid = next(e for e in found["metrics"] if e["name"] == "kid" and e["mpp"] == 2)
    assert kid["value"] is not None and kid["low"] is None
    assert kid["interval"].startswith("no interval, 6 patients, so unlike in size")
    infinite = next(e for e in found["metrics"] if e["name"] == "fid_infinity" and e["mpp"] == 2)
    assert infinite["value"] is None and "20 images are too few to extrapolate" in infinite["note"]
    assert (tmp_path / "metrics.csv").is_file() and (tmp_path / "memorisation.json").is_file()


def test_an_encoder_that_cannot_speak_leaves_the_others_their_say(tmp_path):
    def broken(images):
        raise BadInput("patches of 24 px are too small for it")

    found = evaluate(sets(blobs(120, 2)), [Encoder("broken", "2", broken), *ENCODERS[:1]], OPTIONS, tmp_path)
    (row,) = [e for e in found["metrics"] if e["encoder"] == "broken"]
    assert row["value"] is None and row["note"] == "patches of 24 px are too small for it"
    there = {(e["name"], e["mpp"]) for e in found["metrics"] if e["encoder"] == "stain-statistics"}
    assert {(name, mpp) for name in NAMES for mpp in (None, 1.0, 2.0)} <= there
    assert found["memorisation"]["encoders"]["broken"]["verdict"] == "not measured"


def test_few_at_each_mpp_count_together(tmp_path):
    found = evaluate(sets(blobs(30, 2)), ENCODERS[:1], OPTIONS, tmp_path)["metrics"]
    kid = {e["mpp"]: e for e in found if e["name"] == "kid"}
    assert list(kid) == [None]
    assert kid[None]["n_generated"] == 30
    assert {e["mpp"] for e in found if e["value"] is None and e["name"] != "fid_infinity"} == {1.0, 2.0}


def test_same_counts_at_each_mpp():
    rows, _ = matched(sets(blobs(200, 2)), 50)
    for mpp, parts in rows.items():
        assert [len(set(p)) for p in parts] == [50, 50, 50]
        assert all((s.mpp[p] == mpp).all() for s, p in zip(sets(blobs(200, 2)), parts))


SPLITS = "slide\tpatient\tsplit\tx_from\tx_to\n"


def test_splits_that_leak(tmp_path):
    path = tmp_path / "splits.tsv"
    path.write_text(SPLITS + "a\tp\ttrain\t0\t1\nb\tp\tvalidation\t0\t1\n")
    with pytest.raises(BadInput, match="share 1 patients"):
        checked_splits(path)
    path.write_text(SPLITS + "a\tp\ttrain\t0\t0.8\na\tp\tvalidation\t0.7\t1\n")
    with pytest.raises(BadInput, match="must not overlap"):
        checked_splits(path)
    path.write_text(SPLITS + "a\tp\ttrain\t0\t0.8\na\tp\tvalidation\t0.8\t1\n")
    assert len(checked_splits(path)) == 2
    with pytest.raises(BadInput, match="no such file"):
        checked_splits(tmp_path / "absent.tsv")


def test_options():
    with pytest.raises(ValueError, match="at least 2"):
        Evaluation(encoders=["he-network"])
    options = Evaluation.model_validate({"encoders": ["he-network", {"name": "uni", "file": "uni.pt"}]})
    assert options.encoders[1] == EncoderFile(name="uni", file="uni.pt")


class Picture:
    """A source for patch FID: one big array."""

    def __init__(self, seed, shift=0):
        self.image = np.concatenate(
            list(np.concatenate(list(row), axis=1) for row in blobs(144, seed, shift=shift).reshape(12, 12, 24, 24, 3))
        )
        self.name = self.patient = f"s{seed}"
        self.width_um = self.height_um = 288.0
        self.finest_mpp = 1.0

    def read(self, x_um, y_um, size_px, mpp):
        picture = Image.fromarray(self.image)
        box = (x_um, y_um, x_um + size_px * mpp, y_um + size_px * mpp)
        return np.asarray(picture.resize((size_px, size_px), Image.Resampling.BOX, box=box))


def test_pfid_entries():
    options = Evaluation(pfid_crops=100, n_resamples=10, pfid_resize_px=36)
    train, held_out, made, tinted = (
        [Picture(10 * k + i, shift) for i in range(6)] for k, shift in ((1, 0), (2, 0), (3, 0), (3, 40))
    )
    honest = pfid_metrics(ENCODERS[:1], train, held_out, made, [2.0, 1.0], 24, options, 1)
    wrong = pfid_metrics(ENCODERS[:1], train, held_out, tinted, [2.0, 1.0, 0.5], 24, options, 1)
    assert [e["name"] for e in honest] == ["pfid_any_resolution", "pfid_urcdm"]
    for good, bad in zip(honest, wrong):
        assert good["value"] < good["floor_high"]
        assert bad["low"] > bad["floor_high"]
        assert bad["floor"] == good["floor"]
    assert "0.5" not in wrong[1]["note"]  # finer than the slides: left out
    assert honest[0]["interval"] == "95 % by patient (6 patients against 6 patients)"
    few = pfid_metrics(ENCODERS[:1], train, held_out[:2], made, [1.0], 24, options, 1)[0]
    assert few["value"] > 0 and few["low"] is None
    assert few["interval"] == "no interval, 2 patients; at least 6 are needed"
    assert pfid_metrics(ENCODERS[:1], [], held_out, made, [1.0], 24, options, 1) == []


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A tiny run: two real slides' patches, one synthetic slide of three levels."""
    run = tmp_path_factory.mktemp("run")
    (run / "patches").mkdir()
    for i, slide in enumerate("ab"):
        images = blobs(120, i)
        coords, mpp = np.arange(240).reshape(120, 2) * 20, np.repeat([2.0, 1.0, 4.0], [50, 60, 10])
        cut = Cut(slide, 24, 5000, 5000, 1.0, coords, mpp, np.ones(120, np.float32))
        write_store(run / "patches" / f"{slide}.h5", cut, images)
    (run / "splits.tsv").write_text(SPLITS + "a\tp\ttrain\t0\t1\nb\tq\tvalidation\t0\t1\n")
    folder = run / "synthetic" / "synthetic_001"
    folder.mkdir(parents=True)
    finest = np.concatenate(list(np.concatenate(list(row), axis=1) for row in blobs(144, 7).reshape(12, 12, 24, 24, 3)))
    for k, f in enumerate((4, 2, 1)):
        with h5py.File(folder / f"level{k}.h5", "w") as file:
            file["image"] = np.ascontiguousarray(finest[::f, ::f])
            file.attrs.update({"mpp": float(f), "level": k, "slide": "synthetic_001"})
    Image.fromarray(np.full((72, 72), 255, np.uint8)).save(folder / "plan.png")
    return run


def script(root, name, *arguments, check=True):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(root / "workflow" / "scripts" / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=check, env=environment)


def test_scripts(root, run_dir):
    options = (
        '{"n_resamples":10,"encoders":["stain-statistics","he-network"],"sensitivity_images":20,"morphology_images":20,'
    )
    options += '"c2st_steps":3,"copy_views":false}'
    real = ["--patches", run_dir / "patches", "--splits", run_dir / "splits.tsv", "--options", options]
    both = [*real, "--synthetic", run_dir / "synthetic"]
    out = run_dir / "evaluation"
    script(root, "extract_features.py", *both, "--encoder", "he-network", "--out", out / "features" / "he-network")
    made = {p.name: p.stat().st_mtime_ns for p in (out / "features" / "he-network").iterdir()}
    assert set(made) == {f"{name}.h5" for name in ("train", "held_out", "generated", "phase", "bicubic", "compression")}
    found = script(root, "evaluate_patches.py", *both, "--out", out)
    assert found.stdout.strip() == json.loads((out / "memorisation.json").read_text())["sentence"]
    assert made == {p.name: p.stat().st_mtime_ns for p in (out / "features" / "he-network").iterdir()}  # taken again
    entries = json.loads((out / "metrics.json").read_text())
    kid = next(e for e in entries if e["name"] == "kid" and e["encoder"] == "he-network" and e["mpp"] == 1)
    assert kid["n_real"] == kid["n_generated"] == 60
    assert any(e["mpp"] == 4 and e["value"] is None and "too few" in e["note"] for e in entries)
    first = (out / "metrics.json").read_bytes(), (out / "memorisation.json").read_bytes()
    script(root, "evaluate_patches.py", *both, "--out", run_dir / "again")
    assert first == tuple((run_dir / "again" / n).read_bytes() for n in ("metrics.json", "memorisation.json"))


def test_scripts_name_what_is_missing(root, run_dir, tmp_path):
    real = ["--patches", run_dir / "patches", "--splits", run_dir / "splits.tsv"]
    found = script(root, "evaluate_patches.py", *real, "--synthetic", tmp_path, "--out", tmp_path, check=False)
    assert found.returncode == 1
    assert found.stderr.strip().startswith(f"error: {tmp_path}: no synthetic slide lies there")
    uni = ["--options", '{"encoders":["he-network",{"name":"uni","file":"absent.pt"}]}']
    found = script(root, "evaluate_patches.py", *real, *uni, "--synthetic", tmp_path, "--out", tmp_path, check=False)
    assert found.returncode == 1
    assert found.stderr.strip().startswith("error: absent.pt: no such encoder file")
