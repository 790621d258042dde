"""What every benchmark shares: its arguments, the models it may measure, its table and its entries of bench.json."""

from __future__ import annotations

import argparse
import functools
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing")]  # the benchmarks run from the source tree

from GANSynthesisLib.evaluation.tables import text_table  # noqa: E402
from GANSynthesisLib.models import Model, ModelError, load_model, shipped_models_folder  # noqa: E402
from GANSynthesisLib.volumes import VolumeError  # noqa: E402

RUNS = ROOT / "runs"


class LeftOut(Exception):
    """A benchmark cannot run here: one sentence that says what it lacks."""


REFUSALS = (LeftOut, ModelError, VolumeError)


@dataclass(frozen=True)
class Entry:
    """One number of bench.json: `ours` and the `peer` it is held against, in `unit`; `note` says which is better."""

    name: str
    ours: float
    peer: float
    unit: str
    note: str

    def as_dict(self) -> dict:
        """JSON-able; ratio is ours / peer, None where it has no meaning."""
        ratio = self.ours / self.peer if self.peer else math.nan
        numbers = {"ours": self.ours, "peer": self.peer, "ratio": ratio}
        plain = {name: round(float(value), 5) if math.isfinite(value) else None for name, value in numbers.items()}
        return {"name": self.name, **plain, "unit": self.unit, "note": self.note}


def parser(doc: str) -> argparse.ArgumentParser:
    """--data and --device, which every benchmark takes."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", type=Path, default=default_data(), metavar="DIR",
                      help="folder of the development images (default: ../shared/data, or GANSYNTHESIS_DATA)")
    made.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return made


def default_data() -> Path | None:
    """The folder of images beside the repository, or the one the environment names; None where there is none."""
    folder = Path(os.environ.get("GANSYNTHESIS_DATA", ROOT.parent / "shared" / "data"))
    return folder if folder.is_dir() else None


def existing_folder(data: Path | None, *parts: str) -> Path:
    """A folder of the images. Raises LeftOut where it is missing."""
    if data is None:
        raise LeftOut("there are no development images beside this repository: name their folder with --data DIR")
    folder = Path(data).joinpath(*parts)
    if not folder.is_dir():
        raise LeftOut(f"the folder {folder} does not exist: name the folder of the images with --data DIR")
    return folder


@functools.cache
def trained_models() -> tuple[Model, ...]:
    """The shipped models, then those of runs/ with other weights; a file that cannot be used is reported."""
    found: dict[str, Model] = {}
    for path in (*sorted(shipped_models_folder().glob("*.safetensors")), *sorted(RUNS.glob("*.safetensors"))):
        try:
            model = load_model(path)
        except ModelError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        found.setdefault(model.sha256, model)
    return tuple(found.values())


def refuse_test_subjects(model: Model, subjects: Sequence[str]) -> None:
    """Raise LeftOut where a model has seen a subject it would be tested on."""
    training = model.card.training
    seen = {*training.get("subjects", ()), *training.get("held_out_subjects", ())} & set(subjects)
    if seen:
        raise LeftOut(f"the model '{model.card.name}' has seen {', '.join(sorted(seen))} in training: it is no test")


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print(f"\n{text_table(title, header, rows)}", flush=True)


def run(measure: Callable[[], Sequence[Entry]]) -> int:
    """Run one benchmark; what it lacks ends in one sentence and exit status 2."""
    started = time.perf_counter()
    try:
        measure()
    except REFUSALS as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 2
    print(f"\n  {time.perf_counter() - started:.0f} s")
    return 0
