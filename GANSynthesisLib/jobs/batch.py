"""A batch in a worker: the same as `python -m GANSynthesisLib batch`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from GANSynthesisLib.batch import plan_batch
from GANSynthesisLib.batch.run import run_batch
from GANSynthesisLib.models import load_model


def batch_job(arguments: dict[str, Any], session) -> dict[str, int]:
    """Apply the model file `model` to the cases of `input_folder`, results into `output_folder`; on `device`.

    `options` are as of `plan_batch`. What becomes of each case is in the output folder's `batch.json`, written after
    every case. Gives the number of cases that are `done` and `failed`.
    """
    plan = plan_batch(load_model(Path(arguments["model"])), arguments["input_folder"], arguments["output_folder"],
                      **arguments["options"])
    record = run_batch(plan, device=arguments["device"], progress=session.progress, cancelled=session.cancelled,
                       said=lambda name, entry: session.log(f"{name}: {entry.state} {entry.error}".rstrip()))
    states = [record.cases[case.name].state for case in plan.cases]
    return {state: states.count(state) for state in ("done", "failed")}
