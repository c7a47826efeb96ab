"""Digests of code and environments: what decides, with the recipe and the contents of files, whether a step is up to date.

Snakemake does not see imported modules, and it takes a touch for a change. So each rule carries digests as params: of the
code which its script can reach, of its environment, and of the contents it reads (fingerprints.py).

This module uses the standard library only. What a run was made with (versions, commit) is in core/software.py.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PROJECT = "histogenesis"
# What the recipe's classes say of values reaches the scripts as values, defaults spelt out, which are params of the rules. So
# only what the classes work out counts here, and a key that is added to a section reruns the steps of that section alone.
RECIPE_CLASSES = Path("src", PROJECT, "recipe")
# What makes values of a script's words: those are params of the rules, so no byte follows from it that they do not say.
COMMANDS = Path("src", PROJECT, "steps", "command.py")
# Files of these kinds are part of the code of the module that names them, from its own folder on; what none names is not.
DATA = (".j2", ".css", ".js", ".html")
INSTALLS = (".yaml", ".post-deploy.sh", ".linux-64.pin.txt")  # what Snakemake reads of envs/{name}

# ------------------------------------------------------------------------------------------------------------ code


def code_digest(script: str | Path, root: str | Path) -> str:
    """Digest (sha256, hex) of the code that decides what `script` writes.

    That is the script, every module of src/histogenesis that it imports at any depth (also inside functions, by
    relative imports, through the packages' __init__ files) and the data files (templates, ...) that those modules name.
    Comments, docstrings and layout do not count, nor do the keys of the recipe (RECIPE_CLASSES) and what reads a command line
    (COMMANDS); names, values, order and annotations do. The same source gives the same digest on every Python version and in
    every folder. Raises SyntaxError for a file that is not Python, FileNotFoundError for a script that is not there.
    """
    root = Path(root).resolve()
    total = hashlib.sha256()
    for path in code_closure(script, root):
        if path.is_relative_to(root / RECIPE_CLASSES):
            content = _methods_digest(path, _source(path).digest)
        else:
            content = _source(path).digest if path.suffix == ".py" else _bytes_digest(path)
        total.update(f"{path.relative_to(root).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def code_closure(script: str | Path, root: str | Path) -> list[Path]:
    """The files that decide what a script writes: absolute paths, sorted, all of them inside `root`."""
    root = Path(root).resolve()
    script = Path(script) if Path(script).is_absolute() else root / script
    script = script.resolve()
    folders = {PROJECT: root / "src"} | dict.fromkeys(_siblings(script), script.parent)
    found, todo = {script}, [script]
    while todo:
        path = todo.pop()
        new = _files_beneath(path, root, folders) - found - {root / COMMANDS}
        found |= new
        todo.extend(new)
    named = (path.parent / name for path in found for name in _source(path).data)
    return sorted(found | {path for path in named if path.is_file()})


def imported_packages(script: str | Path, root: str | Path) -> set[str]:
    """Top-level names that a script imports, at any depth of the project's modules."""
    found = set()
    for path in code_closure(script, root):
        if path.suffix == ".py":
            found |= {name.split(".")[0] for level, name in _source(path).imports if not level}
    return found


def environment_digest(name: str, root: str | Path) -> str:
    """Digest (sha256, hex) of what envs/{name}.yaml and its post-deploy script install; comments do not count."""
    import yaml

    files = [path for end in INSTALLS if (path := Path(root, "envs", name + end)).is_file()]
    content = [yaml.safe_load(path.read_text()) if path.suffix == ".yaml" else path.read_text() for path in files]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


# What each module of the package imports, of the package: the same for all scripts, and looked up once.
_BENEATH: dict[tuple[Path, str], set[Path]] = {}


def _files_beneath(path: Path, root: Path, folders: dict[str, Path]) -> set[Path]:
    """Our files that importing `path` runs, at the next depth."""
    if not path.is_relative_to(root / "src"):
        return {file for name in _imports(path, root) for file in _files_of(name, folders)}
    key = path, _source(path).digest
    if key not in _BENEATH:
        ours = {PROJECT: folders[PROJECT]}
        _BENEATH[key] = {file for name in _imports(path, root) for file in _files_of(name, ours)}
    return _BENEATH[key]


def _imports(path: Path, root: Path) -> set[str]:
    """Dotted names that `path` refers to, relative ones resolved; a trailing .* means all modules beneath."""
    package: list[str] = []
    if path.is_relative_to(root / "src"):
        package = list(path.relative_to(root / "src").parent.parts)
    sections = path.is_relative_to(root / RECIPE_CLASSES)
    names = set()
    for level, name in _source(path).imports:
        if sections and name.startswith(
            f"{PROJECT}.canvas"
        ):  # keys that lie beside what draws: values, like the others
            continue
        if level:
            names.add(".".join([*package[: len(package) - level + 1], *([name] if name else [])]))
        else:
            names.add(name)
    return names


def _siblings(script: Path) -> Iterator[str]:
    """What a script can import from its own folder."""
    return (path.stem for path in script.parent.iterdir() if path.suffix in (".py", ""))


def _files_of(name: str, folders: dict[str, Path]) -> Iterator[Path]:
    """The files of ours that importing `name` runs: a module, and the __init__ of each package on the way to it."""
    parts = name.split(".")
    base = folders.get(parts[0])
    if base is None:
        return
    if parts[-1] == "*":
        folder = base.joinpath(*parts[:-1])
        yield from (p for p in folder.rglob("*.py") if "__pycache__" not in p.parts)
        parts = parts[:-1]
    for depth in range(1, len(parts) + 1):
        for path in (base.joinpath(*parts[:depth], "__init__.py"), base.joinpath(*parts[:depth]).with_suffix(".py")):
            if path.is_file():
                yield path


@dataclass(frozen=True)
class _Source:
    digest: str
    imports: frozenset[tuple[int, str]]  # (level of a relative import, dotted name)
    data: frozenset[str]  # names of data files


_SOURCES: dict[Path, tuple[tuple[int, int], _Source]] = {}


def _source(path: Path) -> _Source:
    """One file, parsed once in a process (again when its size or time changed)."""
    stat = path.stat()
    key = (stat.st_size, stat.st_mtime_ns)
    if path not in _SOURCES or _SOURCES[path][0] != key:
        tree = ast.parse(path.read_bytes(), filename=str(path))
        text: list[str] = []
        _write_node(tree, text.append)
        digest = hashlib.sha256("".join(text).encode(errors="surrogatepass")).hexdigest()
        _SOURCES[path] = key, _Source(digest, frozenset(_import_names(tree)), frozenset(_data_names(tree)))
    return _SOURCES[path][1]


@cache
def _methods_digest(path: Path, source: str) -> str:
    """Digest of what the classes of a module work out: their methods and properties, without those that check. source: the
    module's digest, with which it changes."""
    text: list[str] = []
    module = ast.parse(path.read_bytes(), filename=str(path))
    for section in (one for one in module.body if isinstance(one, ast.ClassDef | ast.FunctionDef)):
        for node in section.body:
            if isinstance(node, ast.FunctionDef) and not any("validator" in ast.dump(d) for d in node.decorator_list):
                text.append(f"\n{section.name}.")
                _write_node(node, text.append)
    return hashlib.sha256("".join(text).encode()).hexdigest()


# Fields that differ between Python versions, or say nothing about what runs.
_SKIP = {"kind", "type_comment", "type_ignores", "ctx"}
_FIELDS: dict[type, tuple[tuple[str, str], ...]] = {}


def _write_node(node: ast.AST, write) -> None:
    """The tree as text: class names and the fields that are not empty, in the order of their names."""
    kind = node.__class__
    fields = _FIELDS.get(kind)
    if fields is None:
        fields = _FIELDS[kind] = tuple((name, f" {name}=") for name in sorted(kind._fields) if name not in _SKIP)
    write(f"({kind.__name__}")
    for name, label in fields:
        value = getattr(node, name, None)
        if value is None and kind is not ast.Constant:
            continue
        if isinstance(value, ast.AST):
            write(label)
            _write_node(value, write)
        elif isinstance(value, list):
            items = [item for item in value if not _says_nothing(item)]
            if items:
                write(f"{label}[")
                for item in items:
                    if isinstance(item, ast.AST):
                        _write_node(item, write)
                    else:
                        write(f"{item!r},")
                write("]")
        else:
            write(f"{label}{value.__class__.__name__}:{value!r}")
    write(")")


def _says_nothing(node: object) -> bool:
    """A docstring (or any bare string), or `pass`."""
    if node.__class__ is ast.Expr:
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return node.__class__ is ast.Pass


_MODULE = re.compile(rf"{PROJECT}(\.[A-Za-z_]\w*)+")


def _import_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every import statement; and names of modules in strings, for importlib.import_module and `python -m`."""
    for node in _what_runs(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            yield node.level, base
            yield from ((node.level, f"{base}.{alias.name}" if base else alias.name) for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _MODULE.fullmatch(node.value):
            yield 0, node.value
        elif isinstance(node, ast.JoinedStr) and node.values and isinstance(node.values[0], ast.Constant):
            prefix = str(node.values[0].value)
            if prefix.endswith(".") and _MODULE.fullmatch(f"{prefix}x"):
                yield 0, f"{prefix}*"


def _data_names(tree: ast.Module) -> Iterator[str]:
    """What may be files of data: strings that end like one."""
    strings = (
        node.value for node in _what_runs(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return (text for text in strings if text.endswith(DATA))


def _what_runs(tree: ast.Module) -> Iterator[ast.AST]:
    """All nodes but those of `if TYPE_CHECKING:`, whose imports are for readers and never happen."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ast.If) and getattr(node.test, "id", getattr(node.test, "attr", "")) == "TYPE_CHECKING":
            todo.extend(node.orelse)
            continue
        for value in node.__dict__.values():
            if isinstance(value, list):
                todo.extend(item for item in value if isinstance(item, ast.AST))
            elif isinstance(value, ast.AST):
                todo.append(value)


def _bytes_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
