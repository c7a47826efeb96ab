"""What counts as the same: every byte, but for the name of the code in a file of arrays."""

import json

import h5py
import numpy as np
import pytest

from histogenesis.provenance.same import link, same_content


def level(path, image, drawing="a", mpp=1.0, name="image"):
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=image, chunks=True, compression="lzf")
        file.attrs.update({"drawing": drawing, "mpp": mpp})
    return path


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (2500, 8, 3), np.uint8)


def test_other_code_and_the_same_pixels_are_the_same(tmp_path, image):
    assert same_content(level(tmp_path / "a.h5", image), level(tmp_path / "b.h5", image, "b"))


@pytest.mark.parametrize("change", ["pixel", "mpp", "name", "shape", "type"])
def test_anything_else_is_not(change, tmp_path, image):
    other, more = image.copy(), {}
    if change == "pixel":
        other[-1, -1, -1] ^= 1
    more = {"mpp": {"mpp": 2.0}, "name": {"name": "picture"}}.get(change, {})
    other = {"shape": other[:-1], "type": other.astype(np.int16)}.get(change, other)
    assert not same_content(level(tmp_path / "a.h5", image), level(tmp_path / "b.h5", other, **more))


@pytest.mark.parametrize("loss, same", [(0.5, True), (0.25, False)])
def test_of_a_log_the_time_does_not_count(loss, same, tmp_path):
    paths = [tmp_path / name / "train.jsonl" for name in "ab"]
    for path, line in zip(
        paths, [{"step": 3, "loss": 0.5, "seconds": 1.25}, {"step": 3, "loss": loss, "seconds": 2.5}]
    ):
        path.parent.mkdir()
        path.write_text('{"step": 1, "validation_loss": 2}\n' + json.dumps(line) + "\n")
    assert same_content(*paths) is same


@pytest.mark.parametrize("cut_off", ['{"step": 1, "lo', "[1]"])
def test_a_log_that_was_cut_off_is_another(cut_off, tmp_path):
    (tmp_path / "a.jsonl").write_text(cut_off + "\n")
    (tmp_path / "b.jsonl").write_text('{"step": 1}\n')
    assert not same_content(tmp_path / "a.jsonl", tmp_path / "b.jsonl")


def test_folders_and_other_files(tmp_path):
    for name, text in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t.json").write_text(text)
        (tmp_path / name / ".snakemake_timestamp").write_text(name)
    assert same_content(tmp_path / "a", tmp_path / "b") and not same_content(tmp_path / "a", tmp_path / "c")
    (tmp_path / "b/more.json").write_text("z")
    assert not same_content(tmp_path / "a", tmp_path / "b")
    (tmp_path / "cut.h5").write_bytes(b"no HDF5")
    assert not same_content(tmp_path / "cut.h5", level(tmp_path / "whole.h5", np.zeros(3)))


def test_what_is_kept_outlives_what_it_was_kept_of(tmp_path):
    """Also where a run has only a link to it, in a folder that other runs share."""
    store, run = tmp_path / "store/a", tmp_path / "results/run"
    for folder in (store, run):
        folder.mkdir(parents=True)
    (store / "x.h5").write_text("x")
    (run / "x.h5").symlink_to("../../store/a/x.h5")
    (run / "folder").mkdir()
    (run / "folder/y").write_text("y")
    for name in ("x.h5", "folder"):
        link(run / name, tmp_path / "state/deep/before" / name)
    (run / "x.h5").unlink()
    (run / "folder/y").unlink()
    before = tmp_path / "state/deep/before"
    assert (before / "x.h5").read_text() == "x" and (before / "folder/y").read_text() == "y"
