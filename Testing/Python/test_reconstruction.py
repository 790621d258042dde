"""Finer volumes: thick slices stay as they are, thin ones come between them in place; low resolution becomes high."""

import json

import numpy as np
import panel_fixtures
import pytest
import slicer
import torch
from Benchmarks.displacement import mean_displacement
from Benchmarks.simulated_stacks import low_resolution, thick_stack
from synthetic_cases import SMALL, head, oblique, write_images

from GANSynthesisLib import models
from GANSynthesisLib.__main__ import main
from GANSynthesisLib.files import read_volume, write_volume
from GANSynthesisLib.guard import check_inputs
from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.models import load_model, save_model
from GANSynthesisLib.mrml import volume_from_node
from GANSynthesisLib.networks.features import VGG_CONVOLUTIONS, VGGFeatures, vgg_layers
from GANSynthesisLib.networks.stacks import DenseUNetBody, YNetBody
from GANSynthesisLib.networks.translation import Translator
from GANSynthesisLib.systems import build_system
from GANSynthesisLib.systems.acquisition import interpolated
from GANSynthesisLib.systems.settings import SettingsError
from GANSynthesisLib.training import train
from GANSynthesisLib.volumes import Volume, VolumeError, resample
from GANSynthesisLib.working import foreground
from SlicerHost.host import start_host
from SlicerHost.scene import start_scene

