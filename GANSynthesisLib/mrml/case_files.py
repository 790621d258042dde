"""Training cases of the scene written to files by a worker, one after the other."""

from __future__ import annotations

from pathlib import Path

from GANSynthesisLib.jobs import Worker
from GANSynthesisLib.jobs.exchange import Exchange
from GANSynthesisLib.mrml.training_data import CaseFile, SceneCase, case_files
from GANSynthesisLib.mrml.worker_job import WorkerJob
from GANSynthesisLib.training.cases import DataError


class CaseFileJob(WorkerJob):
    """As `WorkerJob`: one file of a case into a folder."""

    def __init__(self, file: CaseFile, folder: Path, worker: Worker):
        """Raises `JobError` where the worker is busy."""
        super().__init__(worker)
        self._file, self._path = file, folder / file.path

    def _asked(self, exchange: Exchange):
        described = yield from exchange.writing(self._file.volume)
        return "case file", {"volume": described, "path": str(self._path), "channels": self._file.channels}

    def _received(self, answer: str, exchange: Exchange) -> None:
        """The file is there: nothing comes into the scene."""


class CaseWriter:
    """Writes the files of cases into a folder, by calls of `advance()`: in each at most one volume is read.

    text: what is being written.
    """

    def __init__(self, cases: list[SceneCase], folder: Path, worker: Worker):
        self.text = ""
        self._files, self._folder, self._worker, self._job = case_files(cases), Path(folder), worker, None

    def advance(self) -> bool:
        """Go on for some milliseconds; whether all is written. Raises ValueError, one sentence on what is wrong."""
        if self._job is not None:
            self._job.advance()
            if self._job.finished:
                job, self._job = self._job, None
                if job.state != "done":
                    raise DataError(job.error or "The cases were not written.")
            return False
        try:
            file = next(self._files)
        except StopIteration:
            return True
        if isinstance(file, CaseFile):
            self.text = file.path
            (self._folder / file.path).parent.mkdir(parents=True, exist_ok=True)
            self._job = CaseFileJob(file, self._folder, self._worker)
        return False

    def abandon(self) -> None:
        """Stop at once."""
        self._files.close()
        if self._job is not None:
            self._job.abandon()
            self._job = None
