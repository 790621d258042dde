"""What a registration gives, whichever pose the two images have: transforms, structures, maps, scores."""

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from synthetic_cases import head, other_contrast

from GANSynthesisLib.__main__ import main
from GANSynthesisLib.evaluation.quality import calibrate_quality, expected_error, rank_correlation
from GANSynthesisLib.evaluation.registration import (
    align,
    alignment,
    find_labeled_pairs,
    random_pose,
    read_labeled_pair,
)
from GANSynthesisLib.files import write_volume
from GANSynthesisLib.inference import apply_model, qualities
from GANSynthesisLib.models import ModelError, load_model, save_model
from GANSynthesisLib.systems.wgan_registration import WGANRegistration
from GANSynthesisLib.training import train
from GANSynthesisLib.volumes import Volume, VolumeError
from GANSynthesisLib.working import IntensityRange, centered_pair

SETTINGS = {
    "patch": "16,16,16", "spacing": 6, "width": 4, "critic_width": 4, "structures": 1, "structure_names": "prostate",
    "correction": 5, "landmark_weight": 0.1, "axes": "image", "validation_fraction": 0,
}
POSE = random_pose(np.random.default_rng(1), np.array([5.0, -3, 8]), 20, 20)


def blob(volume: Volume, center, radius) -> np.ndarray:
    """(K, J, I) soft ball in RAS mm."""
    apart = np.linalg.norm(volume.grid.points() - center, axis=-1)
    return np.clip((radius - apart) / 3 + 0.5, 0, 1).astype(np.float32)


