"""A site's profile: what SLURM says becomes the keys that Snakemake reads. The texts are those of SLURM 22.05."""

import re

import pytest
import yaml

from histogenesis.core.errors import BadInput
from histogenesis.provenance import site
from histogenesis.provenance.site import (
    GPU_RULES,
    Answers,
    Partition,
    chosen,
    minutes_of,
    partitions_of,
    profile,
    qos_of,
    submit_of,
)

SHOWN = """\
PartitionName=short AllowGroups=ALL Default=YES QoS=N/A MaxTime=04:00:00 Nodes=c[1-9] State=UP TRES=cpu=16,node=1
PartitionName=long AllowGroups=ALL Default=NO MaxTime=7-00:00:00 Nodes=c[1-9] State=UP
PartitionName=gpu AllowGroups=ALL Default=NO MaxTime=1-12:00:00 Nodes=g[1-4] State=UP TRES=cpu=16,gres/gpu=4
PartitionName=oldgpu Default=NO MaxTime=UNLIMITED Nodes=o1 State=DOWN
"""
GRES = "short|(null)\nlong|(null)\ngpu|gpu:a100:4(S:0-1)\ngpu|gpu:a100:8,nvme:1\noldgpu|gpu:2\n"


def test_partitions_their_limits_and_gpus():
    short, long, gpu, old = partitions_of(SHOWN, GRES)
    assert (short.minutes, long.minutes, gpu.minutes, old.minutes) == (240, 7 * 24 * 60, 36 * 60, None)
    assert short.gpus == {} and gpu.gpus == {"a100": 8} and old.gpus == {"": 2} and not old.up
    assert chosen([short, long, gpu, old], None, False).name == "short", "the default"
    assert chosen([short, long, gpu, old], None, True).name == "gpu", "one that is up"
    assert chosen([short, long, gpu, old], "long", False).name == "long"
    with pytest.raises(BadInput, match="short, long, gpu, oldgpu"):
        chosen([short, long, gpu, old], "lnog", False)
    with pytest.raises(BadInput, match="no GPUs"):
        chosen([short, long, gpu, old], "long", True)


@pytest.mark.parametrize(
    "text, minutes",
    [
        ("30", 30),
        ("90:00", 90),
        ("04:00:00", 240),
        ("1-00:00:00", 1440),
        ("2-12", 3600),
        ("1-01:30", 1530),
        ("UNLIMITED", None),
    ],
)
def test_slurms_times(text, minutes):
    assert minutes_of(text) == minutes


def test_the_least_limit_of_submissions():
    assert submit_of("lab1||200|\ngpulab||50|\n", {}) == 50 and submit_of("lab1|||\nroot|||\n", {}) is None
    qos = qos_of("normal|||\nfew|5||\nshared||9|400\n")
    assert qos == {"few": 5, "shared": 9}
    assert submit_of("gpulab|||\nlab1|few|77|\n", qos) == 5, "an account's default quality of service"
    assert submit_of("lab1|||\n", {"normal": 30}) == 30, "SLURM's own, where the account has none"


# A cluster whose partitions are not for everyone, and whose GPUs are given by --gres alone.
CLOSED = """\
PartitionName=all AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL Default=YES QoS=few MaxTime=1-00:00:00 State=UP
PartitionName=bought AllowGroups=ALL AllowAccounts=physics Default=NO QoS=N/A MaxTime=7-00:00:00 State=UP
PartitionName=group AllowGroups=physicists,admins AllowAccounts=ALL Default=NO QoS=N/A MaxTime=7-00:00:00 State=UP
PartitionName=denied AllowGroups=ALL DenyAccounts=lab,lab_gpu Default=NO QoS=N/A MaxTime=7-00:00:00 State=UP
PartitionName=gpu AllowGroups=users AllowAccounts=lab_gpu,physics Default=NO QoS=N/A MaxTime=1-00:00:00 State=UP
"""
SAID = {
    "scontrol show config": "MinJobAge               = 300 sec\nSelectType              = select/cons_res\n",
    "scontrol show partition": CLOSED,
    "sinfo -h": "all|(null)\nbought|gpu:h100:8\ngroup|gpu:8\ndenied|gpu:8\ngpu|gpu:tesla:2\n",
    "sacctmgr -nP show association": "lab_gpu|||\nlab|normal|77|\n",
    "sacctmgr -nP show user": "lab\n",
    "sacctmgr -nP show qos": "normal|||\nfew|5||\n",
    "id -Gn": "users pathologists\n",
}


