"""Every key of the schema: what it declares (it bears on bytes, or it does not) is what happens to the steps' identities."""

import argparse
import json
import types
import typing
from types import SimpleNamespace

import pytest
import yaml
from pydantic import BaseModel

from histogenesis.recipe import Recipe, load_recipe, parse_recipe
from histogenesis.recipe.base import NO_BYTES, Section
from histogenesis.recipe.identity import bearing, bears_on_bytes, identity, section_text
from histogenesis.recipe.told import TOLD, recipe_of_text, recipe_text, told

RECIPES = [
    "test/harb",
    "test/son",
    "test/diffusion4path",
    "test/urcdm",
    "test/latent",
    "test/baselines",
    "test/harb-classes",
]
EVERYTHING = """
run: everything
slides: {table: slides.tsv, phantoms: [{name: p}]}
patches:
  cut: {size_px: 64, mpps: [16, 8], skip_background: {}, context_ratio: 4}
  drawn: {kind: regions, size_px: 64, mpps: [8], classes: [a, b]}
models:
  taken: {path: elsewhere/models/x}
  vq:
    patches: cut
    network: {kind: vq-f4, weights: {path: published, sha256: SHA}}
    objective: {kind: autoencoder, perceptual: {file: vgg16.pt, sha256: SHA}, adversarial: {}}
    conditions: []
    training: {steps: 10}
  pixels: {patches: cut, network: {kind: guided-unet}, training: {steps: 10, batch: 8}}
  tokens: {patches: cut, network: {kind: jit}, objective: {kind: flow}, training: {steps: 10, batch: 8}}
  larger:
    patches: cut
    conditions: [mpp, lowres]
    lowres_factor: 4
    lowres_noise_limit: 0.5
    network: {kind: guided-unet}
    training: {steps: 10, batch: 8}
samples:
  enlarged: {model: larger, cascade: [{model: pixels, tile_px: 16}]}
  some: {model: pixels, compare: drawn, sampler: {kind: dpmpp-2m, threshold: {}, epsilon_scaling: {}}}
synthetic:
  levels:
    - {mpp: 16, size_px: [64, 64], model: pixels, tile_px: 64}
    - {mpp: 8, model: taken, tile_px: 64, constraint: {kind: null-space, relaxation: {sigma: 0.3}},
       joining: {kind: average, stride_px: 32}}
    - {mpp: 4, kind: upscale, method: {kind: tv-l1}}
reading:
  whole: {kind: whole-slides, each: 1}
  pairs: {kind: pairs, mpps: [16, 8]}
  survey: {kind: survey, samples: some}
evaluation:
  patches: cut
  encoders: [efficientnet-lite0, {name: phikon, file: phikon.pt}]
  tstr: {}
  codec: {quality: 80}
"""
GIVEN = """
synthetic:
  levels:
    - {mpp: 16, size_px: [64, 64], kind: given, slide: p}
    - {mpp: 8, model: pixels, tile_px: 64}
    - {mpp: 4, model: taken, tile_px: 64, constraint: {kind: lowres-null-space, relaxation: {sigma: 0.3}}}
"""
# Keys that bear on bytes by other ways than a step's words, each with the way.
OTHERWISE = {
    ("Recipe", "run"): "the folder of all results",
    ("Study", "grid"): "carried out: what it stands for are models, samples and cells",
    ("Study", "seeds"): "carried out, likewise",
    ("Phantom", "label"): "a slide's row, which patch sets with labels are told",
    ("PatchSet", "kind"): "which rule cuts them",
}


def made_up(root) -> list[Recipe]:
    everything = parse_recipe(yaml.safe_load(EVERYTHING.replace("SHA", "a" * 64)))
    given = yaml.safe_load(EVERYTHING.replace("SHA", "a" * 64)) | yaml.safe_load(GIVEN)
    return [*(load_recipe(root / f"config/{name}.yaml") for name in RECIPES), everything, parse_recipe(given)]


