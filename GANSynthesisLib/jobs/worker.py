"""The asker's side of a worker process: starts it, sends it jobs, hears from it, and ends it where it must be."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable

from GANSynthesisLib.jobs.job import Job, JobError, busy_sentence
from GANSynthesisLib.jobs.process import (
    close_pipes,
    end_process,
    exit_words,
    read_available,
    start_process,
    worker_command,
)

SILENCE = 30.0  # seconds without a sign of life after which a process counts as hung; it gives one every second
START_SILENCE = 300.0  # the same while it starts: the first imports of a cold disk are slow
FORCE_AFTER = 1.5  # seconds between asking a process to end and ending it
LAST_WORDS = 3  # lines of the log that go into an error
LONGEST_LINE = 16 << 20  # bytes; more without an end of line is no message


class Worker:
    """One warm process that does one job at a time. All methods return at once; `poll` is to be called regularly."""

    def __init__(
        self, name: str, command: Callable[[], list[str]] = worker_command, clock: Callable[[], float] = time.monotonic
    ):
        self.name = name
        self.job: Job | None = None
        self.memory: dict[str, int] = {}
        self._command, self._clock = command, clock
        self._process = None
        self._ready = False
        self._numbers = 0
        self._received, self._heard_log, self._outgoing = b"", b"", b""
        self._last_words: list[str] = []
        self._silent, self._last_poll = 0.0, clock()
        self._cancel_sent = self._asked_to_end = None  # when
        self._untaken: str | None = None  # the message of a job that a warm process has not yet begun

    @property
    def state(self) -> str:
        """`idle`, or the state of the job it is on."""
        return "idle" if self.job is None or self.job.finished else self.job.state

    @property
    def pid(self) -> int | None:
        """Number of the process; None where there is none."""
        return self._process.pid if self._process else None

    def start(self, work: str, arguments: dict, grace: float = 1.0) -> Job:
        """A new job of the kind `work` (see `jobs.work`). Raises `JobError` where it is busy or cannot be started."""
        if self.job is not None and not self.job.finished:
            raise JobError(busy_sentence())
        if self._asked_to_end is not None:  # a canceled job's process is on its way out: the next one gets its own
            self._end_now()
        self._numbers += 1
        job = Job(self._numbers, work, arguments, grace, self._clock)
        message = {"type": "run", "job": job.number, "work": work, "arguments": arguments}
        line = json.dumps(message, allow_nan=False)
        if self._process is None or self._process.poll() is not None:
            self._launch()
        self.job, self._cancel_sent = job, None
        self._untaken = line if self._ready else None
        self._send_job(line)
        return job

    def poll(self) -> None:
        """Read what the process says, and look after deadlines. Never blocks."""
        now = self._clock()
        # A step of more than a second is a pause of ours (a blocked window, a sleeping laptop), not a silence of its.
        self._silent += min(now - self._last_poll, 1.0)
        self._last_poll = now
        if self._process is None:
            return
        self._flush()
        self._read()
        if self._process is not None and self._process.poll() is not None:
            self._read()
            self._has_died()
        if self._process is None:
            return
        self._cancel_if_asked(now)
        if self._silent > (SILENCE if self._ready else START_SILENCE):
            self._give_up("has not answered for a while and was stopped")

    def stop(self) -> None:
        """End the process, and with it the job."""
        if self.job is not None and not self.job.finished:
            self.job.end("cancelled")
        if self._process is not None:
            self._end_now()

    def leave(self) -> None:
        """Hang up: the process stops its job as for a cancel, writes what it has to, and ends within seconds."""
        if self.job is not None and not self.job.finished:
            self.job.end("cancelled")
        if self._process is not None:
            close_pipes(self._process)
            self._process, self._ready = None, False

    def _launch(self) -> None:
        if self._process is not None:
            close_pipes(self._process)
        try:
            self._process = start_process(self._command())
        except OSError as error:
            self._process = None
            raise JobError(f"The worker process cannot be started ({error}): check the installation.") from error
        self._ready = False
        self._received = self._heard_log = self._outgoing = b""
        self._last_words = []
        self._silent, self._last_poll, self._asked_to_end = 0.0, self._clock(), None

    # --- to the process

    def _send_job(self, line: str) -> None:
        self.job.state = "running" if self._ready else "starting"
        self._send_line(line)

    def _send_line(self, line: str) -> None:
        self._outgoing += line.encode() + b"\n"
        self._flush()

    def _flush(self) -> None:
        try:
            while self._outgoing:
                written = os.write(self._process.stdin.fileno(), self._outgoing[: 1 << 15])
                self._outgoing = self._outgoing[written:]
        except BlockingIOError:
            pass  # the rest at the next poll
        except OSError:
            self._outgoing = b""  # it is gone: that is found out by reading

    def _cancel_if_asked(self, now: float) -> None:
        job = self.job
        if self._asked_to_end is not None:
            if now - self._asked_to_end > FORCE_AFTER:
                self._end_now()
            return
        if job is None or job.state != "cancelling":
            return
        if self._cancel_sent is None:
            self._cancel_sent = now
            self._send_line(json.dumps({"type": "cancel", "job": job.number}))
            if not self._ready:  # it does not have the job yet: when it does, it will not begin it
                job.end("cancelled")
        elif now - self._cancel_sent > job.grace:
            job.end("cancelled")
            self._asked_to_end = now
            end_process(self._process)

    # --- from the process

    def _read(self) -> None:
        heard, log = read_available(self._process.stdout), read_available(self._process.stderr)
        if heard or log:
            self._silent = 0.0
        *lines, self._heard_log = (self._heard_log + log).split(b"\n")
        for line in lines:
            self._log(line.decode(errors="replace").rstrip())
        *lines, self._received = (self._received + heard).split(b"\n")
        for line in lines:
            if not self._message(line):
                return
        if len(self._received) > LONGEST_LINE:
            self._garbage(self._received)

    def _log(self, line: str) -> None:
        if line:
            self._last_words = [*self._last_words, line][-LAST_WORDS:]
            if self.job is not None:
                self.job.say(line)

    def _message(self, line: bytes) -> bool:
        """Take one message; False where it is none."""
        try:
            self._take(json.loads(line))
        except (ValueError, TypeError, KeyError):
            self._garbage(line)
            return False
        return True

    def _take(self, message: dict) -> None:
        kind = message["type"]
        if kind == "ready":
            self._ready = True
            if self.state == "starting":
                self.job.state = "running"
        elif kind == "alive":
            self.memory = message["memory"]
        elif kind == "taken":
            self._untaken = None
        elif self.job is not None and message["job"] == self.job.number and not self.job.finished:
            self._about_job(self.job, kind, message)

    @staticmethod
    def _about_job(job: Job, kind: str, message: dict) -> None:
        if kind == "progress":
            job.heard(message["fraction"], message["text"])
        elif kind == "log":
            job.say(message["text"])
        elif kind == "result":
            job.end("cancelled" if job.cancel_requested else "done", result=message["value"])
        elif kind == "error":
            job.end("failed", error=message["text"], details=message["details"])
        elif kind == "cancelled":
            job.end("cancelled")

    # --- ends

    def _garbage(self, line: bytes) -> None:
        self._last_words = [line[:200].decode(errors="replace")]
        self._give_up("sent something that is no message and was stopped")

    def _has_died(self) -> None:
        code = self._process.poll()
        if self._heard_log:
            self._log(self._heard_log.decode(errors="replace").rstrip())
        close_pipes(self._process)
        self._process, self._asked_to_end = None, None
        line, self._untaken = self._untaken, None
        if line is None or self.state != "running":
            self._fail(exit_words(code))
            return
        try:  # it was killed before it began the job: the next one takes it
            self._launch()
            self._send_job(line)
        except JobError as error:
            self.job.end("failed", error=str(error))

    def _give_up(self, words: str) -> None:
        self._end_now()
        self._fail(words)

    def _fail(self, words: str) -> None:
        job = self.job
        if job is None or job.finished:
            return
        if job.cancel_requested:
            job.end("cancelled")
            return
        last = f" Its last lines: {' | '.join(self._last_words)}" if self._last_words else ""
        job.end("failed", error=f"The worker process {words}: nothing was changed, try again.{last}",
                details="\n".join(job.log))

    def _end_now(self) -> None:
        end_process(self._process, force=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.05)  # a killed process is gone within milliseconds
        close_pipes(self._process)
        self._process, self._asked_to_end, self._ready = None, None, False


_workers: dict[str, Worker] = {}


def worker(name: str) -> Worker:
    """The worker of that name: one for as long as this process lives, whatever becomes of who asked for it."""
    if name not in _workers:
        _workers[name] = Worker(name)
    return _workers[name]


def poll_all() -> None:
    """Read what all workers say, and look after their deadlines."""
    for each in _workers.values():
        each.poll()


def stop_all() -> None:
    """End all workers; done by itself when this process ends. A job with a long grace is left to end on its own."""
    for each in _workers.values():
        each.leave() if each.state != "idle" and each.job.grace > FORCE_AFTER else each.stop()


atexit.register(stop_all)
