"""What keeps the house small: scripts over steps, files that can be read in one go."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

from histogenesis.steps.command import parser_of

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted((ROOT / "workflow/scripts").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_the_command_line_of_one_step(script):
    lines = script.read_text().splitlines()
    assert len(lines) <= 20
    assert f"    run({script.stem})" in lines  # of histogenesis.steps: the parser below is made of that function
    step = getattr(import_module(f"histogenesis.steps.{script.stem}"), script.stem)
    words = " ".join(parser_of(step).format_help().split())  # each parameter has a type and a sentence
    assert ast.get_docstring(ast.parse(script.read_text())) in words
