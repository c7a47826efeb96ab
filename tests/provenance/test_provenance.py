"""A digest that misses a change gives stale results; one that moves for nothing costs a week of GPU time."""

import ast
import cProfile
import os
import pstats
import subprocess
from pathlib import Path

import pytest

from histogenesis.core.software import git_state, versions
from histogenesis.provenance import digests as provenance
from histogenesis.provenance.digests import code_closure, code_digest

SOURCES = {
    "src/histogenesis/__init__.py": "",
    "src/histogenesis/recipe/__init__.py": "from histogenesis.recipe.data import LIMIT",
    "src/histogenesis/recipe/data.py": """
        LIMIT = 3
        class Section:
            size: int = 1
            @model_validator(mode="after")
            def fits(self):
                return self
            @property
            def area(self):
                return self.size**2
    """,
    "src/histogenesis/a/__init__.py": "",
    "src/histogenesis/a/top.py": "from histogenesis.a import middle\n\ndef run():\n    return middle.value()\n",
    "src/histogenesis/a/middle.py": '''
        """What the middle does."""
        def value():
            """Two."""
            from ..b.deep import number  # not at the top
            return number(x=1, y=2)
    ''',
    "src/histogenesis/b/__init__.py": "",
    "src/histogenesis/b/deep.py": "def number(x, y):\n    return 10 * x + y\n",
    "src/histogenesis/b/other.py": "import numpy\n",
    "src/histogenesis/c/__init__.py": "from . import eager\n",
    "src/histogenesis/c/eager.py": "A = 1\n",
    "src/histogenesis/c/leaf.py": """
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from histogenesis.b.other import A  # for readers only
        B = 1
    """,
    "src/histogenesis/page/__init__.py": "",
    "src/histogenesis/page/write.py": "NAMES = 'page.html.j2', 'styles/plain.css', 'page.js'\n",
    "src/histogenesis/page/page.html.j2": "<b>{{ x }}</b>",
    "src/histogenesis/page/styles/plain.css": "b { color: red }",
    "src/histogenesis/page/page.js": "show('red')",
    "src/histogenesis/plugins/__init__.py": "",
    "src/histogenesis/plugins/one.py": "K = 1\n",
    "workflow/scripts/deep.py": "from histogenesis.a.top import run\n",
    "workflow/scripts/other.py": "import histogenesis.b.other\n",
    "workflow/scripts/eager.py": "import histogenesis.c.leaf\n",
    "workflow/scripts/page.py": "from histogenesis.page.write import NAMES\n",
    "workflow/scripts/named.py": "def f(n):\n    return import_module(f'histogenesis.plugins.{n}')\n",
    "workflow/scripts/module.py": "command = ['torchrun', '-m', 'histogenesis.b.deep']\n",
    "workflow/scripts/sibling.py": "import helper\n",
    "workflow/scripts/helper.py": "from histogenesis.recipe import LIMIT\n",
}
SCRIPTS = ["deep", "other", "eager", "page", "named", "module", "sibling"]


@pytest.fixture
def project(tmp_path) -> Path:
    for name, text in SOURCES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_dedent(text))
    return tmp_path


def _dedent(text: str) -> str:
    lines = text.split("\n")
    return "\n".join(line.removeprefix(" " * 8) for line in lines) if text.startswith("\n        ") else text


def digests(project: Path) -> dict[str, str]:
    return {name: code_digest(f"workflow/scripts/{name}.py", project) for name in SCRIPTS}


def changed_by(project: Path, name: str, edit) -> set[str]:
    """The scripts whose digest moves when file `name` is edited, and that it moves back with the text."""
    path, before = project / name, digests(project)
    text = path.read_text()
    edited = edit(text)
    assert edited != text, "the edit does nothing"
    path.write_text(edited)
    after = digests(project)
    path.write_text(text)
    assert digests(project) == before
    return {script for script in SCRIPTS if before[script] != after[script]}


