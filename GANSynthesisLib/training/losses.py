"""The numbers of a run on disk: `losses.csv`, written row by row as they come, and read by whoever watches."""

from __future__ import annotations

import csv
import os
from pathlib import Path


def write_losses(path: Path, history: list[dict]) -> None:
    """All rows (`step` and named numbers) with a column for every name; the file is replaced by a whole one."""
    names = sorted({name for row in history for name in row} - {"step"})
    beside = path.with_name(path.name + ".writing")
    with beside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["step", *names])
        writer.writeheader()
        writer.writerows(history)
    os.replace(beside, path)


class LossesFile:
    """Keeps `losses.csv` up to date with a history that grows, or falls back where the run goes back."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self._names: set[str] = set()
        self._written = 0

    def follow(self, history: list[dict]) -> None:
        """Append the rows that are new; write all of them where a name is new or rows were taken back."""
        new = history[self._written :]
        known = all(self._names >= row.keys() for row in new)
        if not (known and 0 < self._written <= len(history) and self.path.exists()):
            write_losses(self.path, history)
            self._names = {"step"}.union(*history)
        elif new:
            with self.path.open("a", newline="", encoding="utf-8") as stream:
                csv.DictWriter(stream, ["step", *sorted(self._names - {"step"})]).writerows(new)
        self._written = len(history)

    def start_over(self) -> None:
        """The history is another one from here on."""
        self._written = 0


class LossesReader:
    """Reads a `losses.csv` that is being written: each `read` looks only at what came since the last one."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self.rows: list[dict[str, float]] = []
        self._file, self._offset, self._names = None, 0, []

    def read(self) -> bool:
        """Take up new rows; True where `rows` has changed. A file that is not there (yet) has no rows."""
        try:
            with self.path.open("rb") as stream:
                return self._take(stream)
        except FileNotFoundError:
            changed, self.rows, self._file = bool(self.rows), [], None
            return changed

    def _take(self, stream) -> bool:
        now = os.fstat(stream.fileno())
        same = self._file == (now.st_dev, now.st_ino) and now.st_size >= self._offset
        if same and now.st_size == self._offset:
            return False
        if not same:  # replaced by a whole one
            self._file, self._offset, self._names, self.rows = (now.st_dev, now.st_ino), 0, [], []
        stream.seek(self._offset)
        whole, _, _ = stream.read().rpartition(b"\n")  # the last line may be half written
        if not whole:
            return not same
        self._offset += len(whole) + 1
        lines = csv.reader(whole.decode("utf-8").splitlines())
        if not self._names:
            self._names = next(lines)
        for line in lines:
            self.rows.append({name: float(text) for name, text in zip(self._names, line, strict=False) if text})
        return True
