"""Write the conda environments, and the list of what their packages need, from requirements.txt and what is installed.

python envs/update.py            after a version was changed and `make` has installed it
python envs/update.py --check    says what would change, and ends with 1 if anything would
"""

import argparse
import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = ["slides", "torch", "evaluation"]
ALONE = ["slides.post-deploy.sh", "evaluation.post-deploy.sh"]  # install a package without its dependencies
PYTHON, PIP = "3.11.14", "25.3"
NEEDED = "#: needed\n"

TEMPLATE = """# Written by envs/update.py from envs/requirements.txt: change versions there.
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python={python}
  - pip={pip}
  - pip:
{pins}
"""


def read_requirements(text: str) -> dict[str, dict[str, str]]:
    """{where: {name: "name==version"}}, where = an environment's name, "head", "slides.post-deploy.sh" or "needed"."""
    found: dict[str, dict[str, str]] = {}
    where: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#:"):
            where = line[2:].split()
        elif line and not line.startswith("#"):
            if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) or not where:
                raise SystemExit(
                    f"requirements.txt, line {number}: {line!r} is not name==version under a line `#: NAMES`"
                )
            for name in where:
                found.setdefault(name, {})[canonicalize_name(line.split("==")[0])] = line
    return found


def closure(names: list[str]) -> set[str]:
    """The packages that `names` need, at any depth, as the installed ones declare it; without `names` themselves."""
    found, todo = set(), [(name, frozenset()) for name in names]
    seen = set(todo)
    while todo:
        name, extras = todo.pop()
        found.add(canonicalize_name(name))
        for text in metadata.requires(name) or []:
            needed = Requirement(text)
            wanted = any(needed.marker.evaluate({"extra": extra}) for extra in extras | {""}) if needed.marker else True
            item = (canonicalize_name(needed.name), frozenset(needed.extras))
            if wanted and item not in seen:
                seen.add(item)
                todo.append(item)
    return found - {canonicalize_name(name) for name in names}


def installed(name: str) -> str:
    return f"{canonicalize_name(name)}=={metadata.version(name).split('+')[0]}"


def files() -> dict[Path, str]:
    """What each file should hold."""
    text = (HERE / "requirements.txt").read_text()
    pins = read_requirements(text)
    wanted: dict[Path, str] = {}
    direct = {name: line for where in [*ENVIRONMENTS, "head"] for name, line in pins[where].items()}
    needed = closure(list(direct)) - direct.keys()
    kept = text[: text.index(NEEDED) + len(NEEDED)]
    wanted[HERE / "requirements.txt"] = kept + "".join(f"{installed(name)}\n" for name in sorted(needed))
    for name in ENVIRONMENTS:
        own = pins[name]
        lines = sorted([*own.values(), *(direct.get(n, installed(n)) for n in closure(list(own)))], key=str.lower)
        body = "\n".join(f"      - {line}" for line in lines)
        wanted[HERE / f"{name}.yaml"] = TEMPLATE.format(python=PYTHON, pip=PIP, pins=body)
    for script in ALONE:
        (package,) = pins[script].values()
        wanted[HERE / script] = (
            "#!/usr/bin/env bash\n# Written by envs/update.py. conda cannot ask pip for a package without its dependencies.\n"
            f"set -euo pipefail\npython -m pip install --no-deps {package}\n"
        )
    return wanted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    changed = [path for path, text in files().items() if not path.exists() or path.read_text() != text]
    for path in changed:
        print(f"{'differs' if check else 'written'}: {path.name}")
        if not check:
            path.write_text(files()[path])
    sys.exit(1 if check and changed else 0)


if __name__ == "__main__":
    main()
