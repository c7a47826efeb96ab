"""`histogenesis plan`: each change is named by its key, with what it starts; what follows is one line; a screenful."""

import json

import pytest
import yaml

from histogenesis.commands.plan import hours
from histogenesis.models.costs import cost
from histogenesis.provenance.plan import bears, changes, differences, share_left, within, written
from histogenesis.recipe import load_recipe
from histogenesis.recipe.identity import identity


@pytest.fixture
def run(root, tmp_path):
    """A made-up finished run of the tiny recipe; returns what describes a plan of it with some values changed."""
    recipe = load_recipe(root / "config/test/harb.yaml")
    run_dir = tmp_path / "results/x"
    run_dir.mkdir(parents=True)
    (run_dir / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))

    def planned(jobs: list[dict], **changes) -> dict:
        values = recipe.model_dump(mode="json")
        for key, value in changes.items():
            *sections, last = key.split("__")
            section = values
            for name in sections:
                section = section[int(name) if name.isdigit() else name]
            section[last] = value
        return {"jobs": jobs, "total": 40, "recipe": values, "run_dir": str(run_dir)}

    planned.recipe, planned.run_dir = recipe, run_dir
    return planned


def job(rule: str, new: list[str] = (), missing: str = "", seconds=None, gpu: int = 0, **wildcards) -> dict:
    reasons = {"new": list(new), "missing": missing, "changed_code": False, "changed_input": False}
    return {"rule": rule, "wildcards": wildcards, "seconds": seconds, "gpu": gpu, **reasons}


def test_a_longer_training_goes_on_and_what_follows_is_one_line(run):
    name = next(iter(run.recipe.models))
    (run.run_dir / f"state/train/{name}").mkdir(parents=True)
    word = identity(f"models/{name}", run.recipe.models[name].model_copy(update={"patches": "other"}))
    jobs = [job("train_model", [word], model=name, seconds=7200.0, gpu=1), job("draw_level", slide="s", k="0")]
    jobs += [job("draw_level", slide="s", k="1"), job("evaluate_patches"), job("write_report")]
    before = run.recipe.models[name].training.steps
    text = "\n".join(written(run(jobs, **{f"models__{name}__training__steps": 3000})))
    assert f"models.{name}.training.steps {before} -> 3000" in text
    assert f"train_model {name} (training goes on from its checkpoint)" in text
    assert "then: 2 draw_level, evaluate_patches, write_report" in text
    assert "5 of 40 steps" in text and "2.0 h of it asking for a GPU" in text
    assert len(text.splitlines()) < 15 and max(map(len, text.splitlines()[1:])) < 140


def test_what_is_left_of_a_training_and_a_level_is_reckoned_in_hours_of_a_gpu(run):
    """By hand: three times the forward of each image seen; so small a network, in fp32, waits for its bytes, at 2.8 TB/s."""
    name, model = next(iter(run.recipe.trained_models.items()))
    (run.run_dir / f"state/train/{name}").mkdir(parents=True)
    before = model.training.steps
    longer = {"steps": 4000 * before, "validate_every": 10**6, "sample_every": 10**6}
    changes_made = {f"models__{name}__training__{key}": value for key, value in longer.items()}
    planned = run([job("train_model", model=name, gpu=1)], **changes_made)
    for one in planned["jobs"]:
        one["share"] = share_left(one, changes(planned), run.run_dir)
    assert planned["jobs"][0]["share"] == 1 - 1 / 4000
    assert share_left(job("draw_level", slide="s", k="0"), changes(planned), run.run_dir) == 1
    whole = hours(planned | {"jobs": [planned["jobs"][0] | {"share": 1.0}]})
    size = model.training.crop_px or run.recipe.patches[model.patches].size_px
    one = cost(model, size, model.training.batch, half=False)
    assert one.bytes_fused / 2.8e12 > one.flop / 40e12
    seen = 3 * one.bytes_fused * 4000 * before / 2.8e12 / 3600
    assert seen < whole < 1.01 * seen, "held-out images and samples are looked at beside"
    assert hours(planned) == pytest.approx((1 - 1 / 4000) * whole)
    assert hours(planned | {"jobs": [job("evaluate_patches", gpu=0)]}) == 0
    text = "\n".join(written(planned, 0.61))
    assert "1 of 40 steps would run; about 0.61 h of one H100" in text and "H100" not in "\n".join(
        written(planned, 0.0)
    )


