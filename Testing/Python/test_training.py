"""Training: which files are cases, what a run leaves behind, and that nothing that happens to it is lost."""

import csv
import dataclasses
import itertools
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from synthetic_cases import LABELS, SMALL, head, labels_of, write_cases, write_images, write_pairs

from GANSynthesisLib.files import write_volume
from GANSynthesisLib.models import load_model
from GANSynthesisLib.systems import build_system
from GANSynthesisLib.training import Alert, Cancelled, train
from GANSynthesisLib.training.cases import DataError, find_cases, split_subjects, subject_of
from GANSynthesisLib.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from GANSynthesisLib.training.curves import write_history
from GANSynthesisLib.training.stability import Average, ImagePool, learning_rate_factor

REPOSITORY = Path(__file__).resolve().parents[2]
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


# Cases


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_files_of_the_same_stem_are_one_case_whatever_their_format(tmp_path):
    touch(tmp_path, "source/b.nii.gz", "source/a.nrrd", "target/a.mha", "target/b.nii", "target/c.nii", "source/a.txt")
    cases = find_cases(tmp_path, ("source", "target"))
    assert [case.name for case in cases] == ["a", "b"]
    assert cases[0].files == {"source": tmp_path / "source/a.nrrd", "target": tmp_path / "target/a.mha"}


def test_a_role_may_be_a_folder_called_role_images(tmp_path):
    touch(tmp_path, "fixed_images/a.nii", "moving/a.nii", "fixed_labels/a.nii")
    (case,) = find_cases(tmp_path, ("fixed", "moving"), ("fixed_labels", "moving_labels"))
    assert sorted(case.files) == ["fixed", "fixed_labels", "moving"]


def test_unpaired_files_are_cases_of_their_own(tmp_path):
    touch(tmp_path, "source/a.nii", "source/b.nii", "target/x.nii", "labels/a.nii")
    cases = find_cases(tmp_path, ("source", "target"), ("labels",), paired=False)
    assert {case.name: sorted(case.files) for case in cases} == {
        "a": ["labels", "source"], "b": ["source"], "x": ["target"],
    }


def test_images_for_generation_lie_in_the_folder_itself_or_in_one_folder_per_class(tmp_path):
    touch(tmp_path, "one/1.png", "two/1.png", "3.nii.gz")
    assert [case.name for case in find_cases(tmp_path, ("image",))] == ["3", "one/1", "two/1"]


def test_a_manifest_names_files_subjects_and_names(tmp_path):
    touch(tmp_path, "p1/T1.nii", "p1/T2.nii", "p2/T1.nii", "p2/T2.nii")
    manifest = tmp_path / "cases.csv"
    manifest.write_text("name,subject,source,target\nfirst,s1,p1/T1.nii,p1/T2.nii\nsub-7_b,,p2/T1.nii,p2/T2.nii\n")
    first, second = find_cases(manifest, ("source", "target"))
    assert (first.name, first.subject) == ("first", "s1")
    assert (second.name, second.subject) == ("sub-7_b", "sub-7")
    assert first.files["source"] == (tmp_path / "p1/T1.nii").resolve()


@pytest.mark.parametrize(
    ("files", "roles", "sentence"),
    [
        ((), ("source", "target"), "no files for the role 'source': add a subfolder"),
        (("source/a.nii",), ("source", "target"), "no files for the role 'target'"),
        (("source/a.nii", "target/b.nii"), ("source", "target"), "need the same name in every subfolder"),
    ],
)
def test_folders_that_hold_no_case_are_explained(tmp_path, files, roles, sentence):
    touch(tmp_path, *files)
    with pytest.raises(DataError, match=sentence):
        find_cases(tmp_path, roles)


