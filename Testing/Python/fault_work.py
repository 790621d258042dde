"""Work that goes wrong in every way that a worker has to survive, and the command of a worker that knows it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from GANSynthesisLib.progress import Cancelled, stop_if
from GANSynthesisLib.volumes import VolumeError

HERE = Path(__file__).resolve().parent
KINDS = ("answer", "steps", "stubborn", "parent", "wrong", "broken", "exhausted", "chatty", "saving")


def command() -> list[str]:
    start = (
        f"import sys; sys.path[:0] = [{str(HERE.parents[1])!r}, {str(HERE)!r}]\n"
        "from GANSynthesisLib.jobs.work import WORK\n"
        f"WORK.update({{kind: 'fault_work:' + kind for kind in {KINDS!r}}})\n"
        "from GANSynthesisLib.jobs.session import main\n"
        "main()"
    )
    return [sys.executable, "-u", "-c", start]


def answer(arguments, session):
    """Give the arguments back."""
    return arguments


def steps(arguments, session):
    """Short steps with a look at cancel in between; `seconds` in all."""
    until = time.monotonic() + arguments["seconds"]
    while (left := until - time.monotonic()) > 0:
        stop_if(session.cancelled)
        session.progress(1 - left / arguments["seconds"], "working")
        time.sleep(0.01)
    return "whole"


def saving(arguments, session):
    """As a training: until it is stopped it makes steps, and then it writes where it is."""
    while not session.cancelled():
        session.progress(0.5, "training")
        time.sleep(0.01)
    Path(arguments["file"]).write_text("checkpoint")
    stop_if(session.cancelled)


def stubborn(arguments, session):
    """Never looks at cancel."""
    session.progress(0.1, "sleeping")
    time.sleep(1000)


def parent(arguments, session):
    """Starts a process of its own and never looks at cancel."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    session.progress(0.1, str(child.pid))
    time.sleep(1000)


def wrong(arguments, session):
    raise VolumeError("Volume 'A' is empty: load an image into it first.")


def broken(arguments, session):
    raise KeyError("inner")


def exhausted(arguments, session):
    raise MemoryError("12 GB")


def chatty(arguments, session):
    """Prints like a library, into both streams, far more than a pipe holds."""
    for number in range(20000):
        print("printed", number)
    print("complained", file=sys.stderr)
    session.log("said")
    return Cancelled.__name__
