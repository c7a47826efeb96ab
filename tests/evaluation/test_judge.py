"""Pictures made elsewhere are judged against a run's real patches; both sides go through the slides' codec."""

import json

import numpy as np
import pytest
from PIL import Image

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.collect import real_set
from histogenesis.evaluation.judge import folder_set, judge, slide_set
from histogenesis.evaluation.sets import Sets
from histogenesis.evaluation.treatment import codec_of_slides, treated
from histogenesis.metrics.encoders.features import ImageSet
from histogenesis.metrics.sensitivity import distorted, jpeg
from histogenesis.patches.dataset import PatchCollection
from histogenesis.patches.store import Cut, write_store
from histogenesis.recipe import Evaluation
from histogenesis.slides.codec import Codec
from histogenesis.slides.read import open_slide

N, MPP, PX = 24, 1.0, 32
OPTIONS = Evaluation(
    encoders=["stain-statistics", "he-network"], images=N, n_resamples=10, sensitivity_images=N, morphology_images=N,
    c2st_steps=25, copy_views=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory, cmu_slide):
    """A patch set of one real slide: its left half was trained on, its right half is held out."""
    folder = tmp_path_factory.mktemp("run")
    with open_slide(cmu_slide) as slide:
        whole = slide.overview(MPP)
    at = [(y, x) for y in range(0, whole.shape[0] - PX, PX) for x in range(0, whole.shape[1] - PX, PX)]
    images = np.stack([whole[y : y + PX, x : x + PX] for y, x in at])
    rows = np.flatnonzero((images.min(axis=-1) < 200).mean(axis=(1, 2)) > 0.6)
    xs = np.array([at[i][1] for i in rows])
    left, right = (rows[np.flatnonzero(side)[:: max(1, side.sum() // (2 * N))]] for side in (xs < 500, xs >= 500))
    (folder / "patches").mkdir()
    for name, part in (("a", left), ("b", right[::2])):
        coords = np.array([at[i][::-1] for i in part], np.int64) * 2
        cut = Cut(name, PX, 2220, 2967, 0.499, coords, np.full(len(part), MPP), np.ones(len(part), np.float32))
        write_store(folder / "patches" / f"{name}.h5", cut, images[part])
    (folder / "splits.tsv").write_text(
        "slide\tpatient\tsplit\tx_from\tx_to\na\tp\ttrain\t0\t1\nb\tq\tvalidation\t0\t1\n"
    )
    for name, made in (("real", images[right[1::2]]), ("noise", distorted("speckle", images[right[1::2]]))):
        (folder / name).mkdir()
        for k, image in enumerate(made):
            Image.fromarray(image).save(folder / name / f"{k}.png")
    return folder


def judged(run, name, out):
    found = judge(run / name, run / "patches", run / "splits.tsv", OPTIONS, out, MPP)
    return {(e["name"], e["encoder"], e["mpp"]): e for e in found["metrics"]}


def test_real_patches_come_out_as_real_and_speckle_does_not(run, tmp_path):
    real, noise = (judged(run, name, tmp_path / name) for name in ("real", "noise"))
    kid = "kid", "he-network", MPP
    assert real[kid]["scale"] < 0.5 < noise[kid]["scale"]
    seen = json.loads((tmp_path / "real/sensitivity.json").read_text())["encoders"]["he-network"]
    assert real[kid]["speaks"] is seen["mpps"]["1"]["speaks"]["distance"]
    c2st = "c2st", "small-network", MPP
    assert real[c2st]["value"] < 0.75 < noise[c2st]["value"]
    assert noise[c2st]["ceilings"]["phase"] is not None
    nuclei = "nuclei_per_mm2", "nuclei", MPP
    assert noise[nuclei]["generated"] < 0.7 * noise[nuclei]["real"]
    assert real[nuclei]["value"] < noise[nuclei]["value"]
    assert ("epithelium", "tissue", MPP) in real and ("stain_vectors", "stain", MPP) in real
    for entry in [*real.values(), *noise.values()]:
        if entry["kind"] == "morphology" and entry["value"] is not None:
            assert entry["low"] is None and "no interval" in entry["interval"]  # one held-out patient
    shown = json.loads((tmp_path / "noise" / noise[c2st]["file"]).with_suffix(".json").read_text())
    assert {s["set"] for s in shown} == {"train", "held_out", "generated"}


def test_copies_are_looked_for_among_all_training_patches_and_not_in_a_sample(run, tmp_path):
    """The audit by pixels finds copies of the training patches that no encoder was shown."""
    options = OPTIONS.model_copy(
        update={"train_images": N, "c2st_steps": 0, "morphology_images": 0, "sensitivity_images": 0}
    )
    everything = PatchCollection(run / "patches", run / "splits.tsv", "train")
    shown = {image.tobytes() for image in real_set(run / "patches", run / "splits.tsv", "train", N, 1).images}
    unseen = [image for image in everything.read(np.arange(len(everything))) if image.tobytes() not in shown][:N]
    assert len(shown) == N and len(unseen) >= 20
    (tmp_path / "copies").mkdir()
    for k, image in enumerate(unseen):
        Image.fromarray(image).save(tmp_path / f"copies/{k}.png")
    judge(tmp_path / "copies", run / "patches", run / "splits.tsv", options, tmp_path / "out", MPP)
    found = json.loads((tmp_path / "out/memorisation.json").read_text())
    assert found["verdict"] == found["encoders"]["pixels"]["verdict"] == "copies"


def test_a_slide_of_a_scanner_can_be_judged(cmu_slide):
    made = slide_set(cmu_slide, None, [2.0, 1.0, 0.25], PX, 12, 0.5, 1)
    assert sorted(made.mpp.tolist()) == [1.0] * 12 + [2.0] * 12  # 0.25 is finer than the slide
    assert (made.images.min(axis=-1) < 220).mean(axis=(1, 2)).min() >= 0.5
    np.testing.assert_array_equal(made.images, slide_set(cmu_slide, None, [2.0, 1.0], PX, 12, 0.5, 1).images)
    with pytest.raises(BadInput, match="no place with tissue"):
        slide_set(cmu_slide, None, [0.25], PX, 12, 0.5, 1)


def test_a_folder_of_larger_images_is_cut(tmp_path):
    big = np.arange(70 * 100 * 3, dtype=np.uint32).reshape(70, 100, 3).astype(np.uint8)
    Image.fromarray(big).save(tmp_path / "a.png")
    found = folder_set(tmp_path, 1.01, [2.0, 1.0], PX, 50, 1)
    assert found.images.shape == (6, PX, PX, 3)
    np.testing.assert_array_equal(found.images[0], big[:PX, :PX])
    assert found.mpp.tolist() == [1.0] * 6
    for mpp, words in ((None, "its mpp is not known"), (3.0, "no real patches at 3 mpp")):
        with pytest.raises(BadInput, match=words):
            folder_set(tmp_path, mpp, [2.0, 1.0], PX, 50, 1)
    with pytest.raises(BadInput, match="fewer than the real patches"):
        folder_set(tmp_path, 1.0, [1.0], 128, 50, 1)


def test_both_sides_go_through_the_codec_of_the_slides(tmp_path, cmu_slide):
    record = {"error": None, "path": str(cmu_slide), "mpp": 0.499}
    (tmp_path / "a.json").write_text(json.dumps(record))
    codec, said = codec_of_slides(tmp_path, tmp_path, ["a", "absent"])
    assert codec == Codec(30, 0)  # what Aperio's software wrote: its ImageDescription says Q=30
    assert "JPEG, quality 30, 4:4:4, as the real slides' tiles say" in said
    images = np.random.default_rng(0).integers(0, 256, (3, PX, PX, 3), dtype=np.uint8)
    sets = Sets(*(ImageSet(n, images, np.ones(3), np.array(["a"] * 3), np.array(["p"] * 3)) for n in "xyz"))
    for one in treated(sets, Evaluation(), tmp_path, tmp_path):
        np.testing.assert_array_equal(one.images, jpeg(images, None, 30, 0))
    asked = treated(sets, Evaluation(codec={"quality": 75}), tmp_path, tmp_path)
    np.testing.assert_array_equal(asked.generated.images, jpeg(images, None, 75, 2))
    assert asked.codec == Codec(75, 2)
    left = treated(sets, Evaluation(codec="none"))
    assert left.generated.images is images and left.codec is None and "no codec" in left.treatment
