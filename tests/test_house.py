"""What keeps the house small: scripts over steps, files that can be read in one go."""

import ast
import json
import re
from importlib import import_module
from inspect import signature
from pathlib import Path

import grimp  # which import-linter brings
import networkx
import pytest
import yaml

from histogenesis.core.version import VERSION
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


def test_a_process_computes_with_one_thread():
    """Whatever computes with PyTorch, unless a recipe says otherwise, and none of ours does."""
    steps = [getattr(import_module(f"histogenesis.steps.{script.stem}"), script.stem) for script in SCRIPTS]
    computing = [s for s in steps if signature(s).parameters.get("threads") and "it rounds" in s.__doc__]
    assert {s.__name__ for s in computing} == {"draw_level", "draw_samples", "train_model", "upscale_level"}
    assert [s.__name__ for s in computing if signature(s).parameters["threads"].default != 1] == []
    asked = {
        p: re.findall(r"^cpu_threads: (\d+)", p.read_text(), re.MULTILINE) for p in (ROOT / "config").rglob("*.yaml")
    }
    assert (
        sum(map(len, asked.values())) > 5 and [str(p) for p, found in asked.items() if found not in ([], ["1"])] == []
    )


def test_library_files_can_be_read_in_one_go():
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / "src").rglob("*.py")}
    long = {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > 350}
    assert len(lengths) > 200 and not long


def test_rules_are_told_by_name():
    """Most inputs and params are functions with names, which say what they are for; no more than 0.6 of a lambda a rule."""
    rules = [
        block
        for path in (ROOT / "rules").glob("*.smk")
        for block in re.findall(r"^rule \w+:\n(?:    .*\n|\n(?=    ))*", path.read_text(), re.MULTILINE)
    ]
    assert len(rules) >= 28 and sum(block.count("lambda") for block in rules) < 0.6 * len(rules)


def test_every_key_of_a_recipe_is_described():
    sections = json.loads((ROOT / "config/recipe.schema.json").read_text())
    found = [key for part in sections["$defs"].values() for key in part.get("properties", {}).items()]
    found += sections["properties"].items()
    assert len(found) > 300
    assert [name for name, key in found if "description" not in key and "$ref" not in key] == []


def circles(arrows) -> list[list[str]]:
    """Groups that all lead to each other."""
    return [
        sorted(group) for group in networkx.strongly_connected_components(networkx.DiGraph(arrows)) if len(group) > 1
    ]


def test_nothing_is_imported_in_a_circle():
    """No module and no room, not even within functions, which is where Python lets circles pass, or for types alone."""
    graph = grimp.build_graph("histogenesis", cache_dir=None)
    arrows = [(one, other) for one in graph.modules for other in graph.find_modules_directly_imported_by(one)]
    assert ("histogenesis.cli", "histogenesis.provenance.share") in arrows  # within a function
    rooms = [tuple((name + ".").split(".")[1] for name in pair) for pair in arrows]
    assert circles(arrows) == [] and circles((one, other) for one, other in rooms if one != other) == []
    assert circles([("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")]) == [["a", "b", "c"]]


def compared_kinds(text: str) -> list[str]:
    """Comparisons of what a section calls itself; NumPy's dtype.kind is another word."""
    parts = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Compare)]
    sides = [(one, side) for one in parts for side in (one.left, *one.comparators)]
    of_sections = [(one, side) for one, side in sides if isinstance(side, ast.Attribute) and side.attr == "kind"]
    return sorted({ast.unparse(one) for one, side in of_sections if getattr(side.value, "attr", "") != "dtype"})


def test_nothing_branches_on_a_method_s_name():
    """What differs between methods is a property of their classes: fewer than 15 places ask for a `kind`."""
    assert compared_kinds("level.kind == 'x' or 1 in (a.b.kind, c) or x.dtype.kind in 'OS'") == ["level.kind == 'x'"]
    found = {str(path): compared_kinds(path.read_text()) for path in (ROOT / "src").rglob("*.py")}
    smk = {
        str(path): re.findall(r"\.kind (?:==|!=|in|not in) .*", path.read_text())
        for path in (ROOT / "rules").glob("*.smk")
    }
    assert sum(map(len, smk.values())) > 0  # they are written as the pattern has it
    assert sum(map(len, (found | smk).values())) < 15, {name: ones for name, ones in (found | smk).items() if ones}


def test_examples_name_what_there_is():
    """No placeholder for an address, and no version but this one."""
    pages = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        ROOT / "workflow/Snakefile",
        *ROOT.glob("docs/measurements/*.md"),
    ]
    text = {path.name: path.read_text() for path in pages}
    assert not [name for name, page in text.items() if re.search(r"\b(OWNER|REPOSITORY)\b", page)]
    assert {tag for page in text.values() for tag in re.findall(r"[@\"']v(\d+\.\d+\.\d+)", page)} <= {VERSION}


def test_each_mutant_s_line_is_there():
    """Two had gone with the code that they changed, which only running them all, an hour, would have said."""
    listed = yaml.safe_load((ROOT / "tests/mutants.yaml").read_text())
    for file, mutants in listed.items():
        text = (ROOT / "src/histogenesis" / file).read_text()
        assert [name for name, line, *_ in mutants if line not in text] == [], file
