"""Are the first and last slices of a stack there? From positions to an answer, and from slices to positions."""

import csv
import json

import numpy as np
import pytest
import torch
import training_fixtures

from GANSynthesisLib.__main__ import main
from GANSynthesisLib.coverage import judge_coverage
from GANSynthesisLib.files import write_volume
from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.models import load_model
from GANSynthesisLib.systems import build_system
from GANSynthesisLib.training import train
from GANSynthesisLib.volumes import Volume, VolumeError

no_curves, one_thread = training_fixtures.no_curves, training_fixtures.one_thread
WHOLE = np.linspace(0, 1, 21)  # a complete stack, slices 0.05 apart
TINY = {"patch": "16,16", "width": 4, "latent": 4, "batch": 8, "warmup": 0, "validation_fraction": 0,
        "feature_steps": 6, "bins": 15, "lower_end": "base", "upper_end": "apex"}


# From positions to an answer


@pytest.mark.parametrize(("first", "last"), [(0, 0), (1, 0), (0, 1), (3, 0), (0, 4), (2, 3)])
def test_what_is_cut_off_is_told_in_slices(first, last):
    told = WHOLE[first : len(WHOLE) - last] + np.random.default_rng(0).normal(0, 0.005, len(WHOLE) - first - last)
    found = judge_coverage(told, ("base", "apex"), "heart")
    assert found.missing == (first, last)
    expected = " and ".join(name for name, cut in (("base", first), ("apex", last)) if cut)
    assert found.class_name == (f"{expected} missing" if expected else "complete")
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert ("at its beginning" in str(found)) == bool(first) and ("at its end" in str(found)) == bool(last)


def test_a_few_wrong_slices_do_not_matter():
    told = WHOLE[2:].copy()
    told[[1, 7, 17]] = 0.9, 0.1, 0.2
    assert judge_coverage(told).missing == (2, 0)


def test_empty_slices_around_what_is_shown_mean_that_it_is_all_there():
    told = np.concatenate([[np.nan] * 3, WHOLE, [np.nan] * 2])
    assert judge_coverage(told).class_name == "complete"
    assert judge_coverage(told[8:]).missing == (5, 0)


def test_the_distance_of_slices_may_be_any():
    for step in (1, 2, 4):
        assert judge_coverage(WHOLE[::step]).class_name == "complete"
        assert judge_coverage(WHOLE[::step][1:]).missing == (1, 0)


def test_slices_in_no_order_are_no_coverage_and_too_few_are_refused():
    for told in (WHOLE[::-1], np.full(12, 0.5)):
        found = judge_coverage(told)
        assert "wrong region or direction" in str(found) and found.missing == (0, 0)
        assert max(found.probabilities.values()) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="The stack has 3 slices"):
        judge_coverage(WHOLE[:3])


# From slices to positions


def cone(size: int = 24, count: int = 20) -> Volume:
    """A stack whose slices show a disk that grows from foot to head, beside a bar that does not change."""
    y, x = np.meshgrid(*[np.arange(size) - size / 2 + 0.5] * 2, indexing="ij")
    disks = [np.sqrt(x**2 + y**2) < 2 + 9 * number / (count - 1) for number in range(count)]
    voxels = np.array([300 * disk + 100 * (np.abs(x) < 11) + 20 for disk in disks], np.float32)
    return Volume(voxels, np.diag([1.0, 1, 3, 1]), name="cone")


@pytest.fixture(scope="module")
def slices(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slices")
    stack, rows = cone(), []
    for number in range(len(stack.voxels)):
        write_volume(stack.with_voxels(stack.voxels[number : number + 1]), folder / f"{number}.nii.gz")
        rows.append({"name": f"s{number}", "image": folder / f"{number}.nii.gz",
                     "value": number / (len(stack.voxels) - 1)})
    with (folder / "cases.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["name", "image", "value"])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "cases.csv"


def test_features_are_learned_by_coupled_gans_before_positions(slices, tmp_path):
    train("coverage", slices, tmp_path / "m.safetensors", settings=TINY, steps=12, device="cpu")
    rows = training_fixtures.history(tmp_path / "m.run")
    assert "classifier/position" in rows[-1] and "discriminators/judge" not in rows[-1]
    train("coverage", slices, tmp_path / "g.safetensors", settings=TINY, steps=5, device="cpu")
    rows = training_fixtures.history(tmp_path / "g.run")
    assert "classifier/position" not in rows[-1] and "equilibrium/JS divergence" in rows[-1]


def test_coupled_generators_share_all_but_their_last_layer():
    torch.manual_seed(0)
    system = build_system("coverage", TINY)
    both = system.generators(torch.randn(3, 4))
    assert both.shape == (3, 2, 1, 16, 16) and not torch.allclose(both[:, 0], both[:, 1])
    with torch.no_grad():
        system.generators.own.weight[1] = system.generators.own.weight[0]
        system.generators.own.bias[1] = system.generators.own.bias[0]
    both = system.generators(torch.randn(3, 4))
    assert torch.allclose(both[:, 0], both[:, 1])


def test_a_trained_model_tells_a_whole_stack_from_cut_ones(slices, tmp_path, capsys):
    train("coverage", slices, tmp_path / "m.safetensors", steps=250, device="cpu",
          settings={**TINY, "width": 8, "learning_rate": 3e-3, "augment": 0, "decay_from": 0.5, "ema": 0.9})
    model, whole = load_model(tmp_path / "m.safetensors"), cone()
    assert model.card.task == "classify"
    result = apply_model(model, {"image": whole})
    found = result.outputs["class"]
    assert np.abs(np.array(found.positions) - np.linspace(0, 1, 20)).mean() < 0.06
    assert result.report["coverage"]["class"] == found.class_name == "complete"
    for first, last in ((5, 0), (0, 5)):
        part = whole.with_voxels(whole.voxels[first : 20 - last])
        missing = apply_model(model, {"image": part}).outputs["class"].missing
        assert (missing[0] > missing[1], missing[1] > missing[0]) == (first > 0, last > 0)
    turned = Volume(whole.voxels[::-1], whole.ijk_to_ras @ np.diag([1, 1, -1, 1]), name="turned")
    assert apply_model(model, {"image": turned}).outputs["class"].missing == found.missing
    write_volume(whole.with_voxels(whole.voxels[8:]), tmp_path / "part.nii.gz")
    words = ["apply", str(tmp_path / "m.safetensors"), "--input", f"image={tmp_path / 'part.nii.gz'}", "--output",
             f"class={tmp_path / 'part.json'}", "--device", "cpu"]
    assert main(words) == 0
    assert "base missing" in capsys.readouterr().out
    assert json.loads((tmp_path / "part.json").read_text())["missing_slices"]["first"] > 0
    with pytest.raises(VolumeError, match="'thin' has 2 axial slices"):
        apply_model(model, {"image": whole.with_voxels(whole.voxels[:2], name="thin")})


def test_ends_need_two_names():
    from GANSynthesisLib.systems.settings import SettingsError

    with pytest.raises(SettingsError, match="give the ends two names"):
        build_system("coverage", {"lower_end": "base", "upper_end": "base"})
