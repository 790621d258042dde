"""Memory that a step of work frees is kept for the next one."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

# Of mallopt in the GNU C library's malloc.h, with the values it comes to by itself in a process that uses much memory.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
USUAL = {TRIM_THRESHOLD: 64 << 20, MMAP_THRESHOLD: 32 << 20, MMAP_MAX: 65536}


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Large blocks, which the GNU C library gives back to the system as soon as they are free and asks for anew, page
    by page, at the next operation, stay with the process while the context lasts. Without that library, nothing.
    """
    try:
        library = ctypes.CDLL(None)
        set_option, trim = library.mallopt, library.malloc_trim
    except (OSError, TypeError, AttributeError):  # Windows, macOS, other C libraries
        yield
        return
    set_option(MMAP_MAX, 0)
    set_option(TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        for option, value in USUAL.items():
            set_option(option, value)
        trim(0)