THIN = {**SMALL, "patch": "20,16,16", "spacing": "1.5,1.5,3", "modality": "T1"}
CROSSED = {**SMALL, "levels": 1, "patch": "20,20,20", "spacing": "2", "second_stack": True, "modality": "T1"}
HIGH = {**SMALL, "patch": "16,16,16", "spacing": "2", "noise": 0, "modality": "T1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models `thin`, `crossed` and `high`, trained for two steps; then shaken, or they would add next to nothing."""
    root = tmp_path_factory.mktemp("models")
    write_images(root / "cases", 2, (24, 28, 24))
    for name, system, settings in (("thin", "thin_slices", THIN), ("crossed", "thin_slices", CROSSED),
                                   ("high", "high_resolution", HIGH)):
        model = load_model(train(system, root / "cases", root / f"{name}.safetensors", settings=settings, steps=2))
        networks = model.build()
        torch.manual_seed(0)
        for each in networks.modules():
            if isinstance(each, Translator):
                torch.nn.init.normal_(each.last.weight, std=0.03)
        save_model(model.path, networks.deployed_state(), model.card)
    return root


@pytest.fixture(scope="module")
def thin(folder):
    return load_model(folder / "thin.safetensors")


def anatomy(spacing=(1.5, 1.5, 3.0), shape=(34, 40, 36), seed=7, matrix=None) -> Volume:
    return head(seed, shape, np.diag([*spacing, 1]) if matrix is None else matrix, name="T1")


def acquired(volume: Volume, axis: int, factor: int = 3) -> np.ndarray:
    """Those slices of a result that were acquired."""
    return np.moveaxis(volume.voxels, 2 - axis, 0)[::factor]


# The task


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("flipped", [False, True])
def test_slices_come_in_place_across_any_axis_of_an_oblique_volume(thin, axis, flipped):
    """Stored with its slices along any axis, in either sense, oblique, and with integers as scanners give them."""
    spacing = np.full(3, 1.4)
    spacing[axis] = 3.0
    matrix = oblique(spacing)
    if flipped:
        matrix[:3, axis] *= -1
    whole = anatomy(shape=tuple(34 if 2 - k == axis else 38 for k in range(3)), matrix=matrix)
    thick, fine = thick_stack(whole, axis, 3)
    thick = thick.with_voxels(np.rint(thick.voxels).astype(np.int16))
    made = apply_model(thin, {"thick": thick}).outputs["thin"]
    assert made.grid.same_as(fine.grid)
    assert np.array_equal(acquired(made, axis), np.moveaxis(thick.voxels, 2 - axis, 0))
    assert mean_displacement(made.voxels, fine.voxels) < 0.5
    assert made.name == "T1 [reconstructed T1]"


def test_the_order_in_which_voxels_are_stored_changes_nothing(thin):
    thick, _ = thick_stack(anatomy(matrix=oblique((1.4, 1.4, 3))), 2, 3)
    made = apply_model(thin, {"thick": thick}).outputs["thin"]
    matrix = thick.ijk_to_ras[:, [2, 0, 1, 3]].copy()  # slices along i, and the other two axes backwards
    matrix[:3, 3] += matrix[:3, 1] * (thick.shape[2] - 1)
    matrix[:3, 1] *= -1
    turned = Volume(np.ascontiguousarray(thick.voxels.transpose(1, 2, 0)[:, ::-1]), matrix, name="turned")
    assert np.allclose(resample(turned, thick.grid).voxels, thick.voxels)
    other = apply_model(thin, {"thick": turned}).outputs["thin"]
    assert np.array_equal(acquired(other, 0), np.moveaxis(turned.voxels, 2, 0))
    np.testing.assert_allclose(resample(other, made.grid).voxels, made.voxels, atol=1e-2)


def test_networks_see_slices_across_the_same_axis_whichever_way_they_were_acquired(thin):
    thick, _ = thick_stack(anatomy(), 2, 3)
    made = apply_model(thin, {"thick": thick}).outputs["thin"].voxels
    for axes, spacing in (((2, 1, 0), (9, 1.5, 1.5)), ((1, 0, 2), (1.5, 9, 1.5))):  # sagittal, coronal
        turned = Volume(thick.voxels.transpose(axes).copy(), np.diag([*spacing, 1]), name="turned")
        other = apply_model(thin, {"thick": turned}).outputs["thin"].voxels
        np.testing.assert_allclose(other.transpose(axes), made, atol=1e-2)


def test_the_network_adds_to_the_inputs_own_values(thin):
    """Values beyond the range of the networks, and all voxels outside the foreground, are those of interpolation."""
    thick, _ = thick_stack(anatomy(), 2, 3)
    few = thick.voxels > np.percentile(thick.voxels, 99.8)
    bright = thick.with_voxels(np.where(few, 3 * thick.voxels, thick.voxels))
    made = apply_model(thin, {"thick": bright}).outputs["thin"]
    plain = interpolated(torch.from_numpy(bright.voxels)[None, None], 3)[0, 0].clamp(min=0).numpy()
    added = made.voxels - plain
    width = np.subtract(*np.percentile(bright.voxels[bright.voxels > 0], [99.5, 0.5]))
    assert 0.01 * width < np.abs(added[added != 0]).mean() and np.abs(added).max() < width
    assert made.voxels.max() >= bright.voxels.max() > width
    assert not added[~foreground(bright, made.grid)].any()


def test_slices_of_a_tilted_gantry_stay_as_they_are(thin):
    matrix = oblique((1.4, 1.4, 3))
    matrix[:3, 2] += 0.3 * matrix[:3, 1]
    thick, fine = thick_stack(anatomy(matrix=matrix), 2, 3)
    assert not thick.grid.is_regular()
    made = apply_model(thin, {"thick": thick}).outputs["thin"]
    assert made.grid.same_as(fine.grid)
    assert np.array_equal(acquired(made, 2), thick.voxels)
    assert mean_displacement(made.voxels, fine.voxels) < 0.5


def test_networks_work_at_the_cards_size_of_voxels_and_results_keep_the_inputs(thin):
    thick, fine = thick_stack(anatomy((0.75, 1.0, 3.0), (34, 60, 72)), 2, 3)
    result = apply_model(thin, {"thick": thick})
    assert result.report["settings"]["window"] == [25, 40, 36]
    assert result.outputs["thin"].grid.same_as(fine.grid)


def test_windows_give_nearly_the_same(thin):
    thick, _ = thick_stack(anatomy(), 2, 3)
    whole = apply_model(thin, {"thick": thick})
    tiled = apply_model(thin, {"thick": thick}, tile=(16, 24, 24))
    assert tiled.report["settings"]["windows"] > 1
    assert whole.report["settings"]["grid"] == {"shape": [25, 40, 36], "spacing": [1.5, 1.5, 3.0]}
    assert np.abs(whole.outputs["thin"].voxels - tiled.outputs["thin"].voxels).mean() < 20
    json.dumps(tiled.report, allow_nan=False)


@pytest.mark.parametrize("second_axis", [0, 1])
def test_two_stacks_that_cross_become_one_volume(folder, second_axis):
    whole = anatomy((2, 2, 2), (30, 32, 34), matrix=oblique((2, 2, 2)))
    thick, fine = thick_stack(whole, 2, 3)
    second, _ = thick_stack(whole, second_axis, 3)
    made = apply_model(load_model(folder / "crossed.safetensors"), {"thick": thick, "second": second}).outputs["thin"]
    assert made.grid.same_as(fine.grid)
    assert np.array_equal(acquired(made, 2), thick.voxels)
    assert mean_displacement(made.voxels, fine.voxels) < 0.5


@pytest.mark.parametrize("size, shape", [(2.0, (24, 26, 22)), (4.0, (23, 25, 21))])
def test_high_resolution_on_the_same_grid_or_on_a_finer_one(folder, size, shape):
    low = low_resolution(anatomy((size,) * 3, (24, 26, 22) if size == 2 else (12, 13, 11)), 2, 0.02)
    made = apply_model(load_model(folder / "high.safetensors"), {"low": low}).outputs["high"]
    assert made.shape == shape and made.spacing == pytest.approx((2, 2, 2))
    expected = low.grid.points()[-1, -1, -1], low.grid.points()[0, 0, 0]
    np.testing.assert_allclose((made.grid.points()[-1, -1, -1], made.grid.points()[0, 0, 0]), expected, atol=1e-6)
    coarse = made.voxels if size == 2 else made.voxels[::2, ::2, ::2]
    assert mean_displacement(coarse, low.voxels) < 0.5


@pytest.mark.parametrize(
    "volume, problem",
    [
        (anatomy((1.5, 1.5, 1.5)), "has voxels of 1.5 x 1.5 x 1.5 mm.*'thin' takes thick slices about 9 mm apart"),
        (anatomy((1.5, 1.5, 4)), "has voxels of 1.5 x 1.5 x 4 mm.*choose a volume of such slices"),
        (anatomy((1.5, 1.5, 20)), "has voxels of 1.5 x 1.5 x 20 mm.*choose a volume of such slices"),
        (anatomy((8, 8, 9)), "has voxels of 8 x 8 x 9 mm.*choose a volume of such slices"),
        (anatomy((1.5, 1.5, 9), (3, 20, 20)), "has 3 slices from foot to head, too few.*at least 4"),
        (anatomy((9, 1.5, 1.5), (20, 20, 1)), "has 1 slice from left to right, too few"),
    ],
)  # fmt: skip
def test_volumes_that_are_not_thick_as_the_card_says_are_refused(thin, volume, problem):
    with pytest.raises(VolumeError, match=f"^The volume 'T1' {problem}"):
        apply_model(thin, {"thick": volume})


def test_two_stacks_that_do_not_cross_or_meet_are_refused(folder):
    model, whole = load_model(folder / "crossed.safetensors"), anatomy((2, 2, 2), (30, 32, 34))
    thick, _ = thick_stack(whole, 2, 3)
    with pytest.raises(VolumeError, match="'axial' run like those of 'T1': choose a stack that crosses them"):
        apply_model(model, {"thick": thick, "second": thick.with_voxels(thick.voxels, name="axial")})
    far = whole.ijk_to_ras.copy()
    far[0, 3] = 5000
    second, _ = thick_stack(whole.with_voxels(whole.voxels, ijk_to_ras=far, name="far"), 0, 3)
    with pytest.raises(VolumeError, match="'far' does not overlap with 'T1' in space"):
        apply_model(model, {"thick": thick, "second": second})


def test_voxels_that_the_model_neither_takes_nor_makes_are_refused(folder):
    with pytest.raises(VolumeError, match="has voxels of 8 x 8 x 8 mm, where the model 'high' takes 2 to 4 mm"):
        apply_model(load_model(folder / "high.safetensors"), {"low": anatomy((8, 8, 8))})


def test_the_card_tells_of_the_images_given(thin):
    card = thin.card
    assert (card.task, card.spacing, card.shape) == ("reconstruct", (1.5, 1.5, 9.0), (6, 16, 16))
    assert [(port.name, port.modality) for port in (*card.inputs, *card.outputs)] == [("thick", "T1"), ("thin", "T1")]
    thick, _ = thick_stack(head(0, (24, 28, 24), np.diag([1.5, 1.5, 3, 1]), name="T1"), 2, 3)
    findings = check_inputs(card, {"thick": thick})
    assert not [each for each in findings if "voxels of" in each or "slices" in each]
    sagittal = Volume(thick.voxels.transpose(1, 2, 0), np.diag([9, 1.5, 1.5, 1]), name="sagittal")
    assert any("has voxels of 9 x 1.5 x 1.5 mm" in each for each in check_inputs(card, {"thick": sagittal}))


# The systems


@pytest.mark.parametrize("settings", [THIN, CROSSED])
def test_training_starts_at_interpolation_and_never_changes_acquired_slices(settings):
    torch.manual_seed(0)
    system = build_system("thin_slices", {**settings, "adversarial_weight": 1})
    images = system.acquire(torch.rand(2, 1, *system.settings.window()) * 2 - 1)
    made = system.apply(images)["thin"]
    torch.testing.assert_close(made, images["thick"])
    for weights in system.generator.parameters():
        torch.nn.init.normal_(weights, std=0.1)
    made = system.apply(images)["thin"]
    assert torch.equal(made[:, :, ::3], images["thick"][:, :, ::3])
    assert torch.equal(images["target"][:, :, ::3], images["thick"][:, :, ::3])
    assert float((made - images["thick"]).detach().abs().mean()) > 0.01


def test_real_and_made_slices_are_judged_between_the_same_acquired_ones(monkeypatch):
    system, judged = build_system("thin_slices", {**THIN, "adversarial_weight": 1, "noise": 0.1}), []
    batch = {"image": torch.rand(1, 1, *system.settings.window())}
    system.generator_turn(batch)
    monkeypatch.setattr(type(system), "judge", lambda self, source, image: judged.append((source, image)) or [
        self.discriminator(torch.cat([source, image], 1))])
    system.discriminator_turn(batch)
    (real_source, real), (fake_source, fake) = judged
    assert torch.equal(real_source, fake_source)
    assert torch.equal(real[:, :, ::3], fake[:, :, ::3])
    assert not torch.equal(real, fake)


def test_thick_slices_are_simulated_with_their_profile():
    window = build_system("thin_slices", THIN).settings.window()
    image = torch.rand(1, 1, *window)
    stacks = [build_system("thin_slices", {**THIN, "profile": profile}).acquire(image)["thick"]
              for profile in ("gaussian", "boxcar")]
    assert all(float(stack.std()) < 0.7 * float(image.std()) for stack in stacks)
    assert stacks[0].shape[2] < stacks[1].shape[2]


def test_features_of_a_frozen_network_teach_what_is_missing():
    torch.manual_seed(0)
    system = build_system("thin_slices", {**THIN, "l1_weight": 0, "feature_weight": 1, "feature_model": "vgg16.pth"})
    state = vgg_layers(VGG_CONVOLUTIONS["VGG16"]).state_dict()
    system.use_features(VGGFeatures({f"features.{name}": each for name, each in state.items()}, (1, 2)))
    losses = system.generator_turn({"image": torch.rand(1, 1, *system.settings.window())})
    assert set(losses) == {"feature"} and system.wants_features
    losses["feature"].backward()
    assert float(system.generator.translator.last.weight.grad.abs().sum()) > 0


@pytest.mark.parametrize("body, channels", [(YNetBody, 3), (DenseUNetBody, 4)])
def test_networks_of_stacks_give_the_same_in_slabs(body, channels):
    torch.manual_seed(0)
    network = Translator(channels, 1, "3D", width=8, levels=1)
    network.body = body(3, channels, 8, 2)
    image = torch.randn(1, channels, 13, 10, 9)
    with torch.no_grad():
        plain = network(image)
        network.slab_bytes = 1
        torch.testing.assert_close(network(image), plain, atol=1e-4, rtol=0)


def test_both_encoders_are_seen_and_learn():
    torch.manual_seed(0)
    body = YNetBody(3, 3, 4, 2)
    image = torch.randn(1, 3, 8, 8, 8)
    body(image).square().mean().backward()
    assert all(float(weight.grad.abs().sum()) > 0 for weight in body.parameters())
    changed = image.clone()
    changed[:, 1] *= -1
    assert not torch.allclose(body(changed), body(image))


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(SettingsError, match="patch is 12x16x16, too small for three thick slices of factor 3"):
        build_system("thin_slices", {**THIN, "patch": "12,16,16"})
    with pytest.raises(SettingsError, match="spacing must be one number with second_stack"):
        build_system("thin_slices", {**CROSSED, "spacing": "1,1,2"})
    with pytest.raises(SettingsError, match="context"):
        build_system("thin_slices", {**THIN, "context": "2D"})
    settings = build_system("thin_slices", {**THIN, "intensity": "median:0:3"}).settings
    assert (settings.target_modality, settings.target_intensity) == ("T1", "median:0:3")
    assert type(settings).parse(settings.as_dict()) == settings


# The scene, the panel and the command line


@pytest.fixture
def logic(folder, monkeypatch, tmp_path):
    start_host()
    import GANSynthesis

    monkeypatch.setenv("GANSYNTHESIS_MODELS", str(folder))
    monkeypatch.setattr(models, "shipped_models_folder", lambda: tmp_path)
    start_scene()
    return GANSynthesis.GANSynthesisLogic()


def test_in_the_scene_slices_come_in_place_under_a_parent_transform(logic):
    thick, _ = thick_stack(anatomy(matrix=oblique((1.5, 1.5, 3))), 2, 3)
    node = slicer.util.addVolumeFromArray(thick.voxels, ijkToRAS=thick.ijk_to_ras, name="T1")
    parent = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    turn = np.array([[0, -1, 0, 12], [0, 0, -1, 30], [1, 0, 0, -7], [0, 0, 0, 1.0]])
    parent.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(turn))
    node.SetAndObserveTransformNodeID(parent.GetID())
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().AutoWindowLevelOff()
    node.GetDisplayNode().SetWindowLevel(321, 123)
    (model,) = [each for each in logic.models("reconstruct") if each.card.name == "thin"]
    made = logic.reconstruct(node, model, device="cpu")
    world, result = volume_from_node(node), volume_from_node(made)
    assert made.GetName() == "T1 [reconstructed T1]" and made.GetParentTransformNode() is None
    assert np.array_equal(acquired(result, 2), world.voxels)
    np.testing.assert_allclose(result.grid.points()[::3], world.grid.points(), atol=1e-3)
    assert (made.GetDisplayNode().GetWindow(), made.GetDisplayNode().GetLevel()) == (321, 123)
    with pytest.raises(ValueError, match="Model 'thin' reconstructs: choose a model that synthesizes"):
        logic.synthesize(node, model)