def write_case(folder, number: int) -> None:
    """A pair and its labels: one structure and three landmarks, the moving ones 4 mm to the right."""
    fixed = head(number, (12, 24, 22))
    moving = replace(other_contrast(fixed), name="moving")
    middle = fixed.grid.centre_ras
    for side, volume, shift in (("fixed", fixed, 0.0), ("moving", moving, 4.0)):
        centers = [middle + [shift, 0, 0] + offset for offset in ([0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 6])]
        channels = [blob(volume, center, 12 if index == 0 else 4) for index, center in enumerate(centers)]
        write_volume(volume, folder / side / f"case{number}.nii.gz")
        images = []
        for channel in channels:
            path = folder / "channel.nii.gz"
            write_volume(Volume(channel, volume.ijk_to_ras), path)
            images.append(sitk.ReadImage(str(path)))
            path.unlink()
        (folder / f"{side}_labels").mkdir(exist_ok=True)
        sitk.WriteImage(sitk.JoinSeries(images), str(folder / f"{side}_labels" / f"case{number}.nii.gz"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    for side in ("fixed", "moving"):
        (folder / side).mkdir()
    for number in range(3):
        write_case(folder, number)
    return folder


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    torch.manual_seed(0)
    output = tmp_path_factory.mktemp("model") / "align.safetensors"
    train("wgan_registration", data, output, settings=SETTINGS, steps=2)
    return output


def turned(volume: Volume, pose: np.ndarray) -> Volume:
    return replace(volume, ijk_to_ras=pose @ volume.ijk_to_ras)


def test_along_its_own_axes_an_image_looks_the_same_in_every_pose():
    fixed = head(0, (12, 24, 22))
    moving = other_contrast(fixed)
    ranges = dict.fromkeys(("fixed", "moving"), IntensityRange())
    options = {"shape": (16, 16, 16), "spacing": 6.0, "ranges": ranges}
    here = centered_pair(fixed, moving, axes="image", **options)
    there = centered_pair(fixed, turned(moving, POSE), axes="image", **options)
    assert np.abs(here.arrays["moving"] - there.arrays["moving"]).max() < 1e-3
    assert np.allclose(there.world_matrix(np.eye(4)), POSE @ here.world_matrix(np.eye(4)), atol=1e-6)
    world = centered_pair(fixed, turned(moving, POSE), **options)
    assert np.abs(here.arrays["moving"] - world.arrays["moving"]).max() > 0.1


def test_the_result_follows_the_pose_of_the_moving_image(trained):
    fixed = head(1, (12, 24, 22))
    moving, model = other_contrast(fixed), load_model(trained)
    points = fixed.grid.points().reshape(-1, 3)[::37]
    found = [
        apply_model(model, {"fixed": fixed, "moving": each}, outputs=["transform"]).outputs["transform"].points(points)
        for each in (moving, turned(moving, POSE))
    ]
    expected = found[0] @ POSE[:3, :3].T + POSE[:3, 3]
    assert np.linalg.norm(found[1] - expected, axis=1).max() < 0.05


def test_the_displacement_follows_the_pose_of_the_fixed_image(trained, monkeypatch):
    fixed = head(1, (12, 24, 22))
    moving, model = other_contrast(fixed), load_model(trained)
    points = fixed.grid.points().reshape(-1, 3)[::37]
    posed = points @ POSE[:3, :3].T + POSE[:3, 3]
    bend = torch.zeros(1, 3, 16, 16, 16)
    bend[:, 0], bend[:, 2] = 5, -2
    apply = WGANRegistration.apply

    def bent(system, inputs):
        return {**apply(system, inputs), "displacement": bend}

    monkeypatch.setattr(WGANRegistration, "apply", bent)
    moved = [
        apply_model(model, {"fixed": turned(fixed, pose), "moving": moving}).outputs["transform"].points(given)
        for pose, given in ((np.eye(4), points), (POSE, posed))
    ]
    assert np.linalg.norm(moved[1] - moved[0], axis=1).max() < 0.05


def test_everything_lies_on_the_fixed_grid_and_agrees_with_the_transform(trained):
    fixed = head(2, (12, 24, 22))
    moving = turned(other_contrast(fixed), POSE)
    result = apply_model(load_model(trained), {"fixed": fixed, "moving": moving})
    found = result.outputs
    assert set(found) == {
        "transform", "linear", "warped", "segmentation", "warped_segmentation", "deformation", "jacobian",
    }  # fmt: skip
    for name, each in found.items():
        if isinstance(each, Volume):
            assert each.grid.same_as(fixed.grid), name
    assert found["segmentation"].label_names == found["warped_segmentation"].label_names == {1: "prostate"}
    whole, linear = found["transform"], found["linear"]
    assert linear.displacement is None and np.array_equal(linear.matrix, whole.matrix)
    inside = fixed.grid.points()[4:8, 8:16, 8:16].reshape(-1, 3)
    beyond = np.linalg.norm(linear.inverse_points(whole.points(inside)) - inside, axis=1)
    assert found["deformation"].voxels[4:8, 8:16, 8:16].ravel() == pytest.approx(beyond, abs=0.05)
    volume = np.linalg.det(whole.matrix[:3, :3])
    assert found["jacobian"].voxels.mean() == pytest.approx(volume, rel=0.2)
    assert result.report["folding_voxels"] == 0


def test_structures_of_the_moving_image_are_carried_to_the_fixed_one(trained, monkeypatch):
    fixed = head(2, (12, 24, 22))
    moving = turned(other_contrast(fixed), POSE)
    apply = WGANRegistration.apply

    def known(system, inputs):
        ball = torch.zeros(1, 1, 16, 16, 16)
        ball[..., 6:10, 6:10, 6:10] = 1
        matrix = torch.eye(4)[None].clone()
        matrix[0, 0, 3] = 6.0  # fixed points lie 6 mm further along the first axis of the moving image
        return {**apply(system, inputs), "fixed_structures": ball, "moving_structures": ball.roll(1, -1),
                "matrix": matrix, "displacement": torch.zeros(1, 3, 16, 16, 16)}

    monkeypatch.setattr(WGANRegistration, "apply", known)
    found = apply_model(load_model(trained), {"fixed": fixed, "moving": moving}).outputs
    own, carried = (found[name].voxels > 0 for name in ("segmentation", "warped_segmentation"))
    assert own.sum() > 100
    assert np.logical_xor(own, carried).sum() < 0.05 * own.sum()


@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_an_image_without_the_structure_is_refused_and_a_cut_one_warned_of(trained, monkeypatch, role):
    fixed = head(2, (12, 24, 22))
    pair, model = {"fixed": fixed, "moving": replace(other_contrast(fixed), name="MR")}, load_model(trained)
    apply = WGANRegistration.apply
    whole, cut = torch.zeros(1, 1, 16, 16, 16), torch.zeros(1, 1, 16, 16, 16)
    whole[..., 4:12, 4:12, 4:12] = cut[..., 9:, 4:12, 4:12] = 1

    def finds(mine):
        other = {"fixed": "moving", "moving": "fixed"}[role]
        return lambda system, inputs: {**apply(system, inputs), f"{role}_structures": mine,
                                       f"{other}_structures": whole}

    monkeypatch.setattr(WGANRegistration, "apply", finds(torch.zeros_like(whole)))
    with pytest.raises(VolumeError, match=f"No prostate was found in the {role} volume '{pair[role].name}', within"):
        apply_model(model, pair)
    for mine, warned in ((whole, False), (cut, True)):
        monkeypatch.setattr(WGANRegistration, "apply", finds(mine))
        warnings = apply_model(model, pair).report["warnings"]
        assert any("reaches the border of the 96 by 96 by 96 mm" in each for each in warnings) == warned


def test_a_pair_may_be_optimized_toward_the_overlap_of_what_was_found(trained, monkeypatch, tmp_path):
    fixed = head(1, (12, 24, 22))
    pair, model = {"fixed": fixed, "moving": other_contrast(fixed)}, load_model(trained)
    ball = torch.full((1, 1, 16, 16, 16), -9.0)
    ball[..., 5:11, 5:11, 5:11] = 9
    register = WGANRegistration.register

    def two_voxels_apart(system, inputs):
        none = {"matrix": torch.eye(4)[None], "displacement": torch.zeros(1, 3, 16, 16, 16)}
        found = {"fixed_structures": ball, "moving_structures": ball.roll(2, -1)}
        return {**register(system, inputs), **none, **found}

    monkeypatch.setattr(WGANRegistration, "register", two_voxels_apart)
    overlaps = {}
    for steps in (0, 40):
        result = apply_model(model, pair, optimize=steps)
        assert result.report["settings"]["optimize"] == steps
        assert not [each for each in result.report["warnings"] if "grad" in each]
        own, carried = (result.outputs[name].voxels > 0 for name in ("segmentation", "warped_segmentation"))
        overlaps[steps] = 2 * (own & carried).sum() / (own.sum() + carried.sum())
    assert overlaps[40] > overlaps[0] + 0.1
    card = replace(model.card, settings={**model.card.settings, "align_steps": 40})
    save_model(tmp_path / "adapts.safetensors", model.build().deployed_state(), card)
    found = apply_model(load_model(tmp_path / "adapts.safetensors"), pair).outputs
    own, carried = (found[name].voxels > 0 for name in ("segmentation", "warped_segmentation"))
    assert 2 * (own & carried).sum() / (own.sum() + carried.sum()) > overlaps[0] + 0.1, "built into a model"
    with pytest.raises(ModelError, match="optimize is -1"):
        apply_model(model, pair, optimize=-1)


def test_training_cards_name_the_outputs(trained):
    card = load_model(trained).card
    assert card.tasks == ("register", "segment")
    assert card.output("linear").unit == card.output("deformation").unit == "mm"


# Scores


def test_expected_error_falls_as_the_score_rises():
    random = np.random.default_rng(0)
    errors = random.uniform(1, 20, 200)
    scores = 2 - errors / 10 + random.normal(0, 0.2, 200)
    found = json.loads(json.dumps(calibrate_quality(scores, errors)))
    assert found["spearman"] > 0.9
    assert np.all(np.diff(found["expected_mm"]) <= 1e-9)
    error, spread = expected_error(found, 1.0)
    assert error == pytest.approx(10, abs=1.5) and 0 < spread < 4
    assert expected_error(found, 99)[0] < 4 and expected_error(found, -99)[0] > 17


def test_scores_that_say_nothing_are_not_calibrated_to_say_something():
    random = np.random.default_rng(0)
    found = calibrate_quality(random.normal(size=400), random.uniform(1, 20, 400))
    assert abs(found["spearman"]) < 0.15
    assert np.ptp(found["expected_mm"]) < 8
    with pytest.raises(ValueError, match="at least eight"):
        calibrate_quality([1, 2], [3, 4])
    with pytest.raises(ValueError, match="finite"):
        calibrate_quality([np.nan] * 8, [1.0] * 8)


def test_rank_correlation_shares_ranks_of_ties():
    assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 400]) == pytest.approx(1)
    assert rank_correlation([1, 2, 2, 3], [3, 2, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 1, 1], [1, 2, 3]) == 0


