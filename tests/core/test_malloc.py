"""What a process keeps of the memory that it has freed, by the pages that the kernel has to give it anew."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import ctypes, resource, sys
import numpy as np
from histogenesis.core.malloc import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def tensors():
    for _ in range(20):
        np.ones(16 << 20, np.uint8)  # as large as what a layer makes: mapped by glibc, and given back
tensors()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
tensors()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(what):
    # glibc learns from the first large block that is given back what to map; these two say that it learns nothing.
    told = {"MALLOC_MMAP_THRESHOLD_": str(128 << 10), "MALLOC_TRIM_THRESHOLD_": str(128 << 10)}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, what], env=os.environ | told, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_what_was_freed_is_had_again_without_the_kernel():
    back = faults("give back")
    if back < 20 * (16 << 20) // (4 << 20):  # not even pages of 2 MiB
        pytest.skip("this kernel does not count pages")
    assert faults("keep") < back / 10
