"""What a batch has done, kept as `batch.json` in its output folder and written whole after every case."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from GANSynthesisLib.batch.cases import BatchCase, BatchError
from GANSynthesisLib.files import replaced_whole

RECORD_NAME = "batch.json"
RECORD_FORMAT = 1
STATES = ("waiting", "running", "done", "failed")


@dataclass
class CaseRecord:
    """State of one case.

    state: `waiting`, `running`, `done` or `failed`. inputs: role -> file (relative to the input folder), bytes and
    time of modification (ns) of what was read. outputs: output name, or `report`, -> file in the output folder. error:
    one sentence, of a failed case. seconds: of reading, applying and writing together.
    """

    state: str
    inputs: dict[str, dict[str, Any]]
    outputs: dict[str, str]
    error: str = ""
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class BatchRecord:
    """One model with its settings (outputs, precision, seed, optimize) on the cases of one folder."""

    model: str
    model_hash: str
    settings: dict[str, Any]
    input_folder: str
    cases: dict[str, CaseRecord]
    format: int = RECORD_FORMAT

    def write(self, output_folder: Path) -> None:
        """Replace the record in the folder by this one, whole."""
        with replaced_whole(output_folder / RECORD_NAME) as beside:
            beside.write_text(self._text(), encoding="utf-8")

    def _text(self) -> str:
        """JSON with a line per case: readable, and written in milliseconds for thousands of them."""
        head = {name: value for name, value in vars(self).items() if name != "cases"}
        cases = ",\n".join(f"  {_json(name)}: {_json(vars(each))}" for name, each in self.cases.items())
        return "{\n" + "".join(f" {_json(name)}: {_json(value)},\n" for name, value in head.items()) + (
            f' "cases": {{\n{cases}\n }}\n}}\n')


def _json(value) -> str:
    return json.dumps(value, ensure_ascii=False)


def read_record(output_folder) -> BatchRecord | None:
    """The record in the folder; None where there is none. Raises BatchError for one that cannot be read."""
    path = Path(output_folder) / RECORD_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] > RECORD_FORMAT:
            raise BatchError(f"{path} was written by a newer GANSynthesis: update it, or choose another folder.")
        cases = {name: CaseRecord(**each) for name, each in content["cases"].items()}
        if not all(each.state in STATES for each in cases.values()):
            raise KeyError("state")
        return BatchRecord(**{**content, "cases": cases})
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, TypeError, KeyError, AttributeError) as error:
        raise BatchError(
            f"{path} is not the record of a batch: remove it, or choose another output folder."
        ) from error


def described_inputs(case: BatchCase, input_folder: Path) -> dict[str, dict[str, Any]]:
    """Role -> what tells whether the role's image has changed: file, bytes, time of modification (ns)."""
    return {role: _described(path, input_folder) for role, path in case.files.items()}


def _described(path: Path, input_folder: Path) -> dict[str, Any]:
    if path.is_dir():
        files = [each for each in path.iterdir() if each.is_file()]
    elif path.suffix.lower() == ".mhd":  # the voxels are in a file beside it
        files = [each for each in path.parent.glob(f"{path.stem}.*") if each.is_file()]
    else:
        files = [path]
    status = [each.stat() for each in files]
    return {"file": path.relative_to(input_folder).as_posix(), "bytes": sum(each.st_size for each in status),
            "modified": max((each.st_mtime_ns for each in status), default=0)}
