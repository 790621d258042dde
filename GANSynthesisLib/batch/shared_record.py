"""One record that several processes keep together, each for its own cases."""

from __future__ import annotations

import time
from pathlib import Path

from GANSynthesisLib.batch.cases import BatchError
from GANSynthesisLib.batch.lock import locked
from GANSynthesisLib.batch.record import BatchRecord, read_record

TURN = ".batch-record.lock"
PATIENCE = 60.0  # seconds: a turn takes milliseconds


class SharedRecord(BatchRecord):
    """The cases of one process; what the others have recorded stays as it is."""

    def write(self, output_folder: Path) -> None:
        """Put these cases into the record of the folder. Raises BatchError where it is never free."""
        given_up = time.monotonic() + PATIENCE
        while True:
            try:
                with locked(output_folder, TURN):
                    there = read_record(output_folder)
                    cases = {**(there.cases if there else {}), **self.cases}
                    return BatchRecord(**{**vars(self), "cases": cases}).write(output_folder)
            except BatchError:
                if time.monotonic() > given_up:
                    raise
                time.sleep(0.01)
