"""A profile for the cluster at hand: what SLURM says of itself, as the lines of slurm/config.yaml that differ between sites.

Asked are `scontrol show config`, `scontrol show partition`, `sinfo` and, where there is accounting, `sacctmgr`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from histogenesis.core.errors import BadInput
from histogenesis.core.home import workflow_home


@dataclass
class Partition:
    """up: and open to who asks; minutes: None where there is no limit; gpus: model -> of one node, most of any; one without a
    model is ''; qos: the partition's own; account: the first of one's accounts that it takes; '' where that is not known."""

    name: str
    default: bool
    up: bool
    minutes: int | None
    gpus: dict[str, int] = field(default_factory=dict)
    qos: str = ""
    account: str = ""


@dataclass
class Answers:
    """What SLURM said."""

    partitions: list[Partition]
    min_job_age_s: int
    submit: int | None  # jobs that one may have in the queue; None for no limit that could be found
    software: str  # conda, apptainer, or neither: ''
    qos: dict[str, int] = field(default_factory=dict)  # the same of each quality of service that has a limit
    gpus_by_gres: bool = False


def ask(command: list[str]) -> str:
    """Standard output; '' where a command fails or is not there."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def questions() -> Answers:
    """Raises BadInput where there is no SLURM that answers."""
    config = ask(["scontrol", "show", "config"])
    if not config:
        raise BadInput("no SLURM answers here (`scontrol show config`): run this on a login node of the cluster")
    associations = ask(["sacctmgr", "-nP", "show", "association", f"user={user()}", f"format={ASSOCIATION}"])
    default = ask(["sacctmgr", "-nP", "show", "user", user(), "format=DefaultAccount"]).strip()
    own = {line.split("|")[0] for line in associations.splitlines()}
    partitions = partitions_of(
        ask(["scontrol", "show", "partition", "--oneliner"]),
        ask(["sinfo", "-h", "-o", "%R|%G"]),
        sorted(own, key=lambda account: account != default),
        ask(["id", "-Gn"]).split(),
    )
    if not partitions:
        raise BadInput("SLURM shows no partition (`scontrol show partition`): ask who runs the cluster")
    qos = qos_of(ask(["sacctmgr", "-nP", "show", "qos", f"format={QOS}"]))
    software = next((name for name in ("conda", "apptainer", "singularity") if shutil.which(name)), "")
    age = re.search(r"^MinJobAge\s*=\s*(\d+)", config, re.MULTILINE)
    gres = not re.search(r"^SelectType\s*=\s*select/cons_tres$", config, re.MULTILINE)  # which alone knows --gpus
    return Answers(partitions, int(age[1]) if age else 300, submit_of(associations, qos), software, qos, gres)


ASSOCIATION = "Account,DefaultQOS,MaxSubmitJobs,GrpSubmitJobs"
QOS = "Name,MaxSubmitJobsPU,MaxSubmitJobsPA,GrpSubmitJobs"


def user() -> str:
    import getpass

    return getpass.getuser()


def qos_of(text: str) -> dict[str, int]:
    """The least limit of submissions of each quality of service that has one (the fields QOS)."""
    rows = [line.split("|") for line in text.splitlines()]
    return {name: min(map(int, numbers)) for name, *rest in rows if (numbers := [one for one in rest if one])}


def submit_of(associations: str, qos: dict[str, int]) -> int | None:
    """The least of the limits of one's accounts (the fields ASSOCIATION), and of their default quality of service."""
    rows = [line.split("|") for line in associations.splitlines()]
    found = [int(number) for row in rows for number in row[2:] if number]
    found += [qos[name] for row in rows if (name := row[1] or "normal") in qos]
    return min(found, default=None)


def partitions_of(shown: str, gres: str, accounts: Sequence[str] = (), groups: Sequence[str] = ()) -> list[Partition]:
    """Of `scontrol show partition --oneliner` and `sinfo -o '%R|%G'` (a line for each partition and set of nodes alike).

    accounts: one's own, the default first; none where there is no accounting. groups: of Unix, that one is in.
    """
    found = {}
    for line in shown.splitlines():
        values = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if "PartitionName" in values:
            name, qos = values["PartitionName"], values.get("QoS", "N/A")
            limit = minutes_of(values.get("MaxTime", "UNLIMITED"))
            taken = [one for one in accounts if is_among(one, values.get("AllowAccounts", "ALL"))]
            taken = [one for one in taken if one not in values.get("DenyAccounts", "").split(",")]
            is_open = (bool(taken) or not accounts) and any(
                is_among(one, values.get("AllowGroups", "ALL")) for one in groups or [""]
            )
            up = values.get("State", "UP") == "UP" and is_open
            found[name] = Partition(name, values.get("Default") == "YES", up, limit, qos="" if qos == "N/A" else qos)
            found[name].account = next(iter(taken), "")
    for line in gres.splitlines():
        name, _, text = line.partition("|")
        for model, count in re.findall(r"\bgpu(?::([A-Za-z][\w.-]*))?:(\d+)", text):
            if name in found:
                found[name].gpus[model] = max(found[name].gpus.get(model, 0), int(count))
    return list(found.values())


def is_among(one: str, allowed: str) -> bool:
    return allowed == "ALL" or one in allowed.split(",")


def minutes_of(text: str) -> int | None:
    """SLURM's times: minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]]; None for no limit."""
    if text in ("UNLIMITED", "INFINITE", "NONE", "Partition_Limit"):
        return None
    days, _, rest = text.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if days:
        hours, minutes = [*parts, 0, 0][:2]
    elif len(parts) == 3:
        hours, minutes = parts[:2]
    else:
        hours, minutes = 0, parts[0]
    return (int(days or 0) * 24 + hours) * 60 + minutes


