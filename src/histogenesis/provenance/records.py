"""The jobs of a run, as Snakemake noted them in .snakemake/metadata: what each read, was told, ran and wrote."""

from __future__ import annotations

import ast
import base64
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import yaml

from histogenesis.core.errors import BadInput
from histogenesis.recipe.identity import section_at

METADATA = Path(".snakemake/metadata")


@dataclass(eq=False)
class Job:
    """One job. Paths are relative to the project's folder; `params` are the values that decide whether it runs again."""

    rule: str
    inputs: list[str]
    params: list[str]
    shell: str
    start: float
    end: float
    outputs: list[str] = field(default_factory=list)
    records: list[Path] = field(default_factory=list)
    recipe: dict = field(default_factory=dict)

    @cached_property
    def script(self) -> str | None:
        """Name of the script in workflow/scripts/; None for what Snakemake does itself."""
        found = re.search(r"\$SCRIPTS/(\w+\.py)", self.shell or "")
        return found[1] if found else None

    def told(self, kind: str) -> str | None:
        """The digest among the params that calls itself `kind` (code, env), without that word."""
        return next((p.removeprefix(f"{kind}:") for p in self.params if p.startswith(f"{kind}:")), None)

    @cached_property
    def sections(self) -> list[dict]:
        """Sections of the recipe that the params name."""
        return list(self.told_of.values())

    @cached_property
    def told_of(self) -> dict[str, dict]:
        """Identity -> the section of the recipe that it stands for, of those among the params."""
        found = {}
        for param in self.params:
            if re.fullmatch(r"[\w./-]+(\[[\w,-]+\])?@[0-9a-f]{12}", param):
                try:
                    section = section_at(self.recipe, param)
                except BadInput:  # a slide's row, or what is derived from several sections
                    continue
                if isinstance(section, dict):
                    found[param] = section
        return found

    @cached_property
    def contents(self) -> dict[str, str]:
        """Fingerprints of what users brought, by kind and name (slide/a); those that were not there left out."""
        found = (re.fullmatch(r"content:(.+)@([0-9a-f]+)", word) for param in self.params for word in param.split(" "))
        return {match[1]: match[2] for match in found if match and match[1] != "slides"}

    @cached_property
    def seed(self) -> int | None:
        """What its random numbers start from: told by itself, or in its section of the recipe; None where none are drawn."""
        words = shlex.split(" ".join(param for param in self.params if param.startswith("--")))
        if "--seed" in words:
            return int(words[words.index("--seed") + 1])
        nested = [part for section in self.sections for part in (section, section.get("training"))]
        return next((part["seed"] for part in nested if isinstance(part, dict) and "seed" in part), None)


def jobs_of(project: Path, run: str) -> list[Job]:
    """The jobs that results/{run}/report.html comes from, in the order of their ends.

    What lies beside them (of slides that were taken out, of another recipe) is not among them. Raises BadInput for a run
    that is not finished, or of which Snakemake has no notes.
    """
    report = f"results/{run}/report.html"
    if not (project / report).is_file():
        raise BadInput(f"{project / report}: no such file; finish the run first (snakemake), then share it")
    records = dict(_records(project, f"results/{run}/"))
    if report not in records:
        raise BadInput(
            f"{project / METADATA}: has no notes of {report}; share the run from the folder where snakemake made it"
        )
    jobs: dict[tuple, Job] = {}
    for name, (path, record) in sorted(records.items()):
        key = (record["rule"], *(record["log"] or [name]))
        job = jobs.setdefault(key, _job(record))
        job.outputs.append(name)
        job.records.append(path)
    recipe = yaml.safe_load((project / f"results/{run}/recipe.yaml").read_text())
    for job in jobs.values():
        job.recipe = recipe
    maker = {name: job for job in jobs.values() for name in job.outputs}
    found, todo = set(), [maker[report]]
    while todo:
        job = todo.pop()
        if job not in found:
            found.add(job)
            todo.extend(maker[name] for name in job.inputs if name in maker)
    return sorted(found, key=lambda job: (job.end, job.outputs))


def _records(project: Path, prefix: str) -> Iterator[tuple[str, tuple[Path, dict]]]:
    """(output, (its record's path, record)). A name too long for one file is spread over folders that begin with @."""
    root = project / METADATA
    for path in root.rglob("*"):
        if not path.is_file():
            continue
        encoded = "".join(part.removeprefix("@") for part in path.relative_to(root).parts)
        name = base64.urlsafe_b64decode(encoded).decode()
        if name.startswith(prefix):
            yield name, (path.relative_to(project), json.loads(path.read_text()))


def _job(record: dict) -> Job:
    params = [str(ast.literal_eval(param)) for param in record["params"] or []]
    shell = record["shellcmd"] or ""
    return Job(record["rule"], record["input"] or [], params, shell, record["starttime"], record["endtime"])