def test_another_learning_rate_is_another_training(run):
    name = next(iter(run.recipe.models))
    (run.run_dir / f"state/train/{name}").mkdir(parents=True)
    changes = {f"models__{name}__training__steps": 3000, f"models__{name}__training__lr": 0.5}
    text = "\n".join(written(run([job("train_model", [f"models/{name}@0123456789ab"], model=name)], **changes)))
    assert "training.lr" in text and "training.steps" in text and "goes on" not in text


def test_a_key_that_bears_on_no_byte_is_named_apart(run):
    name = next(iter(run.recipe.models))
    text = "\n".join(written(run([], **{f"models__{name}__training__log_every": 7})))
    assert "nothing to be done" in text and f"models.{name}.training.log_every" in text and "-> 7" in text


def test_code_content_and_missing_files_are_causes(run):
    jobs = [job("segment_tissue", ["code:ab"], slide="a"), job("segment_tissue", ["code:ab"], slide="b")]
    jobs += [
        job("register_slide", ["content:slide/c@12"], slide="c"),
        job("stitch_slide", missing="results/x/s.tif", slide="s"),
    ]
    text = "\n".join(written(run(jobs)))
    assert "the code of these steps\n      2 segment_tissue" in text
    assert "content: slide c\n      register_slide c" in text
    assert "not there, or not finished: results/x/s.tif\n      stitch_slide s" in text


def test_a_change_that_snakemake_gives_no_reason_for_is_named_too(run):
    """Of a step that runs anyway, since what it reads is made again, Snakemake looks no further."""
    text = "\n".join(written(run([job("register_slide", ["content:slide/c@12"], slide="c")], evaluation__neighbours=3)))
    assert "of what runs anyway:\n      evaluation.neighbours" in text


def test_the_first_time_there_is_nothing_to_compare_with(run):
    (run.run_dir / "recipe.yaml").unlink()
    text = "\n".join(written(run([job("train_model", model="m"), job("write_report")])))
    assert "for the first time: train_model m, write_report" in text


@pytest.mark.parametrize(
    "key, word, inside",
    [
        ("evaluation.images", "evaluation[encoders,images]", True),
        ("evaluation.n_shown", "evaluation[encoders,images]", False),
        ("evaluation.n_shown", "evaluation[-n_shown]", False),
        ("evaluation.images", "evaluation[-n_shown]", True),
        ("models.a.training.lr", "models/a", True),
        ("models.ab.training.lr", "models/a", False),
        ("models.a", "models/a", True),
        ("synthetic.levels.1.tile_px", "synthetic/levels/1", True),
        ("synthetic.levels.1.tile_px", "synthetic/levels/10", False),
        ("synthetic.levels.1.tile_px", "tilings", True),
    ],
)
def test_which_keys_an_identity_holds(key, word, inside):
    place, _, keys = word.partition("[")
    assert within(key, place, keys.removesuffix("]") or None) is inside


def test_differences_are_named_by_key():
    before, now = {"a": {"b": 1, "c": [1, 2]}, "d": "x"}, {"a": {"b": 2, "c": [1, 3]}, "e": {"f": 1}}
    found = differences(before, now)
    assert found == {"a.b": "1 -> 2", "a.c.1": "2 -> 3", "d": "x -> none", "e": "none -> " + json.dumps({"f": 1})}


def test_bears_follows_the_schema(root):
    recipe = load_recipe(root / "config/test/harb.yaml")
    name = next(iter(recipe.models))
    assert bears(recipe, f"models.{name}.training.lr") and not bears(recipe, f"models.{name}.training.log_every")
    assert bears(recipe, "synthetic.levels.0.tile_px") and not bears(recipe, "slides.on_bad")
