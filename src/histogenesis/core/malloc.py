"""How the C library deals with memory that PyTorch has given back."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
KEPT, LARGE = 64 << 20, 32 << 20  # bytes; an older glibc takes no more than 32 MiB for what is large


def keep_freed_memory() -> None:
    """Have the process keep up to 64 MiB that it has freed, and so what a network needs again at its next layer.

    By default glibc gives each tensor of some size back to the kernel, which fills its pages with zeros before it gives them
    again: a twelfth of what the demo took on a CPU. Nothing happens where the C library is another one.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_THRESHOLD, LARGE)
    mallopt(M_TRIM_THRESHOLD, KEPT)