def test_manifests_that_cannot_be_used_are_explained(tmp_path):
    with pytest.raises(DataError, match="no folder or manifest"):
        find_cases(tmp_path / "nowhere", ("source",))
    wrong = tmp_path / "cases.csv"
    wrong.write_text("source\nnowhere.nii\n")
    with pytest.raises(DataError, match=r"line 2 names nowhere.nii, which does not exist"):
        find_cases(wrong, ("source",))
    wrong.write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="not a CSV manifest"):
        find_cases(wrong, ("source",))


def test_no_subject_is_on_both_sides_of_a_split(tmp_path):
    names = [f"source/sub-{subject:02d}_ses-{session}.nii" for subject in range(10) for session in range(3)]
    cases = find_cases(touch(tmp_path, *names), ("source",))
    for seed in range(5):
        training, held_out = split_subjects(cases, 0.3, seed)
        assert len(training) == 21
        assert not {case.subject for case in training} & {case.subject for case in held_out}
    assert split_subjects(cases, 0.3, 1) == split_subjects(cases, 0.3, 1)
    assert split_subjects(cases[:3], 0.8, 0) == (cases[:3], [])
    assert subject_of("sub-01_ses-2_T1w") == "sub-01"
    assert subject_of("case7") == "case7"


# What is wrong is said before any work


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
    assert "step 2/4, 0:00:0" in " ".join(text for _, text in said)
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


# Stability


def test_averaged_weights_follow_at_their_pace():
    net = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        net.weight.fill_(0)
        average = Average(net, 0.9)
        net.weight.fill_(1)
    average.update(net, 1)  # early: forgets the random start at once
    assert float(average.values["weight"]) == pytest.approx(1 - 2 / 11)
    with torch.no_grad():
        average.values["weight"].zero_()
    average.update(net, 10000)
    assert float(average.values["weight"]) == pytest.approx(0.1)
    assert float(net.weight.detach()) == 1


def test_the_saved_weights_are_the_averaged_ones(data, tmp_path):
    for name, decay in (("fast", 0.0), ("slow", 0.9999)):
        train("paired", data / "paired", tmp_path / f"{name}.safetensors", settings={**FLAT, "ema": decay}, steps=4)
    content = load_checkpoint(tmp_path / "fast.run" / "checkpoint.pt")
    fast = load_model(tmp_path / "fast.safetensors").build().state_dict()
    assert all(torch.equal(content["weights"][name], value) for name, value in fast.items())
    slow = load_model(tmp_path / "slow.safetensors").build().state_dict()
    average = load_checkpoint(tmp_path / "slow.run" / "checkpoint.pt")["average"]
    assert all(torch.equal(average[name], value) for name, value in slow.items())
    assert any(not torch.equal(fast[name], slow[name]) for name in fast)


def test_the_learning_rate_rises_stays_and_falls_to_nothing():
    rates = [learning_rate_factor(step, 100, warmup=10, decay_from=0.5) for step in range(100)]
    assert rates[0] == 0.1
    assert rates[4] == 0.5
    assert rates[9:50] == [1.0] * 41
    assert rates[75] == 0.5
    assert rates[99] == pytest.approx(0.02)
    assert rates[50:] == sorted(rates[50:], reverse=True)
    assert learning_rate_factor(0, 10, warmup=0, decay_from=1) == 1
    assert learning_rate_factor(9, 10, warmup=0, decay_from=1) == 1


def test_optimizers_step_with_their_own_rate_warmed_up(data, tmp_path, monkeypatch):
    rates, step = [], torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda optimizer, *rest, **more: (
        rates.append(optimizer.param_groups[0]["lr"]), step(optimizer, *rest, **more))[1])
    settings = {**FLAT, "warmup": 2, "adversarial_weight": 1, "learning_rate": 1e-3,
                "discriminator_learning_rate": 4e-3, "decay_from": 1}
    train("paired", data / "paired", tmp_path / "m.safetensors", settings=settings, steps=3)
    assert rates == pytest.approx([5e-4, 2e-3, 1e-3, 4e-3, 1e-3, 4e-3])


