"""Prepared cases: in files while a run lasts, looked at in place, and cut as whole tensors would be."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import training_fixtures
from training_fixtures import FLAT

from GANSynthesisLib.allocation import freed_memory_kept
from GANSynthesisLib.progress import Cancelled
from GANSynthesisLib.systems import build_system
from GANSynthesisLib.training import train
from GANSynthesisLib.training.cases import DataError, find_cases
from GANSynthesisLib.training.cut import Cut
from GANSynthesisLib.training.loading import LoadedCase, load_case
from GANSynthesisLib.training.patches import MOST_VALIDATED, PatchSampler
from GANSynthesisLib.training.prepared import StoredTensors

data, no_curves, one_thread = training_fixtures.data, training_fixtures.no_curves, training_fixtures.one_thread


def points(*axes) -> torch.Tensor:
    z, y, x = torch.meshgrid(*[torch.as_tensor(axis, dtype=torch.float32) for axis in axes], indexing="ij")
    return torch.stack([x, y, z], -1)


def test_tensors_come_back_from_their_files_and_are_not_changed_through_them(tmp_path):
    tensors = {"source": torch.randn(1, 3, 4, 5), "labels": torch.randint(0, 3, (1, 3, 4, 5)).float()}
    stored = StoredTensors.write(tmp_path / "case", tensors)
    assert set(stored) == set(tensors)
    for role, tensor in tensors.items():
        assert torch.equal(stored[role], tensor)
    stored["source"].zero_()
    assert torch.equal(stored["source"], tensors["source"])


def test_batches_from_files_are_those_from_memory(data, tmp_path):
    system = build_system("cyclegan", {**FLAT, "context": "3D", "patch": "8,16,16", "batch": 3})
    cases = [load_case(case, system) for case in find_cases(data / "unpaired", system.roles, (), False)]
    stored = [LoadedCase(case.name, StoredTensors.write(tmp_path / case.name, case.tensors), case.intensity,
                         boxes=case.boxes) for case in cases]
    samplers = [PatchSampler(each, system, 5) for each in (cases, stored)]
    for _ in range(4):
        first, second = (sampler.batch("cpu") for sampler in samplers)
        assert all(torch.equal(first[role], second[role]) for role in first)
    if Path("/proc/self/maps").exists():
        del first, second
        for sampler in samplers:
            sampler.close()
        gc.collect()
        assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_patches_that_are_not_turned_are_copies_of_voxels():
    image = torch.randn(1, 6, 7, 8)
    found = Cut("image", image, points(range(2, 5), range(1, 6), range(6, 1, -1))).patch()
    assert torch.equal(found, image[:, 2:5, 1:6, 2:7].flip(-1))


@pytest.mark.parametrize("shift", [0.0, 0.25])
@pytest.mark.parametrize(("role", "lowest"), [("source", -1.0), ("labels", 0.0)])
@pytest.mark.parametrize("start", [-9, -2, 3, 6, 20])
def test_a_patch_is_the_lowest_value_outside_of_the_image(start, role, lowest, shift):
    image = torch.full((1, 8, 8, 8), 2.0)
    axis = np.arange(start, start + 4) + shift
    found = Cut(role, image, points(axis, [3], [4])).patch()[0, :, 0, 0]
    inside = (axis >= 0) & (axis <= 7)
    far = (axis <= -1) | (axis >= 8)
    assert (found[inside] == 2).all() and (found[far] == lowest).all()


def test_a_turned_patch_is_interpolated_as_from_the_whole_image():
    z, y, x = np.indices((9, 20, 24)).astype(np.float32)
    image = torch.from_numpy(0.01 * z - 0.02 * y + 0.015 * x)[None]
    angle = np.deg2rad(8)
    at = points(np.arange(5) + 2, np.arange(8) - 3.5, np.arange(8) - 3.5)
    turned = torch.stack([np.cos(angle) * at[..., 0] - np.sin(angle) * at[..., 1] + 12,
                          np.sin(angle) * at[..., 0] + np.cos(angle) * at[..., 1] + 10, at[..., 2]], -1)
    expected = 0.01 * turned[..., 2] - 0.02 * turned[..., 1] + 0.015 * turned[..., 0]
    torch.testing.assert_close(Cut("source", image, turned).patch()[0], expected, atol=1e-6, rtol=0)


def test_a_single_slice_fills_the_slab_around_it():
    image = torch.randn(1, 1, 6, 6)
    found = Cut("source", image, points([-1, 0, 1], range(6), range(6))).patch()
    assert torch.equal(found, image.expand(1, 3, 6, 6))


def test_a_checkpoint_knows_nothing_of_the_batch_that_is_cut_ahead(data):
    system = build_system("paired", FLAT)
    cases = [load_case(case, system) for case in find_cases(data / "paired", system.roles)]
    sampler = PatchSampler(cases, system, 1)
    start = sampler.state()
    first = sampler.batch("cpu")
    after = sampler.state()
    second = sampler.batch("cpu")
    for state, expected in ((after, second), (start, first)):
        sampler.restore(state)
        found = sampler.batch("cpu")
        assert all(torch.equal(found[role], expected[role]) for role in expected)
    assert sampler.state() == after


def test_of_very_many_validation_cases_some_are_looked_at(data):
    system = build_system("paired", FLAT)
    (case, *_) = [load_case(case, system) for case in find_cases(data / "paired", system.roles)]
    for count, looked_at in ((1, 1), (MOST_VALIDATED, MOST_VALIDATED), (10 * MOST_VALIDATED, MOST_VALIDATED)):
        assert len(PatchSampler([case] * count, system, 0).validation_batches("cpu", per_case=1)) == looked_at


@pytest.mark.parametrize("stopped", [False, True])
def test_the_files_go_when_the_run_ends(data, tmp_path, stopped):
    seen = []

    def progress(fraction: float, text: str) -> None:
        if text.startswith("step 1/"):
            seen.append(sorted(path.name for path in (tmp_path / "m.run" / "cases").iterdir()))

    def cancelled() -> bool:
        return stopped and bool(seen)

    arguments = {"settings": FLAT, "steps": 2, "progress": progress, "cancelled": cancelled}
    left_by_a_killed_run = tmp_path / "m.run" / "cases" / "000000"
    left_by_a_killed_run.mkdir(parents=True)
    (left_by_a_killed_run / "source").write_bytes(b"half")
    if stopped:
        with pytest.raises(Cancelled):
            train("paired", data / "paired", tmp_path / "m.safetensors", **arguments)
    else:
        train("paired", data / "paired", tmp_path / "m.safetensors", **arguments)
    assert seen == [["000000", "000001", "000002", "000003"]]
    assert not (tmp_path / "m.run" / "cases").exists()
    assert (tmp_path / "m.run" / "checkpoint.pt").exists()


def test_a_run_that_is_refused_leaves_no_folder(data, tmp_path):
    (tmp_path / "data" / "source").mkdir(parents=True)
    (tmp_path / "data" / "target").mkdir()
    for role in ("source", "target"):
        (tmp_path / "data" / role / "a.nii.gz").write_bytes(b"no image")
    with pytest.raises(DataError, match="Training case 'a'"):
        train("paired", tmp_path / "data", tmp_path / "m.safetensors", settings=FLAT, steps=1)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_full_disk_is_explained(data, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(StoredTensors, "write", full)
    with pytest.raises(DataError, match=r"prepared case '.*' \(0 MB\) cannot be written .*No space left.*: make room"):
        train("paired", data / "paired", tmp_path / "m.safetensors", settings=FLAT, steps=1)
    assert list(tmp_path.iterdir()) == []


def test_keeping_freed_memory_changes_nothing_that_is_computed():
    torch.manual_seed(0)
    image = torch.randn(1, 4, 16, 16, 16)
    net = torch.nn.Conv3d(4, 4, 3)
    expected = net(image)
    with freed_memory_kept(), freed_memory_kept():
        assert torch.equal(net(image), expected)
    assert torch.equal(net(image), expected)
