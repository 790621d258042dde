"""Only one batch at a time writes into an output folder.

The lock is the operating system's, on a file in the folder: it ends with the process that holds it, however that ends,
and a file that is left behind locks nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from GANSynthesisLib.batch.cases import BatchError

LOCK_NAME = ".batch.lock"
_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


@contextmanager
def locked(folder: Path, name: str = LOCK_NAME) -> Iterator[None]:
    """Hold the lock of a folder, which is made where it is not there. Raises BatchError where another process, or
    another call in this one, holds it; OSError where the folder cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    handle = _opened_and_locked(path)
    while not _is_still(path, handle):  # who held it has removed it between the opening and the locking
        os.close(handle)
        handle = _opened_and_locked(path)
    try:
        yield
    finally:
        if os.name != "nt":  # there an open file cannot be removed
            path.unlink(missing_ok=True)
        os.close(handle)
        if os.name == "nt":
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _opened_and_locked(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(handle)
    except OSError as error:
        if error.errno in _HELD:
            os.close(handle)
            raise BatchError(f"Another batch is writing into {path.parent}: wait for it, or choose another output "
                             "folder.") from error
        # A disk without locks: the batch is worth more than the lock.
    return handle


def _lock(handle: int) -> None:
    """Take the lock without waiting. Raises OSError, with one of `_HELD` where somebody else has it."""
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_still(path: Path, handle: int) -> bool:
    try:
        there, own = os.stat(path), os.fstat(handle)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)
