"""What comes before a run: the worker writes cases of the scene to files, and looks at all cases."""

from GANSynthesisLib import jobs
from GANSynthesisLib.presentation import _

_GRACE = 30.0  # seconds that a stopped check may take; the process stays warm


class CaseCheck:
    """One check at a time of the cases that a `DataSection` has chosen.

    stage: "", "writing" or "checking". text: what is being done. After a check, `error` is one sentence or empty.
    """

    def __init__(self, worker, data):
        self._worker, self._data, self._job, self._request = worker, data, None, {}
        self.stage, self.text, self.error = "", "", ""

    def begin(self, system: dict, settings: dict, folder) -> None:
        """Check the cases for a described system with settings; those of the scene are written under `folder`."""
        self._request, self.error = {"system": system["name"], "settings": settings}, ""
        self._data.clear()
        if not self._data.fromScene:
            self._look()
            return
        try:
            self._data.beginWriting(folder, system["paired"], self._worker)
        except ValueError as error:
            self._end(str(error))
            return
        self.stage, self.text = "writing", _("Writing the volumes…")

    def poll(self) -> bool:
        """Carry on; True at the end of a check."""
        if self.stage == "writing":
            self._write()
        elif self.stage == "checking":
            self.text = self._job.text or _("Looking at the cases…")
            if self._job.finished:
                if self._job.state == "done":
                    self._data.showRows(self._job.result)
                self._end(self._job.error)
        else:
            return False
        return not self.stage

    def cancel(self, reason: str = "") -> None:
        """Stop; `reason` becomes the error."""
        if self.stage == "checking":
            self._job.cancel()
        if self.stage:
            self._data.removeWritten()
            self._end(reason or _("Stopped."))

    def _write(self) -> None:
        try:
            written = self._data.writeOn()
        except (ValueError, OSError, RuntimeError) as error:
            self._data.removeWritten()
            self._end(str(error))
            return
        if written:
            self._look()
        elif self._data.writing:
            self.text = _("Writing {name}…").format(name=self._data.writing)

    def _look(self) -> None:
        try:
            request = {**self._request, "data": str(self._data.folder)}
            self._job = self._worker.start("inspect", request, grace=_GRACE)
        except jobs.JobError as error:
            self._end(str(error))
            return
        self.stage, self.text = "checking", _("Looking at the cases…")

    def _end(self, error: str) -> None:
        self.stage, self.text, self.error = "", "", error
