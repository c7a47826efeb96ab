"""What a run of a recipe would do, and why, in a screenful: `histogenesis plan`.

Snakemake plans (a dry run), and leaves its jobs with their reasons in a file (rules/start.smk). Here they are gathered under
what changed: a key of the recipe, code, an environment, a slide, or a file that is gone; what follows from those is one line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from histogenesis.core.errors import BadInput
from histogenesis.core.home import snakefile
from histogenesis.recipe.identity import IDENTITY, bears_on_bytes
from histogenesis.recipe.recipe import Recipe
from histogenesis.recipe.told import recipe_of_text

LINES = 12  # of one kind, before the rest is counted
SHORT = {"write_recipe", "write_report"}  # follow from everything, and are seconds
GOES_ON = {
    "steps",
    "validation_images",
    "sample_images",
}  # of a training: its checkpoint serves (steps/train_model.py)


def ask_snakemake(recipe_file: Path, more: list[str]) -> tuple[dict[str, Any], list[str]]:
    """What a run of it would do (see `written`), and what Snakemake notes. Raises BadInput with Snakemake's words where it
    cannot plan. `more`: further words for Snakemake."""
    file = snakefile()
    if file is None:
        raise BadInput("the workflow is not here: run this from its folder, or install histogenesis with it")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "plan.json")
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(file), "--dry-run", "--quiet", "all"]
        command += ["--configfile", str(recipe_file), *more]
        done = subprocess.run(
            command, env=os.environ | {"HISTOGENESIS_PLAN": str(out)}, capture_output=True, text=True, check=False
        )
        if done.returncode or not out.exists():
            words = [
                line for line in (done.stdout + done.stderr).splitlines() if not line.startswith(("Using ", "  File"))
            ]
            raise BadInput("\n".join(words[-15:]) or "snakemake did not plan")
        planned = json.loads(out.read_text())
    changed = changes(planned)
    for job in planned["jobs"]:
        job["share"] = share_left(job, changed, Path(planned["run_dir"]))
    return planned, [line for line in done.stderr.splitlines() if line.startswith("away") or ": damaged: " in line]


def changes(planned: dict[str, Any]) -> dict[str, str]:
    """Key -> `old -> new`, of what differs from the recipe that the results at hand were made from, and bears on bytes."""
    before, now = recipe_before(Path(planned["run_dir"])), Recipe.model_validate(planned["recipe"])
    differ = differences(before.model_dump(mode="json"), planned["recipe"]) if before else {}
    return {key: words for key, words in differ.items() if bears(now, key)}


def share_left(job: dict, changed: dict[str, str], run_dir: Path) -> float:
    """How much of a job is still to be done: of a training that goes on, the steps that came to it."""
    words = changed.get(f"models.{job['wildcards'].get('model')}.training.steps")
    if not words or not goes_on(job, changed, run_dir):
        return 1.0
    before, now = map(int, words.split(" -> "))
    return max(0.0, 1 - before / now)


def written(planned: dict[str, Any], gpu_hours: float = 0.0) -> list[str]:
    """The lines of a plan: `jobs` that would run with their reasons, `total`, the `recipe`, `run_dir`.

    gpu_hours: what the jobs are reckoned to take on one GPU (steps/estimate.py).
    """
    jobs, run_dir = planned["jobs"], Path(planned["run_dir"])
    now, before = Recipe.model_validate(planned["recipe"]), recipe_before(run_dir)
    changed = changes(planned)
    last = recipe_last(run_dir) or before
    since = differences(last.model_dump(mode="json"), planned["recipe"]) if last else {}
    quiet = {key: words for key, words in since.items() if not bears(now, key)}
    if not jobs:
        lines = [f"{run_dir}: nothing to be done; all {planned['total']} steps are up to date"]
        return [*lines, *noted(quiet)]
    lines = [f"{run_dir}: {len(jobs)} of {planned['total']} steps would run{reckoned(gpu_hours)}{spent(jobs)}", ""]
    causes: dict[str, list[dict]] = {}
    for job in jobs:
        for cause in causes_of(job, changed):
            causes.setdefault(cause, []).append(job)
    if before is None:
        lines += [f"  for the first time: {counted(jobs)}"]
        return lines
    for cause, own in list(causes.items())[:LINES]:
        if any(job["rule"] not in SHORT for job in own):
            lines += [f"  {cause}", f"      {counted(own, going_on(own, changed, run_dir))}"]
    if len(causes) > LINES:
        lines.append(f"  ... and {len(causes) - LINES} more reasons")
    said = "\n".join(causes)
    if others := [f"{key} {words}" for key, words in changed.items() if f"{key} {words}" not in said]:
        lines += ["", "  changed too, of what runs anyway:", *(f"      {one}" for one in others[:LINES])]
    followers = [job for job in jobs if not causes_of(job, changed)]
    if followers:
        lines += ["", f"  then: {counted(followers)}"]
    return [*lines, *noted(quiet)]


def recipe_before(run_dir: Path) -> Recipe | None:
    """The recipe that the results at hand were made from, if there are any that can be read."""
    try:
        return Recipe.model_validate(yaml.safe_load((run_dir / "recipe.yaml").read_text()))
    except (OSError, ValueError):
        return None


def recipe_last(run_dir: Path) -> Recipe | None:
    """The recipe that was started last, finished or not: what bears on no byte holds since then."""
    try:
        return recipe_of_text((run_dir / "state/recipe.json").read_text())
    except (OSError, ValueError, KeyError):
        return None


def differences(before: Any, now: Any, key: str = "") -> dict[str, str]:
    """Key -> `old -> new`, of each value that differs; parts that came or went are one key."""
    if isinstance(before, dict) and isinstance(now, dict):
        pairs = {name: (before.get(name), now.get(name)) for name in [*before, *(n for n in now if n not in before)]}
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = {str(i): pair for i, pair in enumerate(zip(before, now))}
    else:
        return {} if before == now else {key: f"{brief(before)} -> {brief(now)}"}
    found: dict[str, str] = {}
    for name, (old, new) in pairs.items():
        found |= differences(old, new, f"{key}.{name}" if key else name)
    return found


def brief(value: Any) -> str:
    if value is None:
        return "none"
    value = float(f"{value:.6g}") if isinstance(value, float) else value
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"({'section' if isinstance(value, dict) else f'{len(value)} values'})"


def bears(recipe: Recipe, key: str) -> bool:
    """Whether bytes depend on a key, as its section says."""
    value: Any = recipe
    for part in key.split("."):
        if hasattr(type(value), "model_fields"):
            if part in type(value).model_fields and not bears_on_bytes(type(value), part):
                return False
            value = getattr(value, part, None)
        elif isinstance(value, list | tuple):
            value = value[int(part)]
        else:
            value = (value or {}).get(part)
    return True


def causes_of(job: dict, changed: dict[str, str]) -> list[str]:
    """Why a job runs of itself; nothing for one that only follows from others."""
    found = []
    for word in job["new"]:
        if word.startswith("code:"):
            found.append("the code of these steps")
        elif word.startswith("env:"):
            found.append("the environment of these steps")
        elif word.startswith("content:"):
            name = word.removeprefix("content:").split("@")[0]
            found.append(f"content: {name.replace('/', ' ')}")
        elif match := IDENTITY.fullmatch(word):
            keys = [key for key in changed if within(key, match["place"], match["keys"])]
            found += [f"{key} {changed[key]}" for key in keys] or [f"{match['place']}, as steps are told of it"]
        else:
            key = word.split(" ")[0].strip("-").replace("-", "_")
            found += [
                f"{name} {words}" for name, words in changed.items() if name.split(".")[-1] in (key, f"cpu_{key}")
            ]
    if not found and job["missing"]:
        found.append("not there, or not finished: " + job["missing"])
    if not found and job["changed_code"]:
        found.append("the command of these steps")
    if not found and job["changed_input"]:
        found.append("other files to read")
    return list(dict.fromkeys(found))


def within(key: str, place: str, keys: str | None) -> bool:
    """Whether a changed key lies at an identity's place, or holds it, and is among the keys that it names."""
    place, parts = place.replace("/", "."), keys.removeprefix("-").split(",") if keys else []
    if place in ("tilings",) or place.startswith("levels_of"):
        return key.startswith("synthetic.levels")
    if f"{place}.".startswith(f"{key}."):
        return True
    if not key.startswith(f"{place}."):
        return False
    first = key[len(place) + 1 :].split(".")[0]
    return not parts or (first in parts) != keys.startswith("-")