def test_scores_of_given_alignments_agree_with_the_one_of_the_result(trained, data):
    model, pair = load_model(trained), read_labeled_pair(find_labeled_pairs(data)[0])
    volumes = {"fixed": pair.fixed, "moving": pair.moving}
    result = apply_model(model, volumes, outputs=["transform"])
    transform = result.outputs["transform"]
    own, askew = qualities(model, volumes, [transform.points, lambda points: transform.points(points + [15, 0, 0])])
    assert own == pytest.approx(result.report["quality"], abs=2e-3)
    assert abs(own - askew) > 1e-4


def test_a_doubtful_alignment_is_a_warning_in_millimeters(trained, tmp_path):
    model = load_model(trained)
    pair = {"fixed": head(0, (12, 24, 22)), "moving": other_contrast(head(0, (12, 24, 22)))}
    own = apply_model(model, pair, outputs=["transform"]).report["quality"]
    calibration = {"scores": [own - 1, own + 1], "expected_mm": [14.0, 6.0], "spread_mm": [3.0, 1.0],
                   "doubtful_above_mm": 9.0}
    card = replace(model.card, metrics={"quality": calibration})
    save_model(tmp_path / "judged.safetensors", model.build().deployed_state(), card)
    report = apply_model(load_model(tmp_path / "judged.safetensors"), pair, outputs=["transform"]).report
    assert (report["expected_error_mm"], report["expected_error_spread_mm"]) == (10.0, 2.0)
    assert "is doubtful (expected landmark error 10 ± 2 mm)" in report["warnings"][-1]