def test_what_is_closed_to_one_is_not_taken_and_accounts_limits_and_gres_are_written(monkeypatch):
    monkeypatch.setattr(
        site, "ask", lambda command: next(text for start, text in SAID.items() if " ".join(command).startswith(start))
    )
    answers = site.questions()
    assert [one.name for one in answers.partitions if one.up] == ["all", "gpu"]
    keys, _ = profile(answers)
    resources = keys["default-resources"]
    assert (resources["slurm_partition"], resources["slurm_account"]) == ("'all'", "'lab'")
    assert (resources["gpu_partition"], resources["gpu_account"]) == ("'gpu'", "'lab_gpu'")
    assert resources["gpu_flag"] == "'gres'"
    assert keys["jobs"] == 4, "of the partition's own quality of service"


def test_where_gpus_may_be_asked_for_by_gpus_and_nothing_is_accounted(monkeypatch):
    said = SAID | {"scontrol show config": SAID["scontrol show config"].replace("cons_res", "cons_tres")}
    said |= {start: "" for start in SAID if start.startswith("sacctmgr")}
    monkeypatch.setattr(
        site, "ask", lambda command: next(text for start, text in said.items() if " ".join(command).startswith(start))
    )
    keys, _ = profile(site.questions(), gpu="gpu")
    assert not {"gpu_flag", "slurm_account", "gpu_account"} & set(keys["default-resources"]) and "jobs" not in keys


def test_the_profile_names_partitions_limits_and_what_is_missing(monkeypatch, tmp_path):
    answers = Answers(partitions_of(SHOWN, GRES), 60, 50, "apptainer")
    monkeypatch.setattr(site, "questions", lambda: answers)
    said = site.write_site(tmp_path / "mine", None, None)
    written = yaml.safe_load((tmp_path / "mine/config.yaml").read_text())
    resources = written["default-resources"]
    assert (resources["slurm_partition"], resources["gpu_partition"]) == ("'short'", "'gpu'")
    assert (resources["max_runtime"], resources["gpu_max_runtime"]) == (240, 2160)
    assert "--signal=USR1" in resources["slurm_extra"], "a key takes the place of the whole key"
    assert written["jobs"] == 49 and written["software-deployment-method"] == "apptainer"
    assert "a100" in said and "50 jobs" in said and "HISTOGENESIS_IMAGE" in said and written["apptainer-args"] == "--nv"
    with pytest.raises(BadInput, match="is there already"):
        site.write_site(tmp_path / "mine", None, None)


def test_without_conda_and_containers_jobs_use_the_python_that_snakemake_runs_in():
    keys, remarks = profile(Answers([Partition("all", True, True, None)], 300, None, ""))
    assert keys["software-deployment-method"] == "env-modules" and any("requirements.txt" in one for one in remarks)


def test_a_cluster_without_gpus_asks_for_none():
    keys, remarks = profile(Answers([Partition("all", True, True, None)], 300, None, "conda"))
    assert keys["default-resources"]["gpu_partition"] == "'all'" and "max_runtime" not in keys["default-resources"]
    assert keys["set-resources"]["train_model"] == {"gpu": 0} and "cut_patches" in keys["set-resources"]
    assert "jobs" not in keys and "software-deployment-method" not in keys
    assert any("open to you has GPUs" in one for one in remarks)


@pytest.mark.parametrize("minutes, slides", [(None, None), (240, None), (160, None), (120, 12), (60, 4), (20, 4)])
def test_a_short_limit_makes_jobs_of_fewer_slides(minutes, slides):
    keys, remarks = profile(Answers([Partition("all", True, True, minutes)], 300, None, "conda"))
    assert keys.get("group-components") == (slides and {"slides": slides})
    assert any("slides and not 16 are one job" in one for one in remarks) == (slides is not None)


def test_no_step_that_asks_for_a_gpu_is_forgotten_there(root):
    rules = [
        re.split(r"^rule (\w+):$", path.read_text(), flags=re.MULTILINE) for path in (root / "rules").glob("*.smk")
    ]
    texts = {name: text for parts in rules for name, text in zip(parts[1::2], parts[2::2])}
    asking = {name for name, text in texts.items() if re.search(r"^ +gpu=", text, re.MULTILINE)}
    assert {"train_model", "draw_level"} < asking == set(GPU_RULES)


def test_without_a_cluster_it_says_where_to_run_it(monkeypatch):
    monkeypatch.setattr(site, "ask", lambda command: "")
    with pytest.raises(BadInput, match="login node"):
        site.questions()
