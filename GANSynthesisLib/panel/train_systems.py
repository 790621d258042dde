"""The systems that can be trained, as the worker describes them: asked once, remembered for all panels."""

from GANSynthesisLib import jobs

_known: dict[str, dict] = {}  # by name; kept in the module, so that a reloaded panel has them at once


class SystemCatalog:
    """Descriptions of the systems (see `systems.describe_systems`), which need torch and so come from a worker.

    names: of the systems known so far. error: one sentence where the worker could not tell.
    """

    def __init__(self, worker):
        self._worker, self._job, self.error = worker, None, ""

    @property
    def names(self) -> list[str]:
        return list(_known)

    def __getitem__(self, name: str) -> dict:
        return _known[name]

    def learn(self, description: dict) -> None:
        """Take up one description, of a run that is under way, say."""
        _known.setdefault(description["name"], description)

    @property
    def asking(self) -> bool:
        return self._job is not None

    @property
    def complete(self) -> bool:
        """Whether a worker has told all of them."""
        return bool(_known) and all("complete" in entry for entry in _known.values())

    def ask(self) -> None:
        """Ask the worker, where that is still to be done and it is free."""
        if self.complete or self.asking or self._worker.state != "idle":
            return
        try:
            self._job = self._worker.start("systems", {}, grace=30.0)
        except jobs.JobError as error:
            self.error = str(error)

    def poll(self) -> bool:
        """Whether something new is known since the last time."""
        if self._job is None or not self._job.finished:
            return False
        job, self._job = self._job, None
        self.error = job.error
        for description in job.result or ():
            _known[description["name"]] = {**description, "complete": True}
        return True

    def forget(self) -> None:
        """Do not wait for an answer any longer."""
        if self._job is not None:
            self._job.cancel()
        self._job = None
