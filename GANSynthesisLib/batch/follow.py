"""A batch of files that a worker runs, followed from outside: the record is read where it changed."""

from __future__ import annotations

import time
from dataclasses import dataclass

from GANSynthesisLib.batch.plan import BatchPlan
from GANSynthesisLib.batch.record import RECORD_NAME, BatchRecord, read_record
from GANSynthesisLib.jobs import Job, Worker

_EVERY = 0.5  # seconds between two looks at the record: with thousands of cases one takes some 20 ms
CANCEL_GRACE = 10.0  # seconds in which a stopped case may finish writing: ended earlier, it would leave half a file
WORK = "batch"


@dataclass
class Row:
    """A case as a table shows it: state as of `CaseRecord`, and an error or what else is to be known of it."""

    name: str
    state: str
    message: str = ""


def rows_of(plan: BatchPlan) -> list[Row]:
    """The cases of a plan that has not been started."""
    return [_row(case.name, plan.record) for case in plan.cases]


class FolderBatch:
    """A plan carried out by a worker. `advance()` is to be called from a timer until `finished`.

    rows: of the cases; changes: how often they have changed.
    """

    def __init__(self, plan: BatchPlan, job: Job, seen: int | None = None):
        """seen: time (ns) of a record that is older than the job, to be passed over."""
        self.plan, self.rows, self.changes = plan, rows_of(plan), 0
        self._job, self._seen, self._next = job, seen, 0.0
        self.advance()

    @staticmethod
    def start(plan: BatchPlan, worker: Worker, device: str, restart: bool) -> FolderBatch:
        """Have the worker carry out a plan. Raises `JobError` where it is busy."""
        arguments = {
            "model": str(plan.model.path), "input_folder": str(plan.input_folder),
            "output_folder": str(plan.output_folder), "device": device,
            "options": {**plan.record.settings, "restart": restart},
        }  # fmt: skip
        older = _changed(plan)
        return FolderBatch(plan, worker.start(WORK, arguments, grace=CANCEL_GRACE), older)

    @property
    def state(self) -> str:
        """That of the job."""
        return self._job.state

    @property
    def finished(self) -> bool:
        return self._job.finished

    @property
    def fraction(self) -> float:
        return self._job.fraction

    @property
    def text(self) -> str:
        return self._job.text

    @property
    def remaining(self) -> float | None:
        return self._job.remaining

    @property
    def error(self) -> str:
        """Why the batch as a whole has failed; empty where it has not."""
        return self._job.error

    def cancel(self) -> None:
        """Stop after the present step; what is done stays."""
        self._job.cancel()

    def advance(self) -> None:
        """Take note of what has changed; the record is looked at now and then, and at the end."""
        finished = self._job.finished
        if not finished and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY
        changed = _changed(self.plan)
        if changed != self._seen:
            try:
                record = read_record(self.plan.output_folder)
            except ValueError:
                record = None  # not ours any more: the states stay as they were last seen
            if record is not None:
                self.rows = [_row(row.name, record) for row in self.rows if row.name in record.cases]
                self.changes += 1
            self._seen = changed
        if finished:
            for row in self.rows:  # of a worker that was ended in the middle
                row.state = "waiting" if row.state == "running" else row.state
            self.changes += 1


def _changed(plan: BatchPlan) -> int | None:
    """When the record was written (ns); None where there is none."""
    try:
        return (plan.output_folder / RECORD_NAME).stat().st_mtime_ns
    except OSError:
        return None


def _row(name: str, record: BatchRecord) -> Row:
    entry = record.cases[name]
    message = entry.error if entry.state == "failed" else " ".join(entry.warnings)
    return Row(name, entry.state, message)
