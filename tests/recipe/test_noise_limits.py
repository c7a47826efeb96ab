"""No level is drawn from more noise, or shown more, than its model learns."""

import pytest

from histogenesis.recipe import RecipeError, parse_recipe


@pytest.mark.parametrize(
    ("objective", "sampler", "message"),
    [
        (
            {"sigma_limit": 5.0},
            {},
            r"levels\[0\]: model 'shared' learns noise up to sigma 5 .*would start at 80; start from",
        ),
        ({"sigma_limit": 5.0}, {"sigma_max": 5.1}, "would start at 5.1"),
        ({"sigma_limit": 5.0}, {"sigma_max": 5.0}, None),
        ({"sigma_limit": 5.0, "sigma_min": 6.0}, {}, "sigma_min 6 is not below sigma_limit 5"),
        ({}, {}, None),
    ],
)
def test_no_level_starts_above_the_noise_that_its_model_learns(values, objective, sampler, message):
    values["models"]["shared"]["objective"] = objective
    for level in values["synthetic"]["levels"]:
        level["sampler"] = {**level["sampler"], **sampler}
    if message is None:
        parse_recipe(values)
    else:
        with pytest.raises(RecipeError, match=message):
            parse_recipe(values)


def test_a_level_that_starts_from_the_one_above_needs_no_more_noise_than_it_starts_with(values):
    values["models"]["fine"] = {**values["models"]["shared"], "objective": {"sigma_limit": 5.0}}
    for level in values["synthetic"]["levels"][1:]:
        level |= {"model": "fine", "start": {"sigma": 2.0}, "constraint": {"kind": "none"}}
    parse_recipe(values)
    values["synthetic"]["levels"][2]["start"] = {"sigma": 6.0}
    with pytest.raises(RecipeError, match=r"levels\[2\]: model 'fine' learns noise up to sigma 5 .*would start at 6"):
        parse_recipe(values)


def test_nothing_is_shown_noisier_than_its_model_learns_it(values):
    shown = {"conditions": ["mpp", "lowres"], "lowres_factor": 2, "lowres_noise_limit": 0.1}
    values["models"]["fine"] = {**values["models"]["shared"], **shown}
    for level in values["synthetic"]["levels"][1:]:
        level |= {"model": "fine", "constraint": {"kind": "lowres"}, "lowres_noise": 0.1}
    parse_recipe(values)
    values["synthetic"]["levels"][2]["lowres_noise"] = 0.2
    with pytest.raises(
        RecipeError, match=r"levels\[2\]: model 'fine' learns beside .* noise up to 0.1 .* with 0.2; set"
    ):
        parse_recipe(values)
    cascade = {"model": "fine", "cascade": [{"model": "shared", "tile_px": 8}], "images": 4, "size_px": 16}
    values["samples"] = {"s": cascade}
    values["synthetic"] = None
    with pytest.raises(RecipeError, match=r"samples.s: model 'fine' learns beside .* noise up to 0.1"):
        parse_recipe(values)
    values["samples"]["s"]["lowres_noise"] = 0.05
    parse_recipe(values)
    values["models"]["fine"] |= {"conditions": ["mpp"], "lowres_factor": None}
    with pytest.raises(RecipeError, match="lowres_noise_limit: the model is shown no smaller picture"):
        parse_recipe(values)
