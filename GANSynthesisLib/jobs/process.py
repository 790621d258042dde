"""Worker processes of the operating system: started with pipes that never block, ended with all their children."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

_WINDOWS = os.name == "nt"
_LIBRARY = Path(__file__).resolve().parents[2]


def worker_command() -> list[str]:
    """How a worker is started: by PythonSlicer inside Slicer, which finds it on its path, else by this interpreter."""
    python = shutil.which("PythonSlicer") or sys.executable
    start = f"import sys; sys.path.insert(0, {str(_LIBRARY)!r}); from GANSynthesisLib.jobs.session import main; main()"
    return [python, "-u", "-c", start]


def start_process(command: list[str]) -> subprocess.Popen:
    """The process, in a group of its own, with non-blocking pipes. Raises OSError."""
    alone = {"creationflags": subprocess.CREATE_NO_WINDOW} if _WINDOWS else {"start_new_session": True}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, **alone
    )
    for pipe in (process.stdin, process.stdout, process.stderr):
        os.set_blocking(pipe.fileno(), False)
    return process


def read_available(pipe, limit: int = 1 << 20) -> bytes:
    """What waits in a non-blocking pipe, up to about `limit` bytes; nothing at its end."""
    parts, size = [], 0
    while size < limit:
        try:
            part = os.read(pipe.fileno(), 1 << 16)
        except (BlockingIOError, ValueError, OSError):
            break
        if not part:
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def end_process(process: subprocess.Popen, force: bool = False) -> None:
    """Ask the process and its children to end, or, with `force`, end them. A launcher is a parent, too."""
    if _WINDOWS:  # there is nothing between asking by message and ending
        subprocess.Popen(["taskkill", "/F", "/T", "/PID", str(process.pid)], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, creationflags=subprocess.CREATE_NO_WINDOW)
        return
    try:
        os.killpg(process.pid, signal.SIGKILL if force else signal.SIGTERM)
    except (ProcessLookupError, PermissionError):
        pass  # it is gone already


def close_pipes(process: subprocess.Popen) -> None:
    for pipe in (process.stdin, process.stdout, process.stderr):
        try:
            pipe.close()
        except OSError:
            pass


def is_alive(pid: int) -> bool:
    """Whether a process of that number runs on this machine; where that cannot be told, yes."""
    if _WINDOWS:
        import ctypes

        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
        if not handle:
            return kernel.GetLastError() == 5  # access denied: it is somebody else's
        code = ctypes.c_ulong()
        kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        kernel.CloseHandle(handle)
        return code.value == 259  # STILL_ACTIVE
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def exit_words(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None:
        return "stopped answering"
    if code < 0:
        names = {-signal.SIGSEGV: "a memory fault", -signal.SIGTERM: "a request to end"}
        if not _WINDOWS:
            names[-signal.SIGKILL] = "the system, most often because memory ran out"
        return f"was ended by {names.get(code, f'signal {-code}')}"
    return f"ended with status {code}"
