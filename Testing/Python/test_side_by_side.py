"""The benchmark of all translation methods: its images, its measures, its recipes, and one method all the way."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import synthetic_cases

from GANSynthesisLib.files import write_volume
from GANSynthesisLib.systems import system_class
from GANSynthesisLib.volumes import Volume

sys.path.append(str(Path(__file__).resolve().parents[1] / "Benchmarks"))

import side_by_side  # noqa: E402
import side_by_side_recipes  # noqa: E402
from command import LeftOut  # noqa: E402
from side_by_side_cases import MR_TO_CT, T1_TO_T2, Head, read_head  # noqa: E402
from side_by_side_recipes import RECIPES, settings_of  # noqa: E402
from side_by_side_scores import edges, score  # noqa: E402


def block(value: float, where: tuple, like: np.ndarray) -> np.ndarray:
    voxels = like.copy()
    voxels[where] = value
    return voxels


def two_halves() -> Head:
    """A head of 20 × 20 voxels in three slices; its target is dark on the left and bright on the right."""
    mask = block(True, (slice(None), slice(6, 26), slice(6, 26)), np.zeros((3, 32, 32), bool))
    target = np.where(mask, np.where(np.arange(32) < 16, 20.0, 80.0), 0).astype(np.float32)
    image = Volume(target)
    return Head("somebody", image, image, None, mask)


def test_windowed_ct_becomes_percent_and_three_labels(tmp_path):
    inside = (slice(None), slice(8, 40), slice(8, 40))
    mr = block(60, inside, np.zeros((4, 48, 48), np.uint8))
    ct = block(100, inside, np.zeros((4, 48, 48), np.uint8))
    ct = block(255, (slice(None), slice(12, 20), slice(12, 20)), ct)
    ct = block(0, (slice(None), slice(28, 36), slice(28, 36)), ct)
    for name, voxels in (("T1", mr), ("CT", ct)):
        write_volume(Volume(voxels, np.eye(4)), tmp_path / "P01" / f"{name}.nii.gz")
    head = read_head(MR_TO_CT, tmp_path / "P01", tmp_path / "none")
    assert head.target.shape == (4, 24, 24)  # two pixels along each row and column, and all slices
    assert np.median(head.source.voxels[head.mask]) == pytest.approx(100 / 3, abs=0.5)
    assert head.target.voxels.min() == 0 and head.target.voxels[head.mask].min() == 1
    values = head.labels.canonical().voxels[1]
    assert np.bincount(values[head.labels.canonical().voxels[1] > 0]).argmax() == 1
    assert (values == 2).sum() == pytest.approx(16, abs=8)
    air = head.mask & (head.labels.voxels == 0)
    assert air[1].sum() == pytest.approx(16, abs=8)


def test_edges_are_where_the_truth_changes_inside_of_the_head():
    head = two_halves()
    columns = np.flatnonzero(edges(head.target.voxels, head.mask).any((0, 1)))
    assert columns.tolist() == [14, 15, 16, 17]


def test_measures_are_taken_inside_of_the_head_alone():
    head = two_halves()
    found = score(np.where(head.mask, head.target.voxels + 10, 77), head)
    assert found["MAE %"] == pytest.approx([10] * 3)
    assert found["edge MAE %"] == pytest.approx([10] * 3)
    assert found["PSNR dB"] == pytest.approx([20] * 3)
    assert (score(head.target.voxels, head)["SSIM"] == 1).all()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_recipe_is_one_of_its_system(recipe):
    settings = settings_of(recipe, MR_TO_CT)
    for _, changes in recipe.runs:
        parsed = system_class(recipe.system).Settings.parse({**settings, **changes})
        assert (parsed.width, parsed.batch, parsed.window()) == (16, 1, (1, 96, 96))
    assert sum(part for part, _ in recipe.runs) == 1  # all methods take the same number of steps


@pytest.fixture
def tiny_task(tmp_path, monkeypatch):
    for name, seed in (("ann", 1), ("ben", 2)):
        source = synthetic_cases.head(seed, shape=(12, 40, 36), matrix=np.diag([2.0, 2, 2, 1]))
        write_volume(source, tmp_path / "images" / name / "T1.nii.gz")
        second = np.where(source.voxels > 0, 1100 - source.voxels, 0)
        write_volume(source.with_voxels(second), tmp_path / "images" / name / "T2.nii.gz")
    task = dataclasses.replace(T1_TO_T2, name="tiny", folder="images", training=("ann",), test=("ben",), labeled=(),
                               patch="32,32")
    for module in (side_by_side, side_by_side_recipes):
        monkeypatch.setattr(module, "FOLDER", tmp_path / "models")
    monkeypatch.setattr(side_by_side, "TASKS", {"tiny": task})
    return task


def test_a_method_is_trained_and_measured_beside_the_peers(tiny_task, tmp_path, capsys):
    with pytest.raises(LeftOut, match="--train"):
        side_by_side.measure(tmp_path, ["tiny"])
    recipes = side_by_side.chosen_recipes(["regression"])
    side_by_side.train_missing(tmp_path, tmp_path, tiny_task, recipes, steps=2)
    entries = side_by_side.measure(tmp_path, ["tiny"], page=tmp_path / "page", device="cpu")
    printed = capsys.readouterr()
    assert [entry.name for entry in entries] == ["tiny MAE, regression"]
    # The second contrast is a function of the first: the mapping of intensities finds it, two steps do not.
    assert entries[0].peer < 3 < entries[0].ours
    assert "left out: pix2pix (Isola) has no model for tiny" in printed.err
    assert "plain regression" in printed.out and (tmp_path / "page" / "tiny" / "case_000.png").exists()