def test_the_pool_shows_past_fakes_again_half_of_the_time():
    torch.manual_seed(0)
    pool, shown = ImagePool(10), []
    for number in range(400):
        shown.append(int(pool("target", torch.full((1, 1), float(number)))))
    assert shown[:10] == list(range(10))
    again = [number for number, value in enumerate(shown[10:], 10) if value != number]
    assert 0.4 < len(again) / 390 < 0.6
    assert len(set(shown[10:])) == len(shown[10:])  # an old fake leaves the pool when it is shown
    assert ImagePool(0)("target", torch.ones(2, 1)).tolist() == [[1], [1]]
    assert set(pool.images) == {"target"}


def poisoned(monkeypatch, calls: set[int] | None):
    """Paired training whose loss is NaN in these rounds (None: in all from the third on)."""
    from GANSynthesisLib.systems.paired import Paired

    turn, count = Paired.generator_turn, [0]

    def generator_turn(system, batch):
        count[0] += 1
        losses = turn(system, batch)
        bad = count[0] >= 3 if calls is None else count[0] in calls
        return {name: loss * math.nan for name, loss in losses.items()} if bad else losses

    monkeypatch.setattr(Paired, "generator_turn", generator_turn)


def test_nan_goes_back_to_the_last_good_checkpoint_with_a_named_alert(data, tmp_path, monkeypatch):
    poisoned(monkeypatch, {4})
    said = []
    settings = {**FLAT, "checkpoint_every": 2}
    output = train("paired", data / "paired", tmp_path / "m.safetensors", settings=settings, steps=5,
                   progress=lambda fraction, text: said.append(text))
    (alert,) = load_model(output).card.training["alerts"]
    assert (alert["name"], alert["step"]) == ("not-finite", 2)
    assert "NaN at step 4: back to step 2 at half the learning rate" in alert["text"]
    assert any("alert not-finite" in text for text in said)
    content = load_checkpoint(tmp_path / "m.run" / "checkpoint.pt")
    assert (content["step"], content["slowdown"]) == (5, 0.5)
    assert all(np.isfinite(np.frombuffer(value, np.float32)).all() for value in bits(output).values())


def test_weights_that_overflow_without_a_nan_loss_never_reach_a_checkpoint(data, tmp_path, monkeypatch):
    step, count = torch.optim.AdamW.step, [0]

    def overflow(optimizer, *rest, **more):
        answer = step(optimizer, *rest, **more)
        count[0] += 1
        if count[0] == 2:
            with torch.no_grad():
                optimizer.param_groups[0]["params"][0].fill_(math.inf)
        return answer

    monkeypatch.setattr(torch.optim.AdamW, "step", overflow)
    output = train("paired", data / "paired", tmp_path / "m.safetensors", settings=FLAT, steps=2)
    assert [alert["name"] for alert in load_model(output).card.training["alerts"]] == ["not-finite"]
    assert all(np.isfinite(np.frombuffer(value, np.float32)).all() for value in bits(output).values())


def test_nan_that_comes_back_ends_in_an_alert_with_advice(data, tmp_path, monkeypatch):
    poisoned(monkeypatch, None)
    output = tmp_path / "m.safetensors"
    output.write_bytes(b"an older model")
    with pytest.raises(Alert, match=r"Alert not-finite: .* lower learning_rate, set clip_gradient=1"):
        train("paired", data / "paired", output, settings=FLAT, steps=6)
    assert output.read_bytes() == b"an older model"
    assert load_checkpoint(tmp_path / "m.run" / "checkpoint.pt")["alerts"][-1]["name"] == "not-finite"


# Stopping and going on


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


def test_unused_players_do_not_travel_with_the_model(data, tmp_path):
    settings = {**FLAT, "adversarial_weight": 1}
    output = train("paired", data / "paired", tmp_path / "m.safetensors", settings=settings, steps=1)
    names = set(load_file(output))
    assert names == {name for name in build_system("paired", settings).state_dict() if name.startswith("generator.")}
