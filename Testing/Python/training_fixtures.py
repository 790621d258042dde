"""What tests of training share: folders of cases, settings of runs that take seconds, and what a run leaves behind."""

import csv
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from synthetic_cases import SMALL, write_cases, write_images, write_pairs

FLAT = {**SMALL, "context": "2D", "patch": "16,16"}
REGISTER = {
    "width": 4, "critic_width": 4, "patch": "16,16,16", "spacing": 5, "keypoints": 4, "batch": 1, "aligned": True,
    "validation_fraction": 0,
}
GENERATE = {
    "width": 4, "critic_width": 4, "latent": 4, "batch": 2, "critic_turns": 2, "patch": "16,16",
    "validation_fraction": 0,
}


@pytest.fixture(autouse=True)
def one_thread():
    """Sums are the same bits only in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_curves(request, monkeypatch):
    if "pictures" not in request.node.name:
        monkeypatch.setattr("GANSynthesisLib.training.curves._plot", lambda *drawing: None)
        monkeypatch.setattr("GANSynthesisLib.training.engine.write_preview", lambda *drawing: None)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("cases")
    write_cases(root / "paired", 4, shape=(4, 24, 20))
    write_cases(root / "unpaired", 2, paired=False, labels=True, shape=(4, 24, 20))
    write_images(root / "images", 2)
    write_pairs(root / "pairs", 2)
    return root


def bits(path: Path) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in load_file(path).items()}


def history(run: Path) -> list[dict]:
    with (run / "losses.csv").open() as stream:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(stream)]
