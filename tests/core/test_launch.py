"""Several processes that share a step: what they are told, how they end, and that signals reach them."""

import os
import signal
import subprocess
import sys
import time

import pytest


def started(tmp_path, body, count=2):
    script = tmp_path / "step.py"
    script.write_text(
        f"""
import os, signal, sys, time
from pathlib import Path
here, rank = Path({str(tmp_path)!r}), os.environ.get("RANK")
(here / f"imported.{{os.getpid()}}").touch()
if __name__ == "__main__":
{body}
"""
    )
    command = [sys.executable, "-m", "histogenesis.core.launch", str(count), str(script), "--slide", "a"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(*paths):
    until = time.monotonic() + 60
    while not all(path.exists() for path in paths):
        assert time.monotonic() < until, f"not there: {[str(p) for p in paths if not p.exists()]}"
        time.sleep(0.02)


def test_each_process_has_its_arguments_and_a_rank(tmp_path):
    told = started(
        tmp_path,
        """
    names = ("WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")
    (here / rank).write_text(" ".join([*sys.argv[1:], *(os.environ[name] for name in names), os.environ["MASTER_PORT"]]))
""",
        count=3,
    )
    assert told.wait(60) == 0
    texts = [(tmp_path / str(rank)).read_text().split() for rank in range(3)]
    assert [text[:5] for text in texts] == [["--slide", "a", "3", str(rank), "127.0.0.1"] for rank in range(3)]
    assert len({text[5] for text in texts}) == 1, "one port for all"


def test_the_processes_find_one_another(tmp_path):
    found = started(
        tmp_path,
        """
    import torch
    from histogenesis.canvas.share import Share
    from histogenesis.models.training import join_processes
    join_processes()
    share = Share.of_this_process()
    (here / rank).write_text(f"{share.rank} {share.count} {share.any(rank == '1')} {share.any(False)}")
""",
    )
    assert found.wait(120) == 0, found.stdout.read()
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["0 2 True False", "1 2 True False"]


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_all_and_what_they_save_is_waited_for(tmp_path, number):
    step = started(
        tmp_path,
        """
    came = []
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: came.append(number))
    (here / f"ready{rank}").touch()
    while not came:
        time.sleep(0.02)
    time.sleep(float(rank))
    (here / f"saved{rank}").write_text(str(came[0]))
    sys.exit(75)
""",
    )
    wait_for(tmp_path / "ready0", tmp_path / "ready1")
    os.kill(step.pid, number)
    assert step.wait(60) == 75
    assert [(tmp_path / f"saved{rank}").read_text() for rank in "01"] == [str(int(number))] * 2


def test_where_one_fails_the_other_is_ended_and_its_code_is_the_step_s(tmp_path):
    step = started(
        tmp_path,
        """
    (here / f"pid{rank}").write_text(str(os.getpid()))
    if rank == "1":
        sys.exit("error: slide.svs: no such file")
    time.sleep(600)
""",
    )
    output, _ = step.communicate(timeout=60)
    assert step.returncode == 1
    assert "error: slide.svs: no such file" in output
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid0").read_text()), 0)


def test_a_killed_process_fails_the_step(tmp_path):
    step = started(tmp_path, "    os.kill(os.getpid(), signal.SIGKILL) if rank == '0' else None\n")
    assert step.wait(60) == 128 + signal.SIGKILL


def test_an_error_counts_more_than_another_s_stop(tmp_path):
    step = started(tmp_path, "    sys.exit(75 if rank == '0' else 3)\n")
    assert step.wait(60) == 3


def test_what_the_script_imports_is_imported_before_the_processes_part(tmp_path):
    (tmp_path / "costly.py").write_text(f"open({str(tmp_path / 'times')!r}, 'a').write('once\\n')")
    step = started(
        tmp_path,
        "    (here / rank).touch()\nsys.path.insert(0, str(here))\nimport costly\n",
        count=3,
    )
    assert step.wait(60) == 0
    assert (tmp_path / "times").read_text() == "once\n"
