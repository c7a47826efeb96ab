"""A step's command line follows from its signature and docstring."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest

from histogenesis.core.errors import BadInput, DiskFull
from histogenesis.core.interrupt import EXIT_CODE, Stopped
from histogenesis.recipe import Split, Tissue
from histogenesis.steps.command import parser_of, run

NOTHING: Mapping[str, list[tuple[int, float]]] = {}


def step(
    *,
    out: Path,
    size_px: tuple[int, int],
    options: Split,
    tissue: Tissue = Tissue(),
    ladder: Mapping[str, list[tuple[int, float]]] = NOTHING,
    mpp: float | None = None,
    network: Literal["small", "large"] = "small",
    stop_on_bad: bool = False,
    seed: int = 1,
) -> dict:
    """Make something.

    A second paragraph: it says more.

    out: where it goes,
        in full
    size_px: height and width
    options: the split
    tissue: the tissue
    ladder: model -> levels
    mpp: 100% optional
    network: which
    stop_on_bad: whether to stop
    seed: of chance
    """
    raise AssertionError


def parsed(*words: str) -> dict:
    return vars(parser_of(step).parse_args(["--out", "x", "--size-px", "3", "4", *words]))


def test_values_have_the_types_that_the_step_says():
    found = parsed("--options", '{"by": "region"}', "--ladder", '{"m": [[0, 8.0]]}', "--mpp", "0.5", "--stop-on-bad")
    assert found == {
        "out": Path("x"),
        "size_px": (3, 4),
        "options": Split(by="region"),
        "tissue": Tissue(),
        "ladder": {"m": [(0, 8.0)]},
        "mpp": 0.5,
        "network": "small",
        "stop_on_bad": True,
        "seed": 1,
    }


def test_a_section_is_read_where_the_recipe_has_it(tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"recipe": {"split": {"by": "region", "seed": 5}}}))
    assert parsed("--options", f"{recipe}#split@0123456789ab")["options"] == Split(by="region", seed=5)


@pytest.mark.parametrize(
    "words, said",
    [
        (["--options", '{"bye": "region"}'], "bye"),  # an unknown key
        (["--options", "missing.json#split"], "missing.json: No such file"),
        (["--options", "{}", "--network", "medium"], "invalid choice: 'medium'"),
        ([], "the following arguments are required: --options"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_step_begins(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        parsed(*words)
    assert ended.value.code == 2 and said in capsys.readouterr().err


def test_help_is_the_docstring():
    text = " ".join(parser_of(step).format_help().split())
    assert "Make something. A second paragraph: it says more. options:" in text
    assert "--out OUT where it goes, in full" in text and "100% optional" in text and "of chance (default: 1)" in text


def test_a_parameter_without_a_word_in_the_docstring_is_a_mistake():
    def silent(*, out: Path) -> None:
        """Nothing is said."""

    with pytest.raises(KeyError, match="out"):
        parser_of(silent)


@pytest.mark.parametrize(
    "error, code",
    [
        (BadInput("a.svs: no mpp"), "error: a.svs: no mpp"),
        (DiskFull(28, "full"), "error: [Errno 28] full"),
        (Stopped("saved"), EXIT_CODE),
    ],
)
def test_a_command_ends_as_its_caller_expects(error, code, monkeypatch):
    def fails(*, seed: int = 1) -> None:
        """Fail.

        seed: of chance
        """
        raise error

    monkeypatch.setattr("sys.argv", ["fails.py"])
    with pytest.raises(SystemExit) as ended:
        run(fails)
    assert ended.value.code == code


def test_an_error_that_may_pass_is_no_bad_input(monkeypatch):
    def fails() -> None:
        """Fail."""
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("sys.argv", ["fails.py"])
    with pytest.raises(OSError, match="Input/output"):
        run(fails)