def chosen(partitions: list[Partition], name: str | None, gpu: bool) -> Partition | None:
    """The partition that is named; or the default, or else the one with the longest limit, among those with (without) GPUs."""
    if name:
        match = [p for p in partitions if p.name == name]
        if not match:
            raise BadInput(f"no partition {name!r}; there are {', '.join(p.name for p in partitions)}")
        if gpu and not match[0].gpus:
            raise BadInput(f"partition {name!r} has no GPUs (`sinfo -o '%R %G'`)")
        return match[0]
    fit = [p for p in partitions if p.up and bool(p.gpus) == gpu] or [p for p in partitions if p.up and not gpu]
    return max(fit, key=lambda p: (p.default, p.minutes is None, p.minutes or 0), default=None)


def profile(answers: Answers, cpu: str | None = None, gpu: str | None = None) -> tuple[dict, list[str]]:
    """The profile's keys, and remarks for whoever reads it."""
    base = yaml.safe_load((workflow_home() / "slurm/config.yaml").read_text())
    resources, remarks = dict(base["default-resources"]), []
    plain, with_gpus = chosen(answers.partitions, cpu, False), chosen(answers.partitions, gpu, True)
    if plain is None:
        raise BadInput("no partition is up and open to you (`sinfo -s`): ask who runs the cluster")
    resources["slurm_partition"] = f"'{plain.name}'"
    if plain.account:
        resources["slurm_account"] = f"'{plain.account}'"
    keys: dict[str, Any] = {}
    if plain.minutes:
        resources["max_runtime"] = plain.minutes
        at_once, together = base["resources"]["at_once"], base["group-components"]["slides"]
        fit = at_once * max(1, plain.minutes // ROW_MINUTES)
        if fit < together:
            keys["group-components"] = {"slides": fit}
            remarks.append(
                f"{fit} slides and not {together} are one job, since {plain.name} grants {plain.minutes} min"
            )
    resources.pop("gpu_partition", None)
    if with_gpus:
        resources["gpu_partition"] = f"'{with_gpus.name}'"
        if with_gpus.account:
            resources["gpu_account"] = f"'{with_gpus.account}'"
        if answers.gpus_by_gres:
            resources["gpu_flag"] = "'gres'"
        if with_gpus.minutes:
            resources["gpu_max_runtime"] = with_gpus.minutes
        models = [model for model in with_gpus.gpus if model]
        if models:
            remarks.append(f"GPUs of {with_gpus.name}: {', '.join(models)}; to take one kind alone, set gpu_kind")
        most = max(with_gpus.gpus.values())
        remarks.append(f"a node of {with_gpus.name} has {most} GPU(s): training.gpus of a recipe may be up to that")
    else:
        remarks.append(
            "no partition that is up and open to you has GPUs: all steps run on CPUs, which is slow; gpu_partition is left out"
        )
        resources["gpu_partition"] = f"'{plain.name}'"
        keys["set-resources"] = {rule: {"gpu": 0} for rule in GPU_RULES} | dict(base["set-resources"])
    keys["default-resources"] = resources
    limits = [answers.submit, *(answers.qos.get(one.qos) for one in (plain, with_gpus) if one)]
    submit = min((limit for limit in limits if limit is not None), default=None)
    if submit is not None:
        keys["jobs"] = max(1, min(base["jobs"], submit - 1))
        remarks.append(f"at most {submit} jobs may be in the queue (sacctmgr): `jobs` is below that")
    if answers.software in ("apptainer", "singularity"):
        keys["software-deployment-method"] = (
            "apptainer"  # without HISTOGENESIS_IMAGE: the Python that Snakemake runs in
        )
        if with_gpus:
            keys["apptainer-args"] = "--nv"
        remarks.append(f"no conda here, but {answers.software}: set HISTOGENESIS_IMAGE to an image (docs/cluster.md)")
    elif not answers.software:
        keys["software-deployment-method"] = "env-modules"  # none: jobs use the Python that Snakemake runs in
        remarks.append("no conda here: start snakemake in an environment that has all of envs/requirements.txt")
    if answers.min_job_age_s < 60:
        remarks.append(f"MinJobAge is {answers.min_job_age_s} s: jobs' states are asked for every few seconds")
    return keys, remarks


ROW_MINUTES = 40  # that a grouped job asks for, for each `at_once` slides of two gigapixels (rules/resources.smk)

GPU_RULES = ("train_model", "draw_level", "draw_share", "upscale_level", "draw_samples", "extract_features", "train_on_real",
             "measure_utility", "measure_reconstruction")  # fmt: skip


def write_site(out: Path, cpu: str | None, gpu: str | None) -> str:
    """Write {out}/config.yaml; returns what to say of it."""
    keys, remarks = profile(questions(), cpu, gpu)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "config.yaml"
    if path.exists():
        raise BadInput(f"{path}: is there already; move it away, or give another folder (--out)")
    head = ["# Written by `histogenesis site`. Use it beside the workflow's own profile, over which it wins:",
            f"#     snakemake --profile slurm --workflow-profile {out}", *(f"# {one}" for one in remarks)]  # fmt: skip
    path.write_text("\n".join(head) + "\n\n" + yaml.safe_dump(keys, sort_keys=False))
    return "\n".join([f"{path}:", *(f"  {one}" for one in remarks), path.read_text()])
