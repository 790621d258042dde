"""Training: what cannot work is said before any work, and what a run leaves behind."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import training_fixtures
from safetensors.torch import load_file
from synthetic_cases import LABELS, head, labels_of, write_cases, write_pairs
from training_fixtures import FLAT, REGISTER, bits, history

from GANSynthesisLib.files import write_volume
from GANSynthesisLib.models import load_model
from GANSynthesisLib.systems import build_system
from GANSynthesisLib.training import train
from GANSynthesisLib.training.cases import DataError, find_cases, split_subjects

data, no_curves, one_thread = training_fixtures.data, training_fixtures.no_curves, training_fixtures.one_thread


def check_refused(output: Path, sentence: str, system: str, data: Path, error=DataError, **arguments) -> None:
    """Training is refused in one sentence and leaves everything as it was."""
    output.write_bytes(b"an older model")
    run = output.with_suffix(".run")
    run.mkdir()
    (run / "checkpoint.pt").write_bytes(b"an older run")
    with pytest.raises(error, match=sentence) as caught:
        train(system, data, output, **{"steps": 2, **arguments})
    assert "\n" not in str(caught.value)
    assert output.read_bytes() == b"an older model"
    assert (run / "checkpoint.pt").read_bytes() == b"an older run"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"steps": 0}, "at least one step"),
        ({"seed": -1}, "seed is -1"),
        ({"precision": "16"}, "precision is '16'; it must be one of 32, bf16"),
        ({"device": "gpu"}, "'gpu' is no device: choose auto, cpu, cuda"),
        ({"settings": {**FLAT, "colour": 1}}, "unknown setting colour"),
        ({"settings": {**FLAT, "intensity": "percentile:1"}}, "'percentile:1' must be a kind, or KIND:LOW:HIGH"),
        ({"settings": {**FLAT, "intensity": "percentile:a:b"}}, "KIND:LOW:HIGH with two numbers"),
        ({"settings": {**FLAT, "intensity": "percents"}}, "an intensity range is one of percentile"),
        ({"settings": {**FLAT, "spacing": "1,1"}}, "give one, or three"),
        ({"settings": FLAT, "card": {"title": ""}}, "title must not be empty"),
        ({"settings": FLAT, "card": {"licence": 4}}, "licence must be text, not 4"),
    ],
)
def test_arguments_that_cannot_work_are_refused_and_nothing_older_is_lost(data, tmp_path, arguments, sentence):
    check_refused(tmp_path / "m.safetensors", sentence, "paired", data / "paired", ValueError, **arguments)


def test_a_run_can_start_from_the_weights_of_a_model(data, tmp_path):
    settings = {"context": "2D", "width": 4, "patch": "16,16", "batch": 1, "validation_fraction": 0}
    first = train("paired", data / "paired", tmp_path / "first.safetensors", settings=settings, steps=3)
    frozen = settings | {"learning_rate": 1e-7}
    again = train("paired", data / "paired", tmp_path / "again.safetensors", settings=frozen, steps=1, initial=first)
    for name, value in load_file(again).items():
        torch.testing.assert_close(value, load_file(first)[name], atol=1e-5, rtol=0)
    for other, sentence in ((settings | {"width": 8}, "do not fit networks of these settings"), ({}, "do not fit")):
        with pytest.raises(DataError, match=sentence):
            train("paired", data / "paired", tmp_path / "no.safetensors", settings=other, steps=1, initial=first)
    with pytest.raises(DataError, match="is of the system paired, not cyclegan"):
        train("cyclegan", data / "paired", tmp_path / "no.safetensors", steps=1, initial=first)


def test_a_model_must_be_called_safetensors(data, tmp_path):
    with pytest.raises(DataError, match=r"must end in .safetensors"):
        train("paired", data / "paired", tmp_path / "model.pt", steps=2)
    assert list(tmp_path.iterdir()) == []


def test_labels_out_of_range_are_named_with_their_file(tmp_path):
    write_cases(tmp_path / "data", 2, labels=True)
    arguments = {"system": "segmentor", "data": tmp_path / "data", "settings": {"context": "2D", "patch": "16,16"}}
    sentence = r"'sub-00'.*the labels 'sub-00' hold the value 2, but the setting labels names the 2 values"
    check_refused(tmp_path / "m.safetensors", sentence, **arguments)


@pytest.mark.parametrize("value", [-1, 0.5])
def test_labels_that_are_no_whole_numbers_from_zero_on_are_refused(tmp_path, value):
    write_cases(tmp_path / "data", 1, labels=True)
    labels = labels_of(head(0))
    wrong = np.where(labels.voxels == 2, value, labels.voxels.astype(np.float32))
    write_volume(labels.with_voxels(wrong), tmp_path / "data" / "labels" / "sub-00.nii.gz")
    arguments = {"system": "segmentor", "data": tmp_path / "data", "settings": {"labels": LABELS}}
    check_refused(tmp_path / "m.safetensors", f"hold the value {value}", **arguments)


def test_a_healthy_case_with_empty_labels_trains(tmp_path):
    write_cases(tmp_path / "data", 2, labels=True)
    labels = labels_of(head(0))
    write_volume(labels.with_voxels(0 * labels.voxels), tmp_path / "data" / "labels" / "sub-00.nii.gz")
    settings = {"labels": LABELS, "segmentor_width": 4, "context": "2D", "patch": "16,16", "batch": 2}
    train("segmentor", tmp_path / "data", tmp_path / "m.safetensors", settings=settings, steps=2)


def test_label_channels_of_registration_hold_zeros_and_ones(tmp_path):
    write_pairs(tmp_path / "data", 1, labels=True)
    write_volume(labels_of(head(0, (16, 24, 24))), tmp_path / "data" / "moving_labels" / "sub-00.nii.gz")
    check_refused(tmp_path / "m.safetensors", "the moving labels 'sub-00' hold values from 0 to 2",
                  "wgan_registration", tmp_path / "data", settings={**REGISTER, "aligned": False})


def test_images_that_cannot_be_used_are_named_with_their_case(tmp_path):
    write_cases(tmp_path / "data", 2)
    broken = head(1).voxels.copy()
    broken[0, 0, 0] = np.nan
    (tmp_path / "data" / "source" / "sub-01.nii.gz").unlink()  # NIfTI readers turn NaN into 0
    write_volume(head(1).with_voxels(broken), tmp_path / "data" / "source" / "sub-01.nrrd")
    check_refused(tmp_path / "m.safetensors", "Training case 'sub-01': .* 1 voxels that are NaN", "paired",
                  tmp_path / "data", settings=FLAT)


# What a run leaves behind


def test_a_run_writes_losses_pictures_previews_and_a_card(data, tmp_path):
    said = []
    settings = {**FLAT, "validation_fraction": 0.25, "validate_every": 2, "modality": "T1", "target_modality": "T2"}
    output = train("paired", data / "paired", tmp_path / "brain t2.safetensors", settings=settings, steps=4, seed=5,
                   card={"licence": "CC0"}, progress=lambda fraction, text: said.append((fraction, text)))
    run = tmp_path / "brain t2.run"
    rows = history(run)
    assert [row["step"] for row in rows] == [2, 4]
    assert {"generator/l1", "gradient norm/generator", "validation/mae"} <= set(rows[-1])
    for picture in (run / "losses.png", run / "previews" / "step_000002.png", run / "previews" / "step_000004.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert not list(run.rglob("*.writing"))
    fractions = [fraction for fraction, _ in said]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert re.search(r"step 2/4, \d+:\d\d:\d\d left: l1 ", " ".join(text for _, text in said))
    card = load_model(output).card
    assert (card.name, card.seed, card.licence, card.shape, card.context) == ("brain-t2", 5, "CC0", (1, 16, 16), "2D")
    assert card.training["subjects"] + card.training["held_out_subjects"]
    assert not set(card.training["subjects"]) & set(card.training["held_out_subjects"])
    assert 0 < card.metrics["validation"]["mae"] < 1
    target = card.output("target")
    assert (target.modality, target.intensity["kind"]) == ("T2", "window")
    assert card.settings["patch"] == [16, 16]


def test_a_number_that_is_not_finite_is_left_out_of_the_card(data, tmp_path, monkeypatch):
    from GANSynthesisLib.systems.paired import Paired
    from GANSynthesisLib.training.engine import Engine

    monkeypatch.setattr(Paired, "validate", lambda system, batch: {"mae": 0.5, "odd": math.nan})
    keep = Engine._keep_best
    monkeypatch.setattr(Engine, "_keep_best", lambda engine, found: keep(engine, {**found, "worse": math.inf}))
    settings = {**FLAT, "validation_fraction": 0.25}
    output = train("paired", data / "paired", tmp_path / "m.safetensors", settings=settings, steps=1)
    assert load_model(output).card.metrics == {"validation": {"mae": 0.5}}


def test_numbers_of_some_validation_cases_are_averaged_over_those(data, tmp_path, monkeypatch):
    from GANSynthesisLib.systems.paired import Paired

    answers = iter([{"mae": 1.0}, {"mae": 2.0, "dice": 0.4}, {"mae": math.nan, "dice": 0.6}])
    monkeypatch.setattr(Paired, "validate", lambda system, batch: next(answers, {}))
    settings = {**FLAT, "validation_fraction": 0.25}
    output = train("paired", data / "paired", tmp_path / "m.safetensors", settings=settings, steps=1)
    assert load_model(output).card.metrics["validation"] == {"mae": 1.5, "dice": 0.5}


def test_cases_without_labels_are_validated_without_them(tmp_path):
    write_cases(tmp_path / "data", 4, labels=True, shape=(4, 24, 20))
    for number in (1, 2, 3):
        (tmp_path / "data" / "labels" / f"sub-{number:02d}.nii.gz").unlink()
    settings = {**FLAT, "segmentation_weight": 1, "labels": LABELS, "segmentor_width": 4, "validation_fraction": 0.5}
    for seed in range(10):
        cases = find_cases(tmp_path / "data", ("source", "target", "labels"), paired=False)
        if any("labels" in case.files for case in split_subjects(cases, 0.5, seed)[0]):
            break
    train("cyclegan", tmp_path / "data", tmp_path / "m.safetensors", settings=settings, steps=1, seed=seed)


def test_the_best_validated_weights_are_kept_and_training_stops_early(data, tmp_path, monkeypatch):
    from GANSynthesisLib.systems.paired import Paired

    scores = iter([0.5, 0.2, 0.3, 0.4, 0.1])
    monkeypatch.setattr(Paired, "validate", lambda system, batch: {"mae": next(scores)})
    monkeypatch.setattr(
        "GANSynthesisLib.training.patches.PatchSampler.validation_batches",
        lambda sampler, device: [{name: torch.zeros(1, 1, 1, 16, 16) for name in ("source", "target")}],
    )
    said = []
    settings = {**FLAT, "validation_fraction": 0.25, "validate_every": 1, "patience": 2}
    output = tmp_path / "m.safetensors"
    arguments = {"settings": settings, "steps": 9, "progress": lambda fraction, text: said.append(text)}
    train("paired", data / "paired", output, **arguments)
    card, weights = load_model(output).card, bits(output)
    assert (card.training["steps"], card.training["kept_step"]) == (4, 2)
    assert card.metrics["validation"]["mae"] == 0.2
    assert [alert["name"] for alert in card.training["alerts"]] == ["early-stop"]
    assert any("alert early-stop" in text for text in said)
    train("paired", data / "paired", output, resume=True, **arguments)  # stays stopped
    assert load_model(output).card.training == card.training
    assert bits(output) == weights


def test_unused_players_do_not_travel_with_the_model(data, tmp_path):
    settings = {**FLAT, "adversarial_weight": 1}
    output = train("paired", data / "paired", tmp_path / "m.safetensors", settings=settings, steps=1)
    names = set(load_file(output))
    assert names == {name for name in build_system("paired", settings).state_dict() if name.startswith("generator.")}
