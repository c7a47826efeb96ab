"""The crate's metadata as JSON-LD: Provenance Run Crate 0.5, https://www.researchobject.org/workflow-run-crate/.

Files carry `sha256` and `contentSize`. Each job is a CreateAction: its script (instrument), what it read (object), what it
wrote (result), and as properties the parameters, digests of code and environment, seed, device and what else rounds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import quote

from histogenesis.provenance.records import Job
from histogenesis.provenance.verify import METADATA_FILE

CONTEXT = ["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"]
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
WORKFLOW = "code/Snakefile"


def text_of(value: object) -> bytes:
    """JSON, the same bytes for the same value."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def reference(name: str) -> str:
    """The @id of a file of the crate."""
    return quote(name)


def refs(ids: Iterable[str]) -> list[dict]:
    return [{"@id": i} for i in ids]


def time_of(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat()


class Graph:
    """The entities, by @id."""

    def __init__(self):
        self.entities: dict[str, dict] = {}

    def add(self, name: str, kind: str | list[str], /, **properties) -> str:
        self.entities[name] = {"@id": name, "@type": kind, **{k: v for k, v in properties.items() if v is not None}}
        return name

    def value(self, name: str, value: object) -> str:
        """A PropertyValue, one for all that share it."""
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        digest = hashlib.sha256(f"{name}={text}".encode()).hexdigest()[:16]
        return self.add(f"#{name}-{digest}", "PropertyValue", name=name, value=text)


def graph(
    run: str,
    jobs: list[Job],
    files: dict[str, dict],
    left_out: dict[str, str],
    facts: dict,
    devices: dict[str, dict],
) -> bytes:
    """The metadata file. `files`: name -> sha256, contentSize; `left_out`: name -> sha256 of what is not in the crate;

    `facts`: commit, clean, versions, brought (name -> fingerprint of what the user brought); `devices`: output ->
    what it was computed on.
    """
    made = Graph()
    end = time_of(max(job.end for job in jobs))
    for address, name in PROFILES.items():
        made.add(address, "CreativeWork", name=name, version=address.rsplit("/", 1)[1])
    for name, facts_of_file in files.items():
        made.add(reference(name), "File", **facts_of_file)
    for name, digest in left_out.items():
        made.add(f"#left-out/{reference(name)}", "CreativeWork", name=name, sha256=digest, description=LEFT_OUT)
    for name, digest in facts["brought"].items():
        made.add(f"#brought/{reference(name)}", "CreativeWork", name=name, identifier=digest, description=BROUGHT)
    steps, actions = add_jobs(made, jobs, files, left_out, devices)
    add_workflow(made, steps, facts)
    results = [name for name in files if name.startswith(f"results/{run}/")]
    made.add(
        "#run",
        "CreateAction",
        name=f"run {run}",
        instrument={"@id": WORKFLOW},
        object=refs(
            [reference(f"results/{run}/recipe.yaml"), *(i for i in made.entities if i.startswith("#brought/"))]
        ),
        result=refs(map(reference, results)),
        startTime=time_of(min(job.start for job in jobs)),
        endTime=end,
        actionStatus={"@id": "http://schema.org/CompletedActionStatus"},
    )
    made.add(
        "#orchestration",
        "OrganizeAction",
        name=f"Snakemake makes run {run}",
        instrument={"@id": "#snakemake"},
        object=refs(f"#control-{i}" for i in range(len(jobs))),
        result={"@id": "#run"},
        endTime=end,
    )
    made.add(
        "./",
        "Dataset",
        name=f"histogenesis run {run}",
        description="Synthetic histology slides, the models that drew them, and how real they are, with how all was made",
        datePublished=end,
        license="as stated by whoever shares it; the workflow's own license is in its repository",
        conformsTo=refs(PROFILES),
        mainEntity={"@id": WORKFLOW},
        hasPart=refs(map(reference, files)),
        mentions=refs(["#run", "#orchestration", *actions]),
    )
    made.add(
        METADATA_FILE,
        "CreativeWork",
        about={"@id": "./"},
        conformsTo=refs(["https://w3id.org/ro/crate/1.1", "https://w3id.org/workflowhub/workflow-ro-crate/1.0"]),
    )
    return text_of({"@context": CONTEXT, "@graph": [made.entities[i] for i in sorted(made.entities)]})


LEFT_OUT = "not in this crate: it shows real tissue, or was computed from single patches of it"
BROUGHT = (
    "brought by the user and not in this crate; identified by a fingerprint (of a slide, its record has the sha256)"
)


def add_workflow(made: Graph, steps: dict[str, str], facts: dict) -> None:
    """The workflow, its language and engine, its steps, and the libraries that it ran with."""
    made.add(
        "#snakemake", ["ComputerLanguage", "SoftwareApplication"], name="Snakemake", url="https://snakemake.github.io"
    )
    libraries = [
        made.add(f"#software/{name}", "SoftwareApplication", name=name, softwareVersion=version)
        for name, version in facts["versions"].items()
    ]
    made.entities["#snakemake"]["softwareVersion"] = facts["versions"].get("snakemake", "unknown")
    tree = {True: "clean", False: "changed since the commit", None: "not known"}[facts["clean"]]
    made.entities[WORKFLOW] |= {
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
        "name": "histogenesis",
        "version": facts["commit"] or "not known",
        "programmingLanguage": {"@id": "#snakemake"},
        "additionalProperty": refs([made.value("working-tree", tree)]),
        "softwareRequirements": refs(libraries),
        "step": refs(f"#step-{rule}" for rule in steps),
        "hasPart": refs(dict.fromkeys(tool for tool in steps.values() if tool != WORKFLOW)),
    }


def add_jobs(
    made: Graph, jobs: list[Job], files: dict, left_out: dict, devices: dict
) -> tuple[dict[str, str], list[str]]:
    """Steps (rule -> @id of what it runs), and the @ids of the jobs' actions."""

    def named(names: Iterable[str]) -> list[str]:
        """@ids of files; a folder stands for the files in it."""
        found = []
        for name in names:
            inside = [name] if name in files or name in left_out else folders.get(name, [])
            found += [reference(n) if n in files else f"#left-out/{reference(n)}" for n in inside]
        return found

    folders: dict[str, list[str]] = {}
    for name in [*files, *left_out]:
        folders.setdefault(name.rpartition("/")[0], []).append(name)
    steps, actions = {}, []
    for i, job in enumerate(jobs):
        tool = WORKFLOW
        if job.script:
            tool = reference(f"code/workflow/scripts/{job.script}")
            made.entities[tool]["@type"] = ["File", "SoftwareSourceCode", "SoftwareApplication"]
            made.entities[tool]["name"] = job.script
        if job.rule not in steps:
            steps[job.rule] = tool
            made.add(
                f"#step-{job.rule}", "HowToStep", name=job.rule, workExample={"@id": tool}, position=str(len(steps))
            )
        brought = [f"#brought/{reference(name)}" for name in job.contents]
        properties = [
            made.value("parameter", f"{p} {json.dumps(job.told_of[p], sort_keys=True)}" if p in job.told_of else p)
            for p in job.params
            if p and not p.startswith(("code:", "env:", "content:"))
        ]
        properties += [made.value(kind, job.told(kind)) for kind in ("code", "env") if job.told(kind)]
        if job.seed is not None:
            properties.append(made.value("seed", job.seed))
        for key, value in next((devices[name] for name in job.outputs if name in devices), {}).items():
            properties.append(made.value(key, value))
        actions.append(
            made.add(
                f"#job-{i}",
                "CreateAction",
                name=f"{job.rule}: {job.outputs[0]}",
                instrument={"@id": tool},
                object=refs(named(job.inputs) + brought),
                result=refs(named(job.outputs)),
                startTime=time_of(job.start),
                endTime=time_of(job.end),
                additionalProperty=refs(dict.fromkeys(properties)),
            )
        )
        made.add(f"#control-{i}", "ControlAction", instrument={"@id": f"#step-{job.rule}"}, object={"@id": f"#job-{i}"})
    return steps, actions