@pytest.mark.parametrize(
    "name, edit, expected",
    [
        ("src/histogenesis/b/deep.py", lambda t: t.replace("10", "11"), {"deep", "module"}),
        ("src/histogenesis/b/deep.py", lambda t: t.replace("x + y", "y + x"), {"deep", "module"}),
        ("src/histogenesis/b/deep.py", lambda t: t.replace("10", "10.0"), {"deep", "module"}),
        ("src/histogenesis/b/deep.py", lambda t: t.replace("x, y", "x: int, y"), {"deep", "module"}),
        ("src/histogenesis/a/middle.py", lambda t: t.replace("x=1, y=2", "x=2, y=1"), {"deep"}),
        ("src/histogenesis/a/middle.py", lambda t: t.replace("x=1, y=2", "y=2, x=1"), {"deep"}),
        ("src/histogenesis/b/other.py", lambda t: t + "X = 1\n", {"other"}),
        ("src/histogenesis/c/eager.py", lambda t: t.replace("1", "2"), {"eager"}),
        ("src/histogenesis/c/__init__.py", lambda t: "", {"eager"}),
        ("src/histogenesis/a/__init__.py", lambda t: "X = 1\n", {"deep"}),
        ("src/histogenesis/__init__.py", lambda t: "X = 1\n", set(SCRIPTS)),
        # values of the recipe are params of the rules; what its classes work out is not
        ("src/histogenesis/recipe/data.py", lambda t: t.replace("3", "4"), set()),
        (
            "src/histogenesis/recipe/data.py",
            lambda t: t.replace("size: int = 1", "size: int = 2\n    more: int = 3"),
            set(),
        ),
        ("src/histogenesis/recipe/data.py", lambda t: t.replace("return self\n", "return self or None\n"), set()),
        ("src/histogenesis/recipe/data.py", lambda t: t.replace("size**2", "size**3"), {"sibling"}),
        ("src/histogenesis/plugins/one.py", lambda t: t.replace("1", "2"), {"named"}),
        ("src/histogenesis/page/page.html.j2", lambda t: t + " ", {"page"}),
        ("src/histogenesis/page/styles/plain.css", lambda t: t.replace("red", "blue"), {"page"}),
        ("src/histogenesis/page/page.js", lambda t: t.replace("red", "blue"), {"page"}),
        ("workflow/scripts/deep.py", lambda t: t + "run()\n", {"deep"}),
        ("workflow/scripts/helper.py", lambda t: t + "X = LIMIT\n", {"sibling"}),
        # what changes nothing
        ("src/histogenesis/a/middle.py", lambda t: t.replace("Two.", "Three."), set()),
        ("src/histogenesis/a/middle.py", lambda t: t.replace("What the middle does.", "Other words."), set()),
        ("src/histogenesis/a/middle.py", lambda t: t.replace("not at the top", "late"), set()),
        ("src/histogenesis/a/middle.py", lambda t: t.replace('    """Two."""\n', ""), set()),
        ("src/histogenesis/a/__init__.py", lambda t: '"""A package."""\n', set()),
        ("src/histogenesis/b/deep.py", lambda t: t.replace("10 * x + y", "(10 * x) + (\n        y\n    )"), set()),
        ("src/histogenesis/page/write.py", lambda t: t.replace("'", '"'), set()),
    ],
)
def test_exactly_the_scripts_that_reach_a_file_change(project, name, edit, expected):
    assert changed_by(project, name, edit) == expected


def test_new_and_removed_modules(project):
    before = digests(project)
    (project / "src/histogenesis/plugins/two.py").write_text("K = 2\n")
    (project / "src/histogenesis/b/unused.py").write_text("K = 2\n")
    after = digests(project)
    assert {name for name in SCRIPTS if before[name] != after[name]} == {"named"}


def test_touch_move_and_cache_files_change_nothing(project, tmp_path_factory):
    before = digests(project)
    for path in project.rglob("*.py"):
        os.utime(path)
    cache = project / "src/histogenesis/page/__pycache__"
    cache.mkdir()
    (cache / "write.cpython-311.pyc").write_bytes(b"x")
    for stray in (
        "notes.txt",
        "page.html.j2~",
        ".page.html.j2.swp",
        "data.json",
        "write.py.orig",
        "page.old.js",
        "styles/more.css",
    ):
        (project / "src/histogenesis/page" / stray).write_text("x")
    elsewhere = tmp_path_factory.mktemp("clone") / "deeper" / "copy"
    elsewhere.parent.mkdir()
    project.rename(elsewhere)
    assert digests(elsewhere) == before


REPORT = {"template.html.j2", "style.css", "page.js", "sortable/sortable.min.js", "sortable/sortable.a11y.min.js"}
VIEWER = {"index.html", "viewer.css", "viewer.js", "openseadragon/openseadragon.min.js"}
READING = {"page/study.html", "page/study.css", "page/study.js", "viewer/openseadragon/openseadragon.min.js"}


def test_the_steps_that_write_pages_read_these_files_and_no_other_step_any(root):
    """Written down here by hand, of what the modules open."""
    found = {}
    for script in sorted((root / "workflow/scripts").glob("*.py")):
        files = code_closure(script, root)
        found[script.stem] = {p.relative_to(root / "src/histogenesis").as_posix() for p in files if p.suffix != ".py"}
    assert {name: data for name, data in found.items() if data} == {
        "write_report": {f"report/page/{name}" for name in REPORT},
        "write_viewer": {f"study/viewer/{name}" for name in VIEWER},
        "make_reading": {f"study/{name}" for name in READING},
    }
    there = {p for p in (root / "src").rglob("*") if p.suffix in provenance.DATA}
    assert {p.relative_to(root / "src/histogenesis").as_posix() for p in there} == set().union(*found.values())