# Evaluation


def test_poses_keep_lengths_and_stay_within_their_limits():
    random = np.random.default_rng(3)
    center = np.array([10.0, 20, 30])
    for _ in range(50):
        pose = random_pose(random, center, 20, 30)
        assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3)) and np.linalg.det(pose[:3, :3]) > 0
        assert np.degrees(np.arccos(np.clip((np.trace(pose[:3, :3]) - 1) / 2, -1, 1))) <= 30 + 1e-9
        assert np.linalg.norm(pose[:3, :3] @ center + pose[:3, 3] - center) <= 20 + 1e-9


def test_an_alignment_is_measured_by_labels_and_landmarks(data):
    from GANSynthesisLib.transforms import SpatialTransform

    pair = read_labeled_pair(find_labeled_pairs(data)[0])
    matrix = np.eye(4)
    matrix[0, 3] = 4
    right, wrong = alignment(pair, SpatialTransform(matrix)), alignment(pair, SpatialTransform(np.eye(4)))
    assert right.dice > 0.97 > wrong.dice
    assert len(right.landmarks_fixed_mm) == 3
    assert right.landmarks_fixed_mm.max() < 0.3
    assert wrong.landmarks_moving_mm == pytest.approx([4, 4, 4], abs=0.3)
    started = pair.start(POSE)
    assert alignment(started, SpatialTransform(POSE @ matrix)).landmarks_fixed_mm.max() < 0.3


def test_evaluate_prints_cases_summary_and_score_and_writes_figures(data, trained, tmp_path, capsys):
    words = ["evaluate", str(trained), "--data", str(data), "--all", "--perturbations", "4", "--starts", "5", "5",
             "--figures", str(tmp_path / "figures"), "--output", str(tmp_path / "numbers.json")]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "case0" in said and "95 % bootstrap" in said and "Spearman" in said
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert numbers["summary"]["cases"] == 3 and numbers["summary"]["landmarks"] == 9
    assert numbers["quality"]["results"] == 15
    assert len(list((tmp_path / "figures").glob("case*.png"))) == 3


def test_evaluate_leaves_out_what_was_trained_on(data, trained, capsys):
    assert main(["evaluate", str(trained), "--data", str(data)]) == 2
    assert "took part in the training of 'align'" in capsys.readouterr().err


def test_calibration_is_written_into_the_model(data, trained, tmp_path, capsys):
    model = load_model(trained)
    copy = tmp_path / "align.safetensors"
    save_model(copy, model.build().deployed_state(), model.card)
    assert main(["evaluate", str(copy), "--data", str(data), "--calibrate"]) == 0
    calibrated = load_model(copy)
    assert calibrated.card.metrics["quality"]["cases"] == ["case0", "case1", "case2"]
    pair = read_labeled_pair(find_labeled_pairs(data)[0])
    assert np.isfinite(align(calibrated, pair)[1].expected_mm)
    assert align(calibrated, pair)[1].dice == pytest.approx(align(model, pair)[1].dice)


def test_labels_that_do_not_match_are_named(data, tmp_path, trained, capsys):
    for role in ("fixed", "moving", "fixed_labels", "moving_labels"):
        (tmp_path / role).symlink_to(data / role)
    (tmp_path / "moving_labels").unlink()
    (tmp_path / "moving_labels").mkdir()
    whole = sitk.ReadImage(str(data / "moving_labels" / "case0.nii.gz"))
    sitk.WriteImage(whole[:, :, :, :2], str(tmp_path / "moving_labels" / "case0.nii.gz"))
    assert main(["evaluate", str(trained), "--data", str(tmp_path), "--all"]) == 2
    assert "4 fixed and 2 moving label channels" in capsys.readouterr().err
