"""What a batch is going to do: its cases, where their results go, and which are done already. Nothing is written."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from GANSynthesisLib.batch.cases import STEP, BatchCase, BatchError, finding_batch_cases, wanted_outputs
from GANSynthesisLib.batch.record import RECORD_NAME, BatchRecord, CaseRecord, described_inputs, read_record
from GANSynthesisLib.card import Card
from GANSynthesisLib.models import Model
from GANSynthesisLib.options import check_options
from GANSynthesisLib.result import endings_of
from GANSynthesisLib.steps import run_through


@dataclass(frozen=True)
class BatchPlan:
    """Cases with the record of what is done of them; `run.run_batch` does the rest.

    outdated: names of files of an earlier batch that are removed when this one starts.
    """

    model: Model
    input_folder: Path
    output_folder: Path
    cases: list[BatchCase]
    record: BatchRecord
    outdated: tuple[str, ...] = ()

    @property
    def remaining(self) -> list[BatchCase]:
        """Cases that are not done yet, those with a problem among them."""
        return [case for case in self.cases if self.record.cases[case.name].state != "done"]


def plan_batch(
    model: Model,
    input_folder,
    output_folder,
    *,
    outputs: Sequence[str] | None = None,
    precision: str = "32",
    seed: int = 0,
    optimize: int = 0,
    restart: bool = False,
) -> BatchPlan:
    """Plan to apply the model to every case of a folder; see `find_batch_cases` for what a case is.

    A case gives `<case>_<output>.nii.gz` (volumes), `.seg.nrrd` (segmentations, with their names) or `.h5`
    (transforms) for each output, and `<case>.json`, its report. outputs, precision, seed and optimize are as of
    `inference.apply_model`. A case counts as done where its results are there and were made by this model with these
    settings from these files (by size and time). restart: do all cases anew, whatever was there.

    Raises BatchError, ModelError: no cases; the output folder lies in the input folder, holds a batch of another model
    or other settings, or files of these names that no batch has made.
    """
    options = {"outputs": outputs, "precision": precision, "seed": seed, "optimize": optimize, "restart": restart}
    return run_through(planning_batch(model, input_folder, output_folder, **options))


def planning_batch(
    model: Model, input_folder, output_folder, *, outputs: Sequence[str] | None = None, precision: str = "32",
    seed: int = 0, optimize: int = 0, restart: bool = False,
) -> Generator[None, None, BatchPlan]:  # fmt: skip
    """The same as `plan_batch` in steps of `STEP` cases, for those who must not wait."""
    card, source, target = model.card, _resolved(input_folder), _resolved(output_folder)
    wanted = wanted_outputs(card, outputs)
    check_options(card, precision, optimize)
    _check_folders(source, target)
    cases = yield from finding_batch_cases(card, source, wanted)
    many = len(cases) > STEP
    if many:
        yield
    settings = {"outputs": list(wanted), "precision": precision, "seed": seed, "optimize": optimize}
    files = {case.name: output_files(card, case.name, wanted) for case in cases}
    _check_names(files)
    earlier, there = read_record(target), _names_in(target)
    if earlier is not None and not restart:
        _check_same(earlier, model, settings, target)
    recorded = {name for each in earlier.cases.values() for name in each.outputs.values()} if earlier else set()
    if not restart:
        _check_unclaimed(files, there - recorded, target)
    before = {} if earlier is None or restart else earlier.cases
    if many:
        yield
    now = {}
    for number, case in enumerate(cases, start=1):
        now[case.name] = _state(case, before.get(case.name), files[case.name], source, there)
        if number % STEP == 0:
            yield
    # Results of cases that are no longer in the input folder stay, and stay recorded.
    record = BatchRecord(card.name, model.sha256, settings, str(source), {**before, **now})
    outdated = {name for case in cases for name in files[case.name].values() if now[case.name].state != "done"}
    return BatchPlan(model, source, target, cases, record, tuple(sorted(outdated & there)))


def output_files(card: Card, case: str, outputs: Sequence[str]) -> dict[str, str]:
    """Output name -> file name of a case, and that of its `report`."""
    names = {}
    for output in outputs:
        port = card.output(output)
        ending = ".seg.nrrd" if port.is_segmentation else endings_of(port)[0]
        names[output] = f"{case}_{output}{ending}"
    return {**names, "report": f"{case}.json"}


def _state(case: BatchCase, earlier: CaseRecord | None, files: dict[str, str], source, there: set[str]) -> CaseRecord:
    """As recorded where the images have not changed and the results of what is done are there, else waiting."""
    inputs = described_inputs(case, source)
    if earlier is not None and earlier.inputs == inputs:
        whole = there.issuperset(files.values())
        if earlier.state == "failed" or (earlier.state == "done" and whole and not case.problem):
            return earlier
    return CaseRecord("waiting", inputs, files)


def _resolved(folder) -> Path:
    return Path(folder).expanduser().resolve()


def _names_in(folder: Path) -> set[str]:
    """Names of what is in a folder; none where it is not there. One listing is quicker than a question per file."""
    try:
        return set(os.listdir(folder))
    except FileNotFoundError:
        return set()


def _check_folders(source: Path, target: Path) -> None:
    if source == target or source in target.parents:
        raise BatchError(f"The output folder {target} lies in the input folder, where nothing is written: "
                         "choose one outside of it.")
    if target.exists() and not target.is_dir():
        raise BatchError(f"The output folder {target} is a file: choose a folder.")


def _check_names(files: dict[str, dict[str, str]]) -> None:
    """Raise where two cases would write the same file, also on disks that take large and small letters for one."""
    owner = {RECORD_NAME: "the batch itself"}
    for case, names in files.items():
        for name in names.values():
            if name.lower() in owner:
                raise BatchError(f"The case '{case}' and {owner[name.lower()]} would both write {name}: "
                                 "rename the case.")
            owner[name.lower()] = f"the case '{case}'"


def _check_same(earlier: BatchRecord, model: Model, settings: dict, target: Path) -> None:
    if (earlier.model_hash, earlier.settings) == (model.sha256, settings):
        return
    changed = [name for name, value in settings.items() if earlier.settings.get(name) != value]
    other = f"other settings ({', '.join(changed)})" if earlier.model_hash == model.sha256 else "another model"
    raise BatchError(f"The output folder {target} holds a batch of {other}, '{earlier.model}': choose another folder, "
                     "or restart to do all cases anew.")


def _check_unclaimed(files: dict[str, dict[str, str]], unclaimed: set[str], target: Path) -> None:
    for names in files.values():
        for name in names.values():
            if name in unclaimed:
                raise BatchError(f"The output folder {target} holds {name}, which no batch has made: choose another "
                                 "folder, or restart to replace such files.")