def counted(jobs: list[dict], note: str = "") -> str:
    """`train_model fine, 3 draw_level, ...`"""
    rules = Counter(job["rule"] for job in jobs)
    names = {job["rule"]: " ".join(map(str, job["wildcards"].values())) for job in jobs}
    words = [f"{count} {rule}" if count > 1 else f"{rule} {names[rule]}".strip() for rule, count in rules.items()]
    return ", ".join(words) + note


def going_on(jobs: list[dict], changed: dict[str, str], run_dir: Path) -> str:
    on = any(job["rule"] == "train_model" and goes_on(job, changed, run_dir) for job in jobs)
    return " (training goes on from its checkpoint)" if on else ""


def goes_on(job: dict, changed: dict[str, str], run_dir: Path) -> bool:
    """Whether a job is a training of which only the length is other: it goes on from its last checkpoint."""
    model = job["wildcards"].get("model", "")
    place = f"models.{model}."
    keys = {key.removeprefix(f"{place}training.") for key in changed if key.startswith(place)}
    if any(word.startswith(("code:", "env:", "content:")) for word in job["new"]):
        return False
    return bool(keys) and keys <= GOES_ON and (run_dir / "state/train" / model).is_dir()


def reckoned(gpu_hours: float) -> str:
    return f"; about {gpu_hours:.2g} h of one H100" if gpu_hours >= 0.005 else ""


def spent(jobs: list[dict]) -> str:
    """How long these took the last time, as far as that is known."""
    times = [(job["seconds"], job["gpu"]) for job in jobs if job["seconds"]]
    total, gpu = sum(s for s, _ in times), sum(s * g for s, g in times)
    if not times:
        return ""
    on_gpus = f", {hours(gpu)} of it asking for a GPU" if gpu else ""
    return f"; the last time they took {hours(total)}{on_gpus}"


def hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def noted(quiet: dict[str, str]) -> list[str]:
    """Changes that make nothing run again."""
    if not quiet:
        return []
    some = [f"  {key} {words}" for key, words in list(quiet.items())[:LINES]]
    return ["", "no result depends on these, and they hold from the next time on:", *some]
