"""What a site's profile says of its partitions (slurm/config.yaml, `histogenesis site`), made resources of the rules.

A rule that asks for a GPU goes to the partition of those, whichever rule it is; no rule asks for more minutes than its partition
grants, nor does a group, whose minutes Snakemake adds up: such a job would wait for ever. What a profile sets for one rule (set-resources) wins. Elsewhere nothing happens.
"""

from snakemake.jobs import GroupJob
from snakemake.resources import Resource

OF_GPU_RULES = {
    "slurm_partition": "gpu_partition",
    "slurm_account": "gpu_account",
    "qos": "gpu_qos",
    "constraint": "gpu_constraint",
    "gpu_model": "gpu_kind",
}


def at_most(runtime, minutes):
    """A rule's runtime, and no more than so many minutes."""
    if runtime.is_evaluable():
        return Resource("runtime", runtime._wrap_evaluator(lambda asked: min(asked, minutes)))
    return Resource("runtime", min(runtime.value, minutes))


def of_a_group(added_up):
    """A group's resources, and no more minutes than the least that its rules' partitions grant."""

    def resources(group):
        found = added_up(group)
        limits = [GRANTED[job.rule.name] for job in group.jobs if job.rule.name in GRANTED]
        if limits and found.get("runtime", 0) > min(limits):
            group._resources["runtime"] = min(limits)
            found = added_up(group)
        return found

    return resources


GRANTED = {}  # minutes, by rule

for one in workflow.rules:
    own = workflow.resource_settings._parsed_overwrite_resources.get(one.name, {})
    asked = one.resources["gpu"] if "gpu" in one.resources else None
    gpu = asked is not None and (asked.is_evaluable() or bool(asked.value))
    for name, of_gpus in OF_GPU_RULES.items():
        if gpu and of_gpus in one.resources and name not in own:
            one.resources[name] = one.resources[of_gpus].with_name(name)
    limit = "gpu_max_runtime" if gpu else "max_runtime"
    if limit in one.resources and "runtime" in one.resources and "runtime" not in own:
        GRANTED[one.name] = one.resources[limit].value
        one.resources["runtime"] = at_most(one.resources["runtime"], GRANTED[one.name])

if GRANTED:
    GroupJob.resources = property(of_a_group(GroupJob.resources.fget))
