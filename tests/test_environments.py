"""One source of versions: what `make` installs, what conda installs, and what the scripts import are the same."""

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.utils import canonicalize_name

from histogenesis.provenance.digests import code_closure

ROOT = Path(__file__).resolve().parent.parent
ENVS = ROOT / "envs"
ENVIRONMENTS = ["slides", "torch", "evaluation"]
OPTIONAL = {"transformers"}  # imported only for a user's own encoder, with a message where it is missing


def pins(text: str) -> dict[str, str]:
    return {
        canonicalize_name(name): version
        for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)$", text, re.MULTILINE)
    }


REQUIREMENTS = pins((ENVS / "requirements.txt").read_text())


def environment(name: str) -> tuple[list[str], dict[str, str]]:
    """What conda installs, and what pip installs there."""
    content = yaml.safe_load((ENVS / f"{name}.yaml").read_text())
    *conda, last = content["dependencies"]
    return conda, pins("\n".join(last["pip"]))


def test_what_is_written_is_what_update_writes():
    done = subprocess.run([sys.executable, ENVS / "update.py", "--check"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"run `python envs/update.py`:\n{done.stdout}{done.stderr}"


def test_this_python_has_the_pinned_versions():
    wrong = {n: (v, metadata.version(n)) for n, v in REQUIREMENTS.items() if metadata.version(n).split("+")[0] != v}
    assert not wrong, "pinned and installed differ; run `make`"


def test_the_image_has_what_make_installs_and_no_more():
    """The same packages without their dependencies, which would come unpinned; and nothing that git does not hold."""
    makefile, recipe = (ROOT / "Makefile").read_text(), (ENVS / "Dockerfile").read_text()
    (alone,) = re.findall(r"^ALONE := ('.*')$", makefile, re.MULTILINE)
    assert f"ALONE={alone} " in recipe and recipe.count('"$ALONE" envs/requirements.txt') == 2
    names = [name for name in REQUIREMENTS if re.search(alone.strip("'"), f"{name}==")]
    assert names == ["histolab", "lavlab-shell"], "each of them is pinned"
    ignored = (ROOT / ".gitignore").read_text().split()
    assert (ROOT / ".dockerignore").read_text().split("\n")[1:-1] == [
        ".git",
        *(f"**/{one.rstrip('/')}" for one in ignored),
    ]


def test_every_requirement_is_exact():
    lines = [line for line in (ENVS / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(REQUIREMENTS) > 20
    for limited in ("scikit-image", "scipy"):  # histolab works below their version 2
        assert int(REQUIREMENTS[limited].split(".")[0]) < 2


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_conda_and_pip_agree(name):
    conda, found = environment(name)
    assert all(re.fullmatch(r"(python|pip)=\d+\.\d+(\.\d+)?", line) for line in conda)
    assert f"python={sys.version_info.major}.{sys.version_info.minor}." in conda[0]
    assert found and found == {package: REQUIREMENTS[package] for package in found}
    assert not {"histolab", "lavlab-shell"} & set(found)  # their own pins would win over ours


def test_two_packages_come_without_their_dependencies():
    for env, name in (("slides", "histolab"), ("evaluation", "lavlab-shell")):
        text = (ENVS / f"{env}.post-deploy.sh").read_text()
        assert f"pip install --no-deps {name}=={REQUIREMENTS[name]}\n" in text
    assert not (ENVS / "torch.post-deploy.sh").exists()


def rules() -> list[tuple[str, str | None, str]]:
    """(rule, environment, script) of every rule that runs a script."""
    found = []
    for path in sorted((ROOT / "rules").glob("*.smk")):
        for block in re.split(r"^rule ", path.read_text(), flags=re.MULTILINE)[1:]:
            name = block.split(":")[0]
            env = re.search(r'conda:\s*"\.\./envs/(\w+)\.yaml"', block)
            found += [(name, env and env[1], script) for script in re.findall(r"\$SCRIPTS/(\w+\.py)", block)]
    return found


def imports(path: Path) -> set[str]:
    """Top-level names that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - {"histogenesis"} - OPTIONAL


@pytest.mark.parametrize("rule, env, script", rules())
def test_each_environment_has_what_its_scripts_import(rule, env, script):
    """Through every module that the script reaches. A package missing here would be found on this machine all the same."""
    assert env in ENVIRONMENTS, f"rule {rule} runs {script} and names no environment"
    _, found = environment(env)
    has = set(found) | ({"histolab"} if env == "slides" else set())
    providers = metadata.packages_distributions()
    files = [path for path in code_closure(ROOT / "workflow/scripts" / script, ROOT) if path.suffix == ".py"]
    missing = {
        f"{module} ({path.relative_to(ROOT)})"
        for path in files
        for module in imports(path)
        if not {canonicalize_name(name) for name in providers[module]} & has
    }
    assert not missing, f"envs/{env}.yaml lacks what {script} imports: {sorted(missing)}"


def test_there_are_rules():
    assert len(rules()) >= 10
