"""Training in a worker: what can be trained, on which cases, and the run itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from GANSynthesisLib.files import replaced_whole
from GANSynthesisLib.progress import Cancelled
from GANSynthesisLib.systems import describe_systems, system_class
from GANSynthesisLib.training.inspection import inspect_cases
from GANSynthesisLib.training.run import run_folder, train
from GANSynthesisLib.training.unfinished import RESUME_FILE


def systems_job(arguments: dict[str, Any], session) -> list[dict[str, Any]]:
    """Descriptions of all systems (see `systems.describe_systems`), and whether their roles are `paired`."""
    return [{**each, "paired": system_class(each["name"]).paired} for each in describe_systems()]


def inspect_job(arguments: dict[str, Any], session) -> list[dict[str, Any]]:
    """Rows of the cases in `data`, for `system` with `settings` (see `training.inspection`)."""
    rows = inspect_cases(arguments["system"], arguments["settings"], Path(arguments["data"]), session.progress,
                         session.cancelled)
    return [row.as_dict() for row in rows]


def train_job(arguments: dict[str, Any], session) -> str:
    """Train `system` on `data` and give the path of the model, `output`; options as of `training.train`.

    From its first step on, a run that ends before it is finished leaves its checkpoint and these arguments (`resume`
    set) in its folder. `remove_data`: the data were written for this run alone and go when it is finished.
    """
    output = Path(arguments["output"])
    resume_file = run_folder(output) / RESUME_FILE
    kept = False

    def progress(fraction: float, text: str) -> None:
        nonlocal kept
        if fraction == 0 and session.cancelled():
            raise Cancelled("Training was stopped before its first step.")
        if fraction > 0 and not kept:
            with replaced_whole(resume_file) as beside:
                beside.write_text(json.dumps({**arguments, "resume": True}, indent=1), encoding="utf-8")
            kept = True
        session.progress(fraction, text)

    names = ("settings", "steps", "seed", "device", "precision", "card", "leave_out", "resume")
    options = {name: arguments[name] for name in names if name in arguments}
    path = train(arguments["system"], Path(arguments["data"]), output, **options, progress=progress,
                 cancelled=session.cancelled, log=session.log)
    resume_file.unlink(missing_ok=True)
    if arguments.get("remove_data"):
        shutil.rmtree(arguments["data"], ignore_errors=True)
    return str(path)
