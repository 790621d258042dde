"""Runs that were stopped before their end and can be resumed. Light: nothing here needs torch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

RESUME_FILE = "resume.json"  # in a run's folder: the arguments that it goes on with
ENDING = ".run"


def unfinished_runs(folder: Path) -> dict[str, dict]:
    """Name of the model -> arguments of the job that resumes its run, for every run beside the models of `folder`."""
    found = {}
    for path in sorted(Path(folder).glob(f"*{ENDING}/{RESUME_FILE}")):
        if not (path.parent / "checkpoint.pt").is_file():
            continue
        try:
            arguments = json.loads(path.read_text(encoding="utf-8"))
            found[Path(arguments["output"]).name.removesuffix(".safetensors")] = arguments
        except (OSError, ValueError, TypeError, KeyError):
            continue  # not written by a run of ours
    return found


def discard_run(arguments: dict) -> None:
    """Remove an unfinished run, and the data that were written for it alone."""
    shutil.rmtree(arguments["output"].removesuffix(".safetensors") + ENDING, ignore_errors=True)
    if arguments.get("remove_data"):
        shutil.rmtree(arguments["data"], ignore_errors=True)