def test_a_region_and_an_output_node_are_used(logic):
    thick, _ = thick_stack(anatomy(), 2, 3)
    node = slicer.util.addVolumeFromArray(thick.voxels, ijkToRAS=thick.ijk_to_ras, name="T1")
    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    region.SetCenter(*thick.grid.centre_ras)
    region.SetSize(30, 30, 4 * 9 - 1)
    output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "mine")
    made = logic.reconstruct(node, "thin", output, region=region, device="cpu")
    assert made is output
    assert volume_from_node(made).shape == (3 * 3 + 1 + 3, 20, 20)


def test_the_panel_offers_reconstruction_where_a_model_of_it_is_installed(folder, place, monkeypatch):
    place.joinpath("models").mkdir()
    place.joinpath("models", "thin.safetensors").write_bytes((folder / "thin.safetensors").read_bytes())
    panel = panel_fixtures.open_panel(panel_fixtures.MODULE)
    try:
        ui = panel_fixtures.apply_ui(panel)
        assert ui.reconstructButton.enabled and ui.reconstructButton.checked
        assert ui.modelList.item(0).text().startswith("Thin slices from thick ones\nT1 → T1 of thin slices")
        assert ui.inputLabel1.text == "Thick slices (T1):"
    finally:
        panel.close()


def test_the_command_line_reconstructs_files_and_folders(folder, tmp_path, capsys):
    thick, fine = thick_stack(anatomy(matrix=oblique((1.5, 1.5, 3))), 2, 3)
    write_volume(thick, tmp_path / "in" / "a.nii.gz")
    write_volume(anatomy((1.5, 1.5, 1.5)), tmp_path / "in" / "b.nii.gz")
    one = tmp_path / "a.nrrd"
    assert main(["apply", str(folder / "thin.safetensors"), "--input", f"thick={tmp_path / 'in' / 'a.nii.gz'}",
                 "--output", f"thin={one}", "--device", "cpu"]) == 0
    made = read_volume(one)
    assert made.grid.same_as(fine.grid, 0.05)
    assert np.array_equal(acquired(made, 2), read_volume(tmp_path / "in" / "a.nii.gz").voxels)
    assert main(["batch", str(folder / "thin.safetensors"), "--input-folder", str(tmp_path / "in"), "--output-folder",
                 str(tmp_path / "out"), "--device", "cpu"]) == 1
    assert np.array_equal(read_volume(tmp_path / "out" / "a_thin.nii.gz").voxels, made.voxels)
    assert "takes thick slices about 9 mm apart" in capsys.readouterr().out
    assert main(["apply", str(folder / "thin.safetensors"), "--input", f"thick={tmp_path / 'in' / 'b.nii.gz'}",
                 "--output", f"thin={one}"]) == 2
    assert capsys.readouterr().err.startswith("error: The volume 'b' has voxels of 1.5 x 1.5 x 1.5 mm")
