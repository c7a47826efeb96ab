"""Classes that are told by given vectors: what is read, what the network hears of it, and what comes back from the files."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from histogenesis.core.errors import BadInput
from histogenesis.models.conditioning import Conditioning, NetworkInputs
from histogenesis.models.label_embeddings import read_label_embeddings
from histogenesis.models.model import build_model, load_model, save_model
from histogenesis.models.networks import network_class
from histogenesis.models.networks.keys import keys_of
from histogenesis.models.normalisation import Normalisation
from histogenesis.models.options import Options
from histogenesis.recipe import Model, RecipeError, parse_recipe

VECTORS = torch.tensor([[1.0, 0.0, 2.0], [-3.0, 1.0, 0.5], [1.0, 0.0, 2.0]])  # the third class is told as the first is
SMALL = {
    "ddpmpp": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention_levels": [1], "heads": 2},
    "cross-attention-unet": {
        "channels": 8,
        "multipliers": [1, 2],
        "blocks": 1,
        "attention_levels": [1],
        "heads": 2,
        "context_channels": 8,
    },
    "post-norm-unet": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention_levels": [1], "heads": 2},
}


def network_of(kind):
    torch.manual_seed(0)
    keys = keys_of(Options.of({"kind": kind} | SMALL[kind]))
    network = network_class(kind)(keys, NetworkInputs(image_px=16, classes=3, label_width=3))
    for parameter in network.parameters():  # last layers begin with zeros
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    network.label_embedding.give(VECTORS)
    return network.eval()


@pytest.mark.parametrize("kind", SMALL)
def test_a_class_is_what_its_vector_says(kind):
    network = network_of(kind)
    x, noise = torch.randn(1, 3, 16, 16).expand(4, -1, -1, -1), torch.full((4,), 0.3)
    with torch.no_grad():
        y = network(x, noise, label_b=torch.tensor([0, 1, 2, -1]))
    assert torch.allclose(y[0], y[2], atol=1e-6), "two classes with one vector"
    assert (y[0] - y[1]).abs().max() > 1e-3 and (y[0] - y[3]).abs().max() > 1e-3


def test_the_token_is_the_vector_through_one_layer():
    """By NumPy: scaled to a root mean square of 1 over all classes, then times the layer's weights."""
    network = network_of("cross-attention-unet")
    told = network.embeddings(Conditioning(torch.ones(2), None, None, None, torch.tensor([1, -1])))[-1].detach().numpy()
    scaled = VECTORS.numpy()[1] / np.sqrt((VECTORS.numpy() ** 2).mean())
    weights, bias = (network.label_embedding.layer.state_dict()[key].numpy() for key in ("weight", "bias"))
    np.testing.assert_allclose(told[0], weights @ scaled + bias, rtol=1e-5)
    np.testing.assert_array_equal(told[1], network.label_embedding.none.detach().numpy())


def test_the_vectors_are_saved_with_the_weights_and_are_not_learned(tmp_path):
    section = {
        "patches": "p",
        "conditions": ["label"],
        "label_embeddings": {"file": "gone.csv", "width": 3},
        "network": {"kind": "ddpmpp"} | SMALL["ddpmpp"],
        "training": {"steps": 1},
    }
    section = Model.model_validate(section)
    model = build_model(section, 16, Normalisation.unit(), ["a", "b", "c"])
    model.network.label_embedding.give(VECTORS)
    assert "label_embedding.vectors" not in dict(model.network.named_parameters())
    metadata = {"patch_px": 16, "classes": ["a", "b", "c"], "mpps": [], "images": 0, "steps": 0}
    save_model(tmp_path, model.network.state_dict(), section, Normalisation.unit(), **metadata)
    read = load_model(tmp_path)  # without the file of the recipe
    assert torch.equal(read.network.label_embedding.vectors, model.network.label_embedding.vectors)


def test_rows_are_found_by_name(tmp_path):
    file = tmp_path / "classes.csv"
    file.write_text('\ufeffnormal,1,2.5,-3e-2\n\nunused,0,0,1\n"tumour, G3",0,0,0\n')
    found = read_label_embeddings(file, ["unused", "normal"], 3)
    np.testing.assert_array_equal(found, np.array([[0, 0, 1], [1, 2.5, -3e-2]], np.float32))
    with pytest.raises(BadInput, match="'tumour, G3' has a number that is not finite, or none but zeros"):
        read_label_embeddings(file, ["tumour, G3"], 3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("normal,1,2\n", "no row for class tumour; it has normal"),
        ("normal,1,2\ntumour,1\n", "class 'tumour' has 1 numbers, and `width` is 2"),
        ("normal,1,2\ntumour,1,x\n", "class 'tumour': could not convert string to float: 'x'"),
        ("normal,1,2\ntumour,1,nan\n", "class 'tumour' has a number that is not finite"),
        ("normal,1,2\ntumour,1,2\nnormal,3,4\n", "class 'normal' is there twice"),
        ("", "no row for class normal, tumour; it has none"),
    ],
)
def test_a_file_that_does_not_serve_is_named_with_the_remedy(tmp_path, text, says):
    (tmp_path / "e.csv").write_text(text)
    with pytest.raises(BadInput, match=rf"e\.csv: {says}"):
        read_label_embeddings(tmp_path / "e.csv", ["normal", "tumour"], 2)
    with pytest.raises(BadInput, match=r"gone\.csv: not to be read as CSV"):
        read_label_embeddings(tmp_path / "gone.csv", ["normal"], 2)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=4), min_size=1, max_size=5))
def test_numbers_come_back_as_they_were_written(tmp_path_factory, rows):
    rows = [row if any(row) else [1.0, 0, 0, 0] for row in rows]
    file = tmp_path_factory.mktemp("e") / "e.csv"
    file.write_text("".join(f"c{k},{','.join(map(repr, row))}\n" for k, row in enumerate(rows)))
    found = read_label_embeddings(file, [f"c{k}" for k in range(len(rows))], 4)
    np.testing.assert_array_equal(found, np.array(rows, np.float32))


def test_a_model_that_is_told_no_class_has_none_to_be_given():
    model = {"patches": "p", "label_embeddings": {"file": "e.csv", "width": 2}, "training": {"steps": 1}}
    with pytest.raises(RecipeError, match="label_embeddings: the model is told no class: add `label`"):
        parse_recipe({"run": "r", "patches": {"p": {"size_px": 16, "mpps": [1]}}, "models": {"m": model}}, "r.yaml")