def jobs(recipe: Recipe) -> dict[tuple, object]:
    """What decides on a run's jobs, as far as the recipe goes: (rule, wildcards) -> what it is told, and which set it reads."""
    found = {}

    def add(rule, reads=None, **wildcards):
        words = told(rule, recipe, SimpleNamespace(**wildcards)) if rule in TOLD else {}
        found[rule, *wildcards.values()] = (words, reads)

    for phantom in recipe.slides.phantoms:
        add("make_phantom", slide=phantom.name)
    add("register_slide")
    add("segment_tissue")
    add("check_data")
    add("split_patients")
    for name, patches in recipe.patches.items():
        rule = {"slides": "cut_patches", "regions": "cut_regions"}.get(patches.kind, "read_labelled")
        add(rule, patch_set=name)
        if rule == "read_labelled":
            add("split_groups")
    for name in recipe.models:
        add("take_model" if name in recipe.imported_models else "train_model", model=name)
        if name in recipe.autoencoders and recipe.evaluation.enabled:
            add("measure_reconstruction", model=name)
    for name in recipe.samples:
        add("take_samples" if name in recipe.brought_samples else "draw_samples", samples=name)
        if name in recipe.evaluated_samples:
            add("evaluate_samples", recipe.compared_with(name), samples=name)
        if recipe.measures_tstr(name):
            add("measure_utility", samples=name)
            add("train_on_real", patch_set=recipe.compared_with(name))
    if recipe.study:
        add("gather_study")
    add("write_viewer")
    for name in recipe.reading:
        add("make_reading", reading=name)
    if recipe.synthetic:
        for slide in recipe.synthetic.names:
            for k, level in enumerate(recipe.synthetic.levels):
                rule = {"draw": "draw_level", "upscale": "upscale_level", "given": "give_level"}[level.kind]
                add(rule, slide=slide, k=str(k))
            for rule in ("plan_tissue", "stitch_slide"):
                add(rule, slide=slide)
    if recipe.synthetic and recipe.compared_patches:
        for slide in recipe.synthetic.names:
            for rule in ("measure_coherence", "draw_contact_sheet"):
                add(rule, slide=slide)
        for encoder in recipe.evaluation.encoders:
            add("extract_features", encoder=encoder if isinstance(encoder, str) else encoder.name)
        add("evaluate_patches", recipe.compared_patches)
    return found


def sections(value, path=()):
    """(path, section) of every section in a recipe."""
    if is_section(type(value)):
        yield path, value
        for name in type(value).model_fields:
            yield from sections(getattr(value, name), (*path, name))
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from sections(part, (*path, key))
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield from sections(part, (*path, i))


def with_value(value, path, new):
    """A copy of the recipe with another value at `path`; nothing is checked."""
    key, *rest = path
    if is_section(type(value)):
        return value.model_copy(update={key: with_value(getattr(value, key), rest, new) if rest else new})
    inner = with_value(value[key], rest, new) if rest else new
    if isinstance(value, dict):
        return value | {key: inner}
    return [*value[:key], inner, *value[key + 1 :]]