def test_closure_names_the_files(project):
    names = [path.relative_to(project).as_posix() for path in code_closure("workflow/scripts/deep.py", project)]
    assert names == [
        "src/histogenesis/__init__.py",
        "src/histogenesis/a/__init__.py",
        "src/histogenesis/a/middle.py",
        "src/histogenesis/a/top.py",
        "src/histogenesis/b/__init__.py",
        "src/histogenesis/b/deep.py",
        "workflow/scripts/deep.py",
    ]


@pytest.mark.parametrize(
    "one, other",
    [
        ("f(1)", "f(True)"),
        ("f('a')", "f(b'a')"),
        ("f(a, *b)", "f(a, b)"),
        ("{**a, 'b': 1}", "{'b': 1, **a}"),
        ("def f(*, a=1, b): 0", "def f(*, a, b=1): 0"),
        ("def f(a=1): 0", "def f(*, a=1): 0"),
        ("x = None", "x = ..."),
        ("f'{x!r}'", "f'{x!s}'"),
        ("a[1:]", "a[:1]"),
        ("if a: b()\nelse: c()", "if a: c()\nelse: b()"),
        ("for i in x: f()\nelse: g()", "for i in x:\n    f()\n    g()"),
        ("try: f()\nfinally: g()", "try: f()\nexcept Exception: g()"),
        ("a < b <= c", "a <= b < c"),
        ("import a as b", "import b as a"),
        ("global x", "global y"),
        ("return_ = 'text'", "'text'"),
    ],
)
def test_no_two_meanings_share_a_digest(tmp_path, one, other):
    found = set()
    for text in (one, other):
        (tmp_path / "s.py").write_text(text)
        provenance._SOURCES.clear()
        found.add(code_digest("s.py", tmp_path))
    assert len(found) == 2


GOLDEN = """
from os import path as p

@dec(1, k=2.5)
class A(B):
    x: int = 1
    def f(self, /, a, *b, c=None, **d) -> str:
        with open(a) as q, z: yield f'{a!r:>{c}}' f"{b=}" 'x'
        return (lambda u: u ** -1)(a[1:, ...])

match v:
    case {'a': [1, *_]} | None: pass
    case C(k=3) if v: del v

async def g():
    async for i in j: await i
    x = [y for y in z if y] + [*w]
    x += 1; assert x, 'no'
"""


def test_the_digest_is_the_same_on_every_python(tmp_path):
    """Recorded once. Were it to differ on a new Python, or after an edit of the walk, all results would run again."""
    (tmp_path / "s.py").write_text(GOLDEN)
    recorded = "e5f330c8156135330e6e6a4417f2fd0d72e414bd7e1884d7aeb419634ace83f3"
    assert provenance._source(tmp_path / "s.py").digest == recorded


def test_a_digest_is_a_few_looks_at_each_node():
    """Calls of functions a node of the syntax tree, counted: 26, and as many in a small part as in the whole."""
    files = sorted(Path(ast.__file__).parent.glob("[a-c]*.py"))

    def calls(paths) -> float:
        provenance._SOURCES.clear()
        profile = cProfile.Profile()
        profile.runcall(lambda: [provenance._source(path) for path in paths])
        nodes = sum(1 for path in paths for _ in ast.walk(ast.parse(path.read_bytes())))
        return pstats.Stats(profile).total_calls / nodes

    assert calls(files) < 60 and calls(files) == pytest.approx(calls(files[:3]), rel=0.3)


# ------------------------------------------------------------------------------------------------------------ versions


def test_versions_are_those_installed():
    import numpy

    assert versions()["numpy"] == numpy.__version__
    assert versions()["python"].startswith("3.")


def test_git_state(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        return subprocess.run(
            ["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True, text=True
        )

    nothing = {"commit": None, "clean": None}
    assert git_state(tmp_path) == nothing
    assert git_state(tmp_path / "absent") == nothing
    git("init", "-q")
    assert git_state(tmp_path) == nothing
    (tmp_path / "a").write_text("1")
    (tmp_path / ".gitignore").write_text("results/\n")
    git("add", ".")
    git("commit", "-qm", "one")
    commit = git("rev-parse", "HEAD").stdout.strip()
    assert git_state(tmp_path) == {"commit": commit, "clean": True}
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "x").write_text("1")
    assert git_state(tmp_path)["clean"] is True
    assert git_state(tmp_path / "results") == nothing
    (tmp_path / "new.py").write_text("1")
    assert git_state(tmp_path) == {"commit": commit, "clean": False}
