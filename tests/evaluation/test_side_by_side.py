"""Measures side by side: really at once, the same results, and an error that ends all."""

import os
import subprocess
import sys
import time
from functools import partial

import pytest
import torch

from histogenesis.evaluation.side_by_side import side_by_side


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def meet(folder, own, other):
    """Ends when the other part has begun, too."""
    (folder / own).touch()
    for _ in range(600):
        if (folder / other).exists():
            return os.getpid()
        time.sleep(0.05)
    raise TimeoutError(f"{other} did not begin while {own} waited")


def test_parts_run_at_once_in_processes_of_their_own(tmp_path):
    told = []
    parts = {"a": partial(meet, tmp_path, "a", "b"), "b": partial(meet, tmp_path, "b", "a")}
    found = side_by_side(parts, 2, told.append)
    assert told == ["a", "b"] and len({*found.values(), os.getpid()}) == 3


def test_with_one_process_one_part_follows_the_other():
    order = []
    parts = {"a": lambda: order.append(1) or os.getpid(), "b": lambda: order.append(2) or os.getpid()}
    assert side_by_side(parts, 1, order.append) == dict.fromkeys("ab", os.getpid()) and order == ["a", 1, "b", 2]


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_of_a_part_is_that_of_all(processes):
    with pytest.raises(ZeroDivisionError):
        side_by_side({"a": lambda: 1, "b": lambda: 1 // 0}, processes, lambda name: None)


def test_a_process_with_threads_of_its_own_is_not_copied():
    code = "import os, torch; torch.set_num_threads(2)\n"
    code += "from histogenesis.evaluation.side_by_side import side_by_side\n"
    code += "assert side_by_side({'a': os.getpid, 'b': os.getpid}, 2, print) == dict.fromkeys('ab', os.getpid())"
    subprocess.run([sys.executable, "-c", code], check=True)