def parts_of(annotation):
    """The plain types that an annotation allows."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return parts_of(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [part for one in typing.get_args(annotation) for part in parts_of(one)]
    return [annotation]


def another(value, annotation):
    """A value of the same kind that differs."""
    options = [
        arg
        for part in parts_of(annotation)
        if typing.get_origin(part) is typing.Literal
        for arg in typing.get_args(part)
    ]
    if options and (value is None or isinstance(value, str)):
        return next((option for option in options if option != value), f"{value}-other")
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value * 2 if value else 1
    if isinstance(value, str):
        return f"{value}-other"
    if isinstance(value, tuple):
        return tuple(2 * part for part in value)
    if isinstance(value, list):
        return value[:-1] if len(value) > 1 else [*value, *value] if value else ["other"]
    if isinstance(value, dict):
        return value | {"other": 1} if not value else dict(list(value.items())[:-1])
    if is_section(type(value)):
        return None
    for part in parts_of(annotation):
        if part in (int, float, str):
            return {int: 3, float: 0.75, str: "other"}[part]
        if typing.get_origin(part) is tuple:
            return (128, 128)
        if typing.get_origin(part) is list:
            return ["other"]
    raise AssertionError(f"no other value than {value!r} for {annotation}")


def all_sections(kind, found=None):
    """Every section class that the schema holds."""
    found = set() if found is None else found
    if kind in found:
        return found
    found.add(kind)

    def look(annotation):
        for part in [*parts_of(annotation), *typing.get_args(annotation)]:
            if is_section(part):
                all_sections(part, found)
            elif part is not annotation and typing.get_origin(part):
                look(part)

    for field in kind.model_fields.values():
        look(field.annotation)
    return found


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydantic's, of values that no recipe may have
def test_every_key_has_the_effect_that_it_declares(root):
    checked, effects = set(), {}
    for recipe in made_up(root):
        before = jobs(recipe)
        for path, section in sections(recipe):
            kind = type(section)
            for name, field in kind.model_fields.items():
                value = getattr(section, name)
                if is_section(type(value)) or (
                    isinstance(value, list | dict) and any(is_section(type(one)) for one in listed(value))
                ):
                    checked.add((kind.__name__, name))  # its own keys are looked at one by one
                    continue
                if value in ([], {}) and holds_sections(field.annotation):
                    continue
                checked.add((kind.__name__, name))
                none = value is None and any(map(is_section, parts_of(field.annotation)))
                key = (*path[:1], kind, name)
                if none or (kind.__name__, name) in OTHERWISE or effects.get(key):
                    continue
                try:
                    other = with_value(recipe, (*path, name), another(value, field.annotation))
                except ValueError:  # a value that only goes with another key's: that key is looked at
                    continue
                try:
                    after = jobs(other)
                except (KeyError, ValueError):  # a name that refers to nothing, keys that do not go together
                    after = {} if bearing(other) != bearing(recipe) else before
                changed = sorted({key[0] for key in before.keys() | after.keys() if before.get(key) != after.get(key)})
                effects[key] = changed
    wrong = {key: changed for key, changed in effects.items() if bool(changed) != bears_on_bytes(*key[-2:])}
    assert not wrong, "these run again"
    assert sum(not bears_on_bytes(*key[-2:]) for key in effects) >= 15
    keys = {(kind.__name__, name) for kind in all_sections(Recipe) for name in kind.model_fields}
    assert sorted(keys - checked) == [], "no recipe of this test has them"


def is_section(kind):
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def holds_sections(annotation):
    inside = [part for one in parts_of(annotation) for part in typing.get_args(one)]
    return any(is_section(part) for one in inside for part in parts_of(one))


def listed(value):
    return value.values() if isinstance(value, dict) else value


# ------------------------------------------------------------------------------------------------ as an address


def test_an_identity_leads_to_its_section(root, tmp_path):
    recipe = load_recipe(root / "config/test/son.yaml")
    file = tmp_path / "recipe.json"
    file.write_text(recipe_text(recipe))
    assert recipe_of_text(file.read_text()) == recipe
    name = next(iter(recipe.samples))
    word = told("draw_samples", recipe, SimpleNamespace(samples=name))["options"]
    section = json.loads(section_text(f"{file}#{word}"))
    assert section == recipe.samples[name].model_dump(mode="json", exclude={"compare", "tstr"})
    word = told("evaluate_samples", recipe, SimpleNamespace(samples=name))["options"]
    some = json.loads(section_text(f"{file}#{word}"))
    assert some["images"] == recipe.evaluation.images and "contact_sheet" not in some
    assert section_text('{"steps": 3}') == '{"steps": 3}', "by hand, as JSON"


def test_a_job_that_reads_the_runs_recipe_finds_the_same_identities(root):
    """Equal is not enough: 500000 == 500000.0, and their digests differ; a job of SLURM then made anew what it was to read."""
    files = [file for file in sorted((root / "config").rglob("*.yaml")) if "schema" not in file.name]
    assert len(files) > 20
    for file in files:
        recipe = load_recipe(file)
        before, after = (
            json.dumps(bearing(one), sort_keys=True) for one in (recipe, recipe_of_text(recipe_text(recipe)))
        )
        assert before == after, file


def test_a_section_is_read_from_the_recipe_that_a_person_wrote(root):
    file = root / "config/test/harb.yaml"
    assert (
        json.loads(section_text(f"{file}#synthetic/levels/0"))
        == yaml.safe_load(file.read_text())["synthetic"]["levels"][0]
    )


def test_a_phantom_is_known_by_its_name_wherever_it_stands(tmp_path):
    """Also by a name that is a number; another before it changes neither its word nor what its step reads."""
    text = EVERYTHING.replace("SHA", "a" * 64)
    phantoms = "[{name: '1', seed: 8}, {name: '0', seed: 9}, {name: p}]"
    found = []
    for one in (text, text.replace("[{name: p}]", phantoms)):
        recipe, file = parse_recipe(yaml.safe_load(one), "the recipe"), tmp_path / "recipe.json"
        file.write_text(recipe_text(recipe))
        word = told("make_phantom", recipe, SimpleNamespace(slide="p"))["options"]
        found.append((word, json.loads(section_text(f"{file}#{word}"))["name"]))
    assert found[0] == found[1] and found[0][1] == "p"
    word = told("make_phantom", recipe, SimpleNamespace(slide="1"))["options"]
    assert json.loads(section_text(f"{file}#{word}"))["seed"] == 8


@pytest.mark.parametrize(
    "word, says", [("models/none@0a", "no models/none"), ("synthetic/levels/9", "levels/9"), ("a b", "no place")]
)
def test_a_place_that_is_not_there_is_named(root, word, says):
    with pytest.raises(argparse.ArgumentTypeError, match=says):
        section_text(f"{root}/config/test/harb.yaml#{word}")


def test_what_bears_on_no_byte_is_no_part_of_an_identity():
    class Inner(Section):
        size: int = 1
        every: typing.Annotated[int, NO_BYTES] = 2

    class Outer(Section):
        inner: Inner = Inner()
        path: typing.Annotated[str, NO_BYTES] = "a"

    assert bearing(Outer()) == {"inner": {"size": 1}}
    word = identity("x", Outer())
    assert identity("x", Outer(path="b", inner=Inner(every=3))) == word != identity("x", Outer(inner=Inner(size=2)))
    assert identity("x", Inner(), only={"size"}) != identity("x", Inner(), without={"every"}), "they say which keys"
