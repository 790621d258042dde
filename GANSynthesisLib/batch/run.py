"""Runs a batch: case by case, each result whole or not there, the record written after every one."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
import warnings
from collections.abc import Callable

from GANSynthesisLib.batch.cases import BatchCase
from GANSynthesisLib.batch.lock import LOCK_NAME, locked
from GANSynthesisLib.batch.plan import BatchPlan
from GANSynthesisLib.batch.record import BatchRecord, CaseRecord
from GANSynthesisLib.batch.shared_record import SharedRecord
from GANSynthesisLib.devices import torch_device
from GANSynthesisLib.files import read_volume, replaced_whole
from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.progress import Cancelled, IsCancelled, Progress, never, silent, stop_if
from GANSynthesisLib.result import write_output
from GANSynthesisLib.shares import Share, own_share


def run_batch(
    plan: BatchPlan,
    *,
    share: Share | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    cancelled: IsCancelled | None = None,
    said: Callable[[str, CaseRecord], None] | None = None,
) -> BatchRecord:
    """Do what remains of a plan; gives the record, which is in the output folder too. Of several processes (`share`,
    by default `shares.own_share`) each does its part, and all keep the one record.

    said(name of the case, its record) is called after every case. A case that cannot be done is recorded as failed,
    with one sentence, and the others go on. Raises Cancelled, the case at hand being left as it was before it;
    DeviceError, and BatchError where another batch is writing into the folder, before any work; OSError where the
    record cannot be written.
    """
    torch_device(device)
    share = share or own_share()
    with locked(plan.output_folder, LOCK_NAME if share.count == 1 else f".batch-{share.rank}.lock"):
        return _run(_part(plan, share), device, progress or silent, cancelled or never, said)


def _part(plan: BatchPlan, share: Share) -> BatchPlan:
    """Every so many-th case, done or not: processes that look at different moments agree on whose a case is."""
    if share.count == 1:
        return plan
    cases = list(share.of(plan.cases))
    record = dataclasses.replace(plan.record, cases={case.name: plan.record.cases[case.name] for case in cases})
    names = {name for each in record.cases.values() for name in each.outputs.values()}
    return dataclasses.replace(plan, cases=cases, record=SharedRecord(**vars(record)),
                               outdated=tuple(name for name in plan.outdated if name in names))


def _run(plan: BatchPlan, device: str, progress: Progress, cancelled: IsCancelled, said) -> BatchRecord:
    _clear(plan)
    plan.record.write(plan.output_folder)
    todo = plan.remaining
    for number, case in enumerate(todo):
        stop_if(cancelled)

        def within(fraction: float, text: str, number=number, case=case) -> None:
            what = text if fraction < 1 else "writing"
            progress((number + fraction) / len(todo), f"case {number + 1} of {len(todo)}, {case.name}: {what}")

        within(0.0, "reading")
        _run_case(plan, case, device, within, cancelled)
        if said:
            said(case.name, plan.record.cases[case.name])
    progress(1.0, "done")
    return plan.record


def _clear(plan: BatchPlan) -> None:
    """Remove what is about to be made anew, and what a batch that was ended from outside left half-written."""
    for name in plan.outdated:
        (plan.output_folder / name).unlink(missing_ok=True)
    if not isinstance(plan.record, SharedRecord):  # else others may be writing
        for folder in plan.output_folder.glob(".writing-*"):
            shutil.rmtree(folder, ignore_errors=True)


def _run_case(plan: BatchPlan, case: BatchCase, device: str, progress: Progress, cancelled: IsCancelled) -> None:
    entry, started = plan.record.cases[case.name], time.perf_counter()
    entry.state, entry.error, entry.warnings = "running", "", []
    plan.record.write(plan.output_folder)
    try:
        if case.problem:
            raise ValueError(case.problem)
        entry.warnings = _apply(plan, case, entry, device, progress, cancelled)
        entry.state = "done"
    except (Cancelled, KeyboardInterrupt):
        entry.state = "waiting"
        raise
    except Exception as error:  # whatever is wrong with one case, the others are worth doing
        entry.state, entry.error = "failed", _sentence(error)
    finally:
        entry.seconds = round(time.perf_counter() - started, 2)
        plan.record.write(plan.output_folder)


def _apply(plan: BatchPlan, case: BatchCase, entry: CaseRecord, device, progress, cancelled) -> list[str]:
    """Make, and write all at once, the results of a case; gives its warnings."""
    settings = plan.record.settings
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        volumes = {role: read_volume(path) for role, path in case.files.items()}
    stop_if(cancelled)
    result = apply_model(
        plan.model, volumes, outputs=settings["outputs"], device=device, precision=settings["precision"],
        seed=settings["seed"], optimize=settings["optimize"], progress=progress, cancelled=cancelled,
    )
    found = dict.fromkeys(str(each.message) for each in caught if issubclass(each.category, UserWarning))
    noted = [*found, *result.report["warnings"]]
    report = {**result.report, "case": case.name, "files": entry.inputs, "outputs": entry.outputs, "warnings": noted}
    with replaced_whole(plan.output_folder / entry.outputs["report"]) as beside:
        for name, value in result.outputs.items():
            stop_if(cancelled)
            write_output(value, beside.parent / entry.outputs[name])
        beside.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return noted


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "out of memory" in text.lower():
        return f"The memory is not enough for this case: close other programs, or crop its images ({text or 'full'})."
    if isinstance(error, OSError):
        return f"The results cannot be written ({error.strerror or text}): check the folder and its free space."
    users_mistake = isinstance(error, ValueError) or type(error).__module__.startswith("GANSynthesisLib.")
    return text if users_mistake and text else f"{type(error).__name__}: {text}"
