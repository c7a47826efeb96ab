"""What an interval leaves out together, which patches are repeats, and what a sample of the training patches may say."""

from dataclasses import replace

import numpy as np
import pytest

from histogenesis.evaluation.evaluate_copies import audit_encoder
from histogenesis.evaluation.sets import Sets
from histogenesis.evaluation.units import origins, units
from histogenesis.metrics.encoders.features import FeatureSet, ImageSet
from histogenesis.metrics.encoders.registry import Encoder
from histogenesis.recipe import Evaluation

IMAGES = np.random.default_rng(0).integers(0, 255, (60, 8, 8, 3), dtype=np.uint8)


def image_set(name, patients, slides):
    return ImageSet(
        name, IMAGES, np.ones(60), np.repeat(slides, 60 // len(slides)), np.repeat(patients, 60 // len(patients))
    )


@pytest.mark.parametrize(
    "name,patients,slides,kind,many",
    [
        ("held_out", ["a", "b", "c"], ["s", "t", "u", "v", "w", "x"], "patient", 3),
        ("held_out", ["a"], ["s", "t", "u"], "slide", 3),
        ("held_out", ["a"], ["s"], "slide", 1),
        ("generated", ["m", "n"], ["m", "n"], "synthetic slide", 2),
    ],
)
def test_units_are_patients_before_slides_and_never_patches(name, patients, slides, kind, many):
    found = units(image_set(name, patients, slides), np.arange(60))
    assert (found.kind, found.many) == (kind, many)


def test_turned_copies_are_one_origin_and_what_a_model_repeats_is_not_forgiven():
    turned = np.concatenate([IMAGES[:3], np.rot90(IMAGES[:3], 1, axes=(1, 2)), IMAGES[:3, :, ::-1], IMAGES[3:54]])
    held_out = replace(image_set("held_out", ["a"], ["s"]), images=turned)
    assert (origins(held_out)[:9].reshape(3, 3) == origins(held_out)[:3]).all()
    assert len(set(origins(held_out).tolist())) == 54
    assert len(set(origins(replace(held_out, name="generated")).tolist())) == 60


@pytest.mark.parametrize("of,verdict", [(60, "clear"), (6000, "not measured")])
def test_an_encoder_that_saw_a_sample_of_the_training_patches_clears_nobody(of, verdict):
    rng = np.random.default_rng(1)
    sets = Sets(*(image_set(name, ["a"], ["s"]) for name in ("train", "held_out", "generated")))
    sets = replace(sets, train=replace(sets.train, of=of))
    features = [FeatureSet(s.name, rng.normal(size=(60, 4)), "e", "0", np.zeros(0)) for s in sets]
    encoder = Encoder("e", "0", lambda images: rng.normal(size=(len(images), 4)), turned_alike=True)
    assert audit_encoder(encoder, sets, features, Evaluation())["verdict"] == verdict


@pytest.mark.parametrize("copied,verdict", [(0, "clear"), (10, "copies")])
def test_turned_copies_are_found_in_eight_views_and_honest_patches_cleared(copied, verdict):
    """An encoder of single pixels, to which a turned patch is another; ten generated ones are training patches, turned."""
    rng = np.random.default_rng(3)

    def some(name, images):
        return ImageSet(name, images, np.ones(len(images)), np.repeat("s", len(images)), np.repeat(name, len(images)))

    train, held_out, generated = (rng.integers(0, 255, (120, 8, 8, 3), dtype=np.uint8) for _ in range(3))
    generated[:copied] = np.rot90(train[:copied], 1, axes=(1, 2))
    sets = Sets(some("train", train), some("held_out", held_out), some("generated", generated))
    encoder = Encoder("pixels", "0", lambda images: images[:, ::3, ::3].reshape(len(images), -1).astype(np.float32))
    features = [FeatureSet(s.name, encoder.encode(s.images), "pixels", "0", np.zeros(0)) for s in sets]
    assert audit_encoder(encoder, sets, features, Evaluation(copy_views=True))["verdict"] == verdict
