"""A recipe that extends another is what the two say together; what cannot be is refused in one line."""

import json

import jsonschema
import pytest
import yaml

from histogenesis.recipe import RecipeError, extended, load_recipe, read_recipe, recipe_schema

BASE = """
run: base
seed: 5
tissue: {mpp: 10, method: otsu}
patches:
  a: {size_px: 16, mpps: [8, 4]}
  b: {size_px: 32, mpps: [8]}
models:
  m: {patches: a, objective: {kind: edm, p_mean: -1}, training: {steps: 10, lr: 1.0e-3}}
"""


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    write("base.yaml", BASE)
    return write


def test_keys_are_laid_over_each_other_and_lists_replaced_whole(write):
    values = read_recipe(
        write(
            "own.yaml",
            "extends: base.yaml\nrun: own\ntissue: {mpp: 20}\npatches: {a: {mpps: [2]}, b: null, c: {size_px: 8, mpps: [1]}}\n"
            "models: {m: {training: {steps: 20}}}\n",
        )
    )
    assert values == {
        "run": "own",
        "seed": 5,
        "tissue": {"mpp": 20, "method": "otsu"},
        "patches": {"a": {"size_px": 16, "mpps": [2]}, "c": {"size_px": 8, "mpps": [1]}},
        "models": {
            "m": {"patches": "a", "objective": {"kind": "edm", "p_mean": -1}, "training": {"steps": 20, "lr": 1e-3}}
        },
    }


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (
            "m: {objective: {kind: eps}}",
            {"objective": {"kind": "eps"}},
        ),  # another kind: nothing of the first is left in it
        ("m: {objective: {kind: edm, p_std: 1}}", {"objective": {"kind": "edm", "p_mean": -1, "p_std": 1}}),
        ("m: {path: models/m}", None),  # another nature: imported, where the base trains
        ("m: {winner_of: s, patches: a}", None),
    ],
)
def test_a_section_of_another_nature_replaces_the_section_whole(write, section, expected):
    found = read_recipe(write("own.yaml", f"extends: base.yaml\nrun: own\nmodels: {{{section}}}\n"))["models"]["m"]
    assert found == yaml.safe_load(section)["m"] if expected is None else found["objective"] == expected["objective"]


def test_a_model_that_was_taken_may_be_trained(write):
    write("taken.yaml", "extends: base.yaml\nrun: taken\nmodels: {m: {pretrained: gut}}\n")
    trained = "{patches: a, training: {steps: 3}}"
    found = read_recipe(write("own.yaml", f"extends: taken.yaml\nrun: own\nmodels: {{m: {trained}}}\n"))["models"]["m"]
    assert found == yaml.safe_load(trained)


def test_a_chain_is_followed_each_from_its_own_folder(write, tmp_path):
    write("site/middle.yaml", "extends: ../base.yaml\nrun: middle\nseed: 6\n")
    values = read_recipe(write("own.yaml", "extends: site/middle.yaml\nrun: own\n"))
    assert values["seed"] == 6 and values["tissue"]["method"] == "otsu" and values["run"] == "own"


def test_the_runs_name_is_not_inherited(write):
    with pytest.raises(RecipeError, match="run: "):
        load_recipe(write("own.yaml", "extends: base.yaml\n"))


def test_neither_side_is_changed_by_the_merge(write, tmp_path):
    own = {"extends": "base.yaml", "run": "own", "patches": {"a": {"mpps": [2]}}}
    before = json.dumps(own)
    values = extended(own, [tmp_path], "own")
    values["patches"]["a"]["mpps"].append(1)
    assert json.dumps(own) == before


def test_recipes_that_come_with_the_workflow_are_found_from_anywhere(write, root):
    values = read_recipe(write("own.yaml", "extends: harb.yaml\nrun: own\npatches: {main: {per_slide: 7}}\n"))
    shipped = read_recipe(root / "config/harb.yaml")
    shipped["patches"]["main"]["per_slide"] = 7
    assert values == shipped | {"run": "own"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: absent.yaml\nrun: r\n", r"own.yaml: extends: there is no absent.yaml in .*; give its path"),
        ("extends: own.yaml\nrun: r\n", r"in a circle \(own.yaml -> own.yaml\)"),
        ("extends: round.yaml\nrun: r\n", r"in a circle \(own.yaml -> round.yaml -> own.yaml\)"),
        ("extends: [a.yaml, b.yaml]\nrun: r\n", r"extends: \['a.yaml', 'b.yaml'\] is no file"),
        ("extends: broken.yaml\nrun: r\n", r"broken.yaml: line 2, column 1: no valid YAML"),
        ("run: r\n\tseed: 1\n", r"own.yaml: line 2, column 1: no valid YAML .*spaces, not tabs"),
        ("- a list\n", "own.yaml: is not a recipe"),
        ("", "own.yaml: is not a recipe"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(write, text, message):
    write("round.yaml", "extends: own.yaml\nrun: r\n")
    write("broken.yaml", "run: [r\n")
    with pytest.raises(RecipeError, match=message) as error:
        read_recipe(write("own.yaml", text))
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"absent.yaml: cannot be read \(No such file"):
        read_recipe(tmp_path / "absent.yaml")


def test_no_recipe_of_ours_says_again_what_it_inherits(root):
    """Each recipe that extends another leaves out what is as there: taking a section away changes what the recipe is."""
    extending = 0
    for path in sorted((root / "config").glob("**/*.yaml")):
        own = yaml.safe_load(path.read_text())
        if "extends" not in own:
            continue
        extending += 1
        whole = read_recipe(path)
        for section in sorted(set(own) - {"extends", "run"}):
            less = {key: value for key, value in own.items() if key != section}
            assert extended(less, [path.parent], path.name) != whole, (
                f"{path}: {section} is as in the recipe it extends"
            )
    assert extending >= 10


def test_the_schema_accepts_what_extends_and_refuses_what_is_misspelt(root):
    check = jsonschema.validators.validator_for(recipe_schema())(recipe_schema())
    for path in sorted((root / "config").glob("**/*.yaml")):
        values = json.loads(json.dumps(yaml.safe_load(path.read_text())))
        assert [error.message for error in check.iter_errors(values)] == [], path
    assert list(check.iter_errors({"run": "r", "extends": "harb.yaml", "patches": {"main": {"per_slides": 7}}}))
    assert list(check.iter_errors({"run": "r", "extends": "harb.yaml", "patchs": {}}))
