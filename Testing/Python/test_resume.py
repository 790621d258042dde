"""Stopping and going on: nothing that happens to a run is lost."""

import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import training_fixtures
from synthetic_cases import LABELS, write_cases
from training_fixtures import FLAT, GENERATE, REGISTER, bits, history

from GANSynthesisLib.models import load_model
from GANSynthesisLib.training import Cancelled, train
from GANSynthesisLib.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from GANSynthesisLib.training.curves import write_history

data, no_curves, one_thread = training_fixtures.data, training_fixtures.no_curves, training_fixtures.one_thread
REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_checkpoint_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 1, "weights": torch.ones(3)})

    def dies(content, stream):
        stream.write(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr(torch, "save", dies)
    with pytest.raises(OSError, match="the disk is full"):
        save_checkpoint(path, {"step": 2})
    assert load_checkpoint(path)["step"] == 1
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"cannot be read .*: delete it and start without --resume"):
        load_checkpoint(path)


def test_no_code_is_run_from_a_checkpoint(tmp_path):
    import pickle

    class Malice:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    (tmp_path / "checkpoint.pt").write_bytes(pickle.dumps(Malice()))
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "checkpoint.pt")
    assert not (tmp_path / "owned").exists()


def test_a_history_without_rows_and_with_uneven_rows_is_written(tmp_path):
    write_history(tmp_path, [])
    write_history(tmp_path, [{"step": 1, "a/b": 2.0}, {"step": 2, "c/d": 3.0}])
    assert history(tmp_path) == [{"step": 1, "a/b": 2}, {"step": 2, "c/d": 3}]


def after(steps: int):
    """A cancel question that is answered yes after so many steps."""
    asked = itertools.count()
    return lambda: next(asked) >= steps


RESUMED = {
    "cyclegan": ("unpaired", {**FLAT, "segmentation_weight": 1, "labels": LABELS, "segmentor_width": 4, "pool": 3}),
    "wgan": ("images", GENERATE),
    "wgan_registration": ("pairs", {**REGISTER, "validation_fraction": 0.5, "validate_every": 2}),
    "paired": ("paired", {**FLAT, "adversarial_weight": 1, "validation_fraction": 0.25, "validate_every": 2}),
}


@pytest.mark.parametrize("system", RESUMED)
def test_a_stopped_and_resumed_run_ends_with_the_same_bits(system, data, tmp_path):
    folder, settings = RESUMED[system]
    arguments = {"settings": {**settings, "checkpoint_every": 2}, "steps": 5, "seed": 3}
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    train(system, data / folder, whole, **arguments)
    for steps, stop in ((2, 2), (1, 3)):
        with pytest.raises(Cancelled, match=f"stopped at step {stop}; --resume goes on"):
            train(system, data / folder, parts, resume=True, cancelled=after(steps), **arguments)
        assert not parts.exists()
    torch.manual_seed(99)  # whatever happened in between
    train(system, data / folder, parts, resume=True, **arguments)
    assert bits(parts) == bits(whole)
    for name in ("average", "weights"):
        a, b = (load_checkpoint(tmp_path / f"{run}.run" / "checkpoint.pt")[name] for run in ("whole", "parts"))
        assert all(torch.equal(a[key], b[key]) for key in a)
    cards = [dataclasses.replace(load_model(path).card, name="m") for path in (whole, parts)]
    assert cards[0] == cards[1]


def test_a_run_killed_in_the_middle_and_resumed_ends_with_the_same_bits(data, tmp_path):
    settings = {**RESUMED["cyclegan"][1], "checkpoint_every": 3}
    killed, whole = tmp_path / "killed.safetensors", tmp_path / "whole.safetensors"
    words = [sys.executable, "-m", "GANSynthesisLib", "train", "cyclegan", "--data", data / "unpaired", "--steps",
             "400", "--output", killed, "--settings", *(f"{name}={value}" for name, value in settings.items())]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen([str(word) for word in words], env=environment, stderr=subprocess.PIPE, text=True)
    checkpoint = tmp_path / "killed.run" / "checkpoint.pt"
    try:
        deadline = time.monotonic() + 120
        while not (checkpoint.exists() and load_checkpoint(checkpoint)["step"] >= 6):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert not killed.exists()
    reached = load_checkpoint(checkpoint)["step"]
    assert 6 <= reached < 400
    # The same run to a nearer end would be another run (its rate falls elsewhere): both go on to the same step.
    arguments = {"settings": settings, "steps": 400}
    ends = []
    for output, resume, steps in ((killed, True, 4), (whole, False, reached + 4)):
        with pytest.raises(Cancelled):
            train("cyclegan", data / "unpaired", output, resume=resume, cancelled=after(steps), **arguments)
        ends.append(load_checkpoint(output.with_suffix(".run") / "checkpoint.pt"))
    assert [end["step"] for end in ends] == [reached + 4] * 2
    for name in ("weights", "average"):
        assert all(torch.equal(ends[0][name][key], ends[1][name][key]) for key in ends[0][name])
    assert torch.equal(ends[0]["torch"], ends[1]["torch"])
    assert ends[0]["sampler"] == ends[1]["sampler"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"settings": {**FLAT, "batch": 3}}, r"made with other batch \(2, not 3\): give the same as then"),
        ({"steps": 5}, r"made with other steps \(4, not 5\)"),
        ({"seed": 1}, "made with other seed"),
        ({"system": "segmentor", "settings": {"context": "2D", "patch": "16,16"}}, "made with other system"),
    ],
)
def test_a_checkpoint_of_another_run_is_not_resumed(tmp_path, changes, sentence):
    write_cases(tmp_path / "data", 1, labels=True)
    (tmp_path / "data" / "labels").rename(tmp_path / "data" / "kept")
    output = tmp_path / "m.safetensors"
    train("paired", tmp_path / "data", output, settings=FLAT, steps=4)
    (tmp_path / "data" / "kept").rename(tmp_path / "data" / "labels")
    before = output.read_bytes()
    arguments = {"system": "paired", "settings": {**FLAT}, "steps": 4, "seed": 0, **changes}
    if "segmentor" in arguments["system"]:
        arguments["settings"] = {**arguments["settings"], "labels": LABELS}
    with pytest.raises(CheckpointError, match=sentence):
        train(arguments.pop("system"), tmp_path / "data", output, resume=True, **arguments)
    assert output.read_bytes() == before


def test_resume_without_a_checkpoint_starts_from_the_beginning(data, tmp_path):
    for name, resume in (("a", True), ("b", False)):
        train("paired", data / "paired", tmp_path / f"{name}.safetensors", settings=FLAT, steps=2, resume=resume)
    assert bits(tmp_path / "a.safetensors") == bits(tmp_path / "b.safetensors")


def test_another_seed_is_another_model(data, tmp_path):
    for seed in (0, 1):
        train("paired", data / "paired", tmp_path / f"{seed}.safetensors", settings=FLAT, steps=1, seed=seed)
    assert bits(tmp_path / "0.safetensors") != bits(tmp_path / "1.safetensors")
