"""Digests of code and of data: what decides whether a step is up to date.

Snakemake sees neither an imported module nor a change inside a large file, and it takes a touch for a change. So each
rule carries two digests as params: that of the code which its script can reach, and that of the contents it reads.

This module uses the standard library and tqdm only, since planning 2,000 slides must be fast. What a run was made with
(versions, commit) is in versions.py.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

PROJECT = "histogenesis"
# What the recipe's classes say of values reaches the scripts as values, defaults spelt out, which are params of the rules. So
# only what the classes work out counts here, and a key that is added to a section reruns the steps of that section alone.
RECIPE_CLASSES = Path("src", PROJECT, "recipe")

# ------------------------------------------------------------------------------------------------------------ code


def code_digest(script: str | Path, root: str | Path) -> str:
    """Digest (sha256, hex) of the code that decides what `script` writes.

    That is the script, every module of src/histogenesis that it imports at any depth (also inside functions, by
    relative imports, through the packages' __init__ files) and the data files (templates, ...) beside those modules.
    Comments, docstrings and layout do not count, nor do the keys of the recipe (RECIPE_CLASSES); names, values, order and
    annotations do. The same source gives the same digest on every Python version and in every folder. Raises
    SyntaxError for a file that is not Python, FileNotFoundError for a script that is not there.
    """
    root = Path(root).resolve()
    total = hashlib.sha256()
    for path in code_closure(script, root):
        if path.is_relative_to(root / RECIPE_CLASSES):
            content = _methods_digest(path)
        else:
            content = _source(path).digest if path.suffix == ".py" else _bytes_digest(path)
        total.update(f"{path.relative_to(root).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def code_closure(script: str | Path, root: str | Path) -> list[Path]:
    """The files that a script's run can read: absolute paths, sorted, all of them inside `root`."""
    root = Path(root).resolve()
    script = Path(script) if Path(script).is_absolute() else root / script
    script = script.resolve()
    folders = {PROJECT: root / "src"} | dict.fromkeys(_siblings(script), script.parent)
    found, todo = {script}, [script]
    while todo:
        path = todo.pop()
        new = {file for name in _imports(path, root) for file in _files_of(name, folders)} - found
        found |= new
        todo.extend(new)
    # An empty module names no data, so that an empty __init__ does not tie every step to its folder's data files.
    homes = {path.parent for path in found if path.is_relative_to(root / "src") and not _source(path).empty}
    for home in homes:
        found.update(_data_files(home))
    return sorted(found)


def imported_packages(script: str | Path, root: str | Path) -> set[str]:
    """Top-level names that a script imports, at any depth of the project's modules."""
    found = set()
    for path in code_closure(script, root):
        if path.suffix == ".py":
            found |= {name.split(".")[0] for level, name in _source(path).imports if not level}
    return found


def environment_digest(name: str, root: str | Path) -> str:
    """Digest (sha256, hex) of what envs/{name}.yaml and the files beside it install; comments do not count."""
    import yaml

    files = sorted(Path(root).glob(f"envs/{name}.*"))
    content = [yaml.safe_load(path.read_text()) if path.suffix == ".yaml" else path.read_text() for path in files]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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


def _data_files(home: Path) -> Iterator[Path]:
    """Files beside a package's modules that are not Python (templates, styles), and in subfolders without code."""
    for path in home.iterdir():
        if path.name.startswith((".", "__pycache__")) or path.name.endswith(
            (".py", ".pyc", ".pyi", ".md", "~", ".orig")
        ):
            continue
        if path.is_file():
            yield path
        elif path.is_dir() and not any(path.glob("*.py")):
            yield from _data_files(path)


@dataclass(frozen=True)
class _Source:
    digest: str
    imports: frozenset[tuple[int, str]]  # (level of a relative import, dotted name)
    empty: bool


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
        _SOURCES[path] = key, _Source(digest, frozenset(_import_names(tree)), empty=len(text) <= 2)
    return _SOURCES[path][1]


def _methods_digest(path: Path) -> str:
    """Digest of what the classes of a module work out: their methods and properties, without those that check."""
    text: list[str] = []
    for section in ast.parse(path.read_bytes(), filename=str(path)).body:
        for node in getattr(section, "body", []):
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


# ------------------------------------------------------------------------------------------------------------ contents

CHUNK = 1 << 22
SHOW_PROGRESS_BYTES = 1 << 28
SETTLED_NS = 2_000_000_000  # a file changed so shortly before it was hashed may change again within its clock's tick


def content_digest(path: str | Path, cache: str | Path) -> str:
    """sha256 (hex) of a file's bytes, remembered in `cache` by path, size and modification time.

    So a slide that was merely touched is hashed again and has the same digest. Raises OSError for what cannot be read.
    """
    digest = content_digests([path], cache)[path]
    if digest is None:
        raise FileNotFoundError(f"{path}: no such file, or it may not be read")
    return digest


def content_digests(paths: Iterable[str | Path], cache: str | Path) -> dict[str | Path, str | None]:
    """`content_digest` of many files, in threads, with a progress bar when there is much to read.

    None stands for a file that is absent or may not be read (one such slide must not end the planning of the others);
    any other OSError rises, since it may pass.
    """
    paths, cache = list(paths), Path(cache)
    known = _read_cache(cache)
    digests: dict[str | Path, str | None] = {}
    todo = []
    for path in paths:
        try:
            stat = os.stat(path)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            digests[path] = None
            continue
        entry = known.get(_cache_key(path, cache))
        if entry and entry[:2] == [stat.st_size, stat.st_mtime_ns]:
            digests[path] = entry[2]
        else:
            todo.append((path, stat))
    if todo:
        size = sum(stat.st_size for _, stat in todo)
        with (
            tqdm(
                total=size,
                unit="B",
                unit_scale=True,
                desc=f"hashing {len(todo)} files",
                disable=size < SHOW_PROGRESS_BYTES,
            ) as bar,
            ThreadPoolExecutor(min(8, len(todo))) as pool,
        ):
            results = list(pool.map(lambda item: _hash_file(*item, bar.update), todo))
        fresh = {}
        for (path, stat), (digest, settled) in zip(todo, results, strict=True):
            digests[path] = digest
            if settled:
                fresh[_cache_key(path, cache)] = [stat.st_size, stat.st_mtime_ns, digest]
        _add_to_cache(cache, fresh)
    return {path: digests[path] for path in paths}


def _hash_file(path: str | Path, before: os.stat_result, advance) -> tuple[str | None, bool]:
    """Digest, and whether it may be remembered: the file did not change while, or just before, it was read."""
    started = time.time_ns()
    digest = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as file:
            while block := file.read(CHUNK):
                digest.update(block)
                advance(len(block))
            after = os.fstat(file.fileno())
    except (FileNotFoundError, PermissionError):
        return None, False
    same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    return digest.hexdigest(), same and started - after.st_mtime_ns > SETTLED_NS


def _cache_key(path: str | Path, cache: Path) -> str:
    """Relative to the project where the file lies inside it, so that a moved project keeps its cache."""
    path, project = os.path.abspath(path), os.path.dirname(os.path.dirname(os.path.abspath(cache)))
    return os.path.relpath(path, project) if path.startswith(project + os.sep) else path


def _read_cache(cache: Path) -> dict[str, list]:
    try:
        known = json.loads(cache.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _add_to_cache(cache: Path, fresh: dict[str, list]) -> None:
    """Merged, and renamed into place. Of two writers at once one may lose its lines: that costs a hash, no more."""
    if not fresh:
        return
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=cache.parent, prefix=cache.name, delete=False) as file:
            json.dump(_read_cache(cache) | fresh, file, indent=0, sort_keys=True)
        os.replace(file.name, cache)
    except OSError:  # a read-only project can be planned all the same
        pass


def _bytes_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
