"""The worker's side: reads jobs from standard input, does them one after another, answers on standard output.

Messages are JSON, one per line. To it: `run` and `cancel`. From it: `ready`, `alive` (every second), and about a job
`taken`, `progress`, `log`, `result`, `error`, `cancelled`. Whatever libraries print goes to standard error, the log.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import sys
import threading
import time
import traceback
from typing import Any

from GANSynthesisLib.jobs.work import WORK
from GANSynthesisLib.memory import free_host_bytes
from GANSynthesisLib.progress import Cancelled

HEARTBEAT = 1.0  # seconds
PROGRESS_EVERY = 0.05  # seconds between two messages of progress
EXIT_GRACE = 10.0  # seconds that a job may take to stop when whoever asked for it is gone


class Channel:
    """Where messages go: one line each, whoever sends them."""

    def __init__(self, stream):
        self._stream, self._lock = stream, threading.Lock()

    def send(self, **message) -> None:
        line = json.dumps(message, allow_nan=False)
        # Nobody may be listening any more: work that stops for that reason still has a checkpoint to write.
        with self._lock, contextlib.suppress(OSError):
            self._stream.write(line + "\n")
            self._stream.flush()


class Session:
    """What a work function gets beside its arguments: progress, log, and whether it is to stop."""

    def __init__(self, channel: Channel, job: int, cancelled: set[int]):
        self._channel, self._job, self._cancelled, self._last = channel, job, cancelled, 0.0

    def progress(self, fraction: float, text: str) -> None:
        """fraction 0 … 1; may be called as often as one likes."""
        now = time.monotonic()
        if now - self._last >= PROGRESS_EVERY or fraction >= 1:
            self._last = now
            self._channel.send(type="progress", job=self._job, fraction=float(fraction), text=str(text))

    def log(self, text: str) -> None:
        self._channel.send(type="log", job=self._job, text=str(text))

    def cancelled(self) -> bool:
        return self._job in self._cancelled


def main() -> None:
    """Serve until standard input ends: then whoever asked is gone, and so is this process."""
    channel = Channel(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    inbox: queue.Queue = queue.Queue()
    cancelled: set[int] = set()
    threading.Thread(target=_listen, args=(inbox, cancelled), daemon=True).start()
    threading.Thread(target=_beat, args=(channel,), daemon=True).start()
    channel.send(type="ready")
    while (message := inbox.get()) is not None:
        _run(message, channel, cancelled)


def _listen(inbox: queue.Queue, cancelled: set[int]) -> None:
    newest = 0
    for line in sys.stdin:
        message = json.loads(line)
        if message["type"] == "cancel":
            cancelled.add(message["job"])
        else:
            newest = message["job"]
            inbox.put(message)
    cancelled.add(newest)
    inbox.put(None)
    time.sleep(EXIT_GRACE)
    os._exit(0)


def _beat(channel: Channel) -> None:
    while True:
        channel.send(type="alive", memory=_free_memory())
        time.sleep(HEARTBEAT)


def _free_memory() -> dict[str, int]:
    """Free bytes of the `host`, and of the `gpu` where one is in use: what torch keeps for the next run is free."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "cuda") or not torch.cuda.is_initialized():
        return {"host": free_host_bytes()}
    kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return {"host": free_host_bytes(), "gpu": int(torch.cuda.mem_get_info()[0]) + kept}


def _run(message: dict[str, Any], channel: Channel, cancelled: set[int]) -> None:
    number, session = message["job"], Session(channel, message["job"], cancelled)
    channel.send(type="taken", job=number)
    try:
        if session.cancelled():
            raise Cancelled("The job was stopped before it began.")
        if message["work"] not in WORK:
            raise ValueError(f"There is no work '{message['work']}': this worker knows {', '.join(sorted(WORK))}.")
        module, _, name = WORK[message["work"]].partition(":")
        value = getattr(importlib.import_module(module), name)(message["arguments"], session)
        channel.send(type="result", job=number, value=value)
    except Cancelled:
        channel.send(type="cancelled", job=number)
    except BaseException as error:
        channel.send(type="error", job=number, text=_sentence(error), details=traceback.format_exc())


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "out of memory" in text.lower():
        return ("The machine ran out of memory: close other programs, choose a smaller tile size, or restrict the "
                f"work to a region ({text or 'MemoryError'}).")
    users_mistake = isinstance(error, ValueError) or type(error).__module__.startswith("GANSynthesisLib.")
    return text if users_mistake and text else f"{type(error).__name__}: {text}"
