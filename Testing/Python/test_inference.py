"""Applying models: in the right place whatever the axes, the same however tiled, and refused in one sentence."""

import itertools
import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from synthetic_cases import head, oblique, other_contrast, shifted

from GANSynthesisLib.inference import Cancelled, apply_model, available_outputs, generate
from GANSynthesisLib.models import Card, Model, ModelError, Port, load_model, save_model
from GANSynthesisLib.systems import build_system
from GANSynthesisLib.systems.cyclegan import CycleGAN
from GANSynthesisLib.systems.paired import Paired
from GANSynthesisLib.systems.wgan_registration import WGANRegistration
from GANSynthesisLib.transforms import write_transform
from GANSynthesisLib.volumes import Volume, VolumeError

NET = {"width": 4, "levels": 2, "discriminator_width": 4}
CONTEXTS = {
    "2D": {**NET, "context": "2D", "patch": (32, 32)},
    "2.5D": {**NET, "context": "2.5D", "slab": 3, "patch": (32, 32)},
    "3D": {**NET, "context": "3D", "patch": (8, 16, 16)},
}
WINDOW = {"kind": "window", "lower": -100, "upper": 900}
NAMES = {1: "tissue", 2: "bright"}
SEGMENTOR = {"labels": ("background", "tissue", "bright"), "segmentor_width": 4}


def make(folder, system: str, settings: dict, inputs, outputs, task="synthesize", change=None, **fields) -> Model:
    """A model with random weights; `change` may set some before it is saved."""
    torch.manual_seed(0)
    built = build_system(system, settings)
    if change:
        change(built)
    state = {name: value for name, value in built.state_dict().items()
             if name.split(".")[0] in built.deployed() or "." not in name}
    card = Card(
        name="m", title="M", description="", system=system, task=task, settings=settings, inputs=inputs,
        outputs=outputs, shape=built.settings.window(), context=built.settings.context,
        **{"spacing": None, "licence": "CC0", **fields},
    )
    save_model(folder / f"{system}.safetensors", state, card)
    return load_model(folder / f"{system}.safetensors")


def paired(folder, context: str, **fields) -> Model:
    settings = {**CONTEXTS[context], **fields.pop("settings", {})}
    roles = settings.get("sources", ("source",))
    target = Port("target", "T2", "a.u.", intensity=WINDOW, needs=roles)
    return make(folder, "paired", settings, tuple(Port(role, role) for role in roles), (target,), **fields)


def segmentor(folder, context: str, **fields) -> Model:
    settings = {name: value for name, value in CONTEXTS[context].items() if name not in ("levels", *NET)}
    output = Port("segmentation", "", label_names=NAMES, needs=("source",))
    settings |= SEGMENTOR
    return make(folder, "segmentor", settings, (Port("source", "T1"),), (output,), "segment", **fields)


def cyclegan(folder, **fields) -> Model:
    settings = {**CONTEXTS["2D"], **SEGMENTOR, "segmentation_weight": 1.0}
    outputs = (Port("target", "T2", intensity=WINDOW, needs=("source",)),
               Port("segmentation", "", label_names=NAMES, needs=("target",)))
    return make(folder, "cyclegan", settings, (Port("source", "T1"), Port("target", "T2", optional=True)), outputs,
                **fields)


def registration(folder, settings=None, **fields) -> Model:
    def bend(system):
        if system.settings.dense:
            torch.nn.init.normal_(system.generator.refiner.last.weight, std=0.5)

    settings = {"width": 4, "critic_width": 4, "patch": (16, 24, 24), "spacing": (3.0,), "keypoints": 4,
                **(settings or {})}
    inputs, needs = (Port("fixed", "MR"), Port("moving", "US")), ("fixed", "moving")
    outputs = Port("transform", "", "mm", needs=needs), Port("warped", "US", needs=needs)
    return make(folder, "wgan_registration", settings, inputs, outputs, "register", change=bend,
                spacing=(3.0, 3.0, 3.0), **fields)


def noise_model(folder, **settings) -> Model:
    settings = {"width": 4, "critic_width": 4, "latent": 4, "patch": (16, 32), **settings}
    return make(folder, "wgan", settings, (), (Port("image", "MR", intensity=WINDOW),), "generate",
                spacing=(0.5, 0.5, None))


# The right place


def permuted(volume: Volume, axes, flips) -> Volume:
    """The same volume stored with its array axes in another order and sense."""
    voxels, matrix = volume.voxels.transpose(axes), volume.ijk_to_ras.copy()
    matrix[:, :3] = volume.ijk_to_ras[:, [2 - axes[2 - column] for column in range(3)]]
    for axis, flipped in enumerate(flips):
        if flipped:
            voxels, column = np.flip(voxels, axis), 2 - axis
            matrix[:3, 3] += (voxels.shape[axis] - 1) * matrix[:3, column]
            matrix[:3, column] *= -1
    return volume.with_voxels(np.ascontiguousarray(voxels), ijk_to_ras=matrix)


ORDERS = list(itertools.product(itertools.permutations(range(3)), itertools.product((False, True), repeat=3)))


@pytest.mark.parametrize("spacing", [None, (1.8, None, 1.5)])
@pytest.mark.parametrize("context", ["2.5D", "3D"])
def test_every_order_of_the_axes_gives_the_same_result_in_the_same_place(tmp_path, monkeypatch, context, spacing):
    assert len(ORDERS) == 48
    volume = head(2, (9, 14, 12), oblique((1.5, 1.2, 2.0)))
    model, labeler = paired(tmp_path, context, spacing=spacing), segmentor(tmp_path, context, spacing=spacing)
    built = {id(each): each.build() for each in (model, labeler)}
    monkeypatch.setattr(Model, "build", lambda each: built[id(each)])
    image = apply_model(model, {"source": volume}).outputs["target"]
    labels = apply_model(labeler, {"source": volume}).outputs["segmentation"]
    assert np.ptp(image.voxels) > 10
    assert len(np.unique(labels.voxels)) > 1
    for number, (axes, flips) in enumerate(ORDERS if spacing is None else ORDERS[::5]):
        turned = permuted(volume, axes, flips)
        found = apply_model(model, {"source": turned}).outputs["target"]
        expected = permuted(image, axes, flips)
        assert found.grid.same_as(turned.grid, 1e-9)
        assert np.abs(found.voxels - expected.voxels).max() <= 1e-5 * 1000, (axes, flips)
        if number % 3 and spacing is None:
            continue  # which labels share all but the last step with
        found = apply_model(labeler, {"source": turned}).outputs["segmentation"]
        assert np.mean(found.voxels != permuted(labels, axes, flips).voxels) <= (0 if spacing is None else 1e-3)


def spot(place, grid_of: Volume) -> Volume:
    k, j, i = np.indices(grid_of.shape)
    distance = sum((a - b) ** 2 for a, b in zip((k, j, i), place, strict=True))
    return grid_of.with_voxels((1000 * np.exp(-distance / 6)).astype(np.float32))


def center(volume: Volume) -> np.ndarray:
    weights = (volume.voxels.astype(float) - volume.voxels.min()) ** 2
    return np.average(volume.grid.points().reshape(-1, 3), axis=0, weights=weights.ravel())


def test_what_the_network_sees_at_a_place_comes_back_at_that_place(tmp_path, monkeypatch):
    monkeypatch.setattr(Paired, "apply", lambda system, inputs: {"target": inputs["source"]})
    model = paired(tmp_path, "3D", spacing=(2.5, 2.5, 2.5), settings={"mask_background": False})
    volume = spot((4, 18, 7), head(0, (9, 28, 24), oblique()))
    found = apply_model(model, {"source": volume}).outputs["target"]
    assert np.linalg.norm(center(volume) - center(found)) < 0.25


def test_a_synthetic_volume_has_the_targets_unit_range_and_background(tmp_path):
    volume = head(0)
    found = apply_model(paired(tmp_path, "2D"), {"source": volume}).outputs["target"]
    assert (found.unit, found.name, found.voxels.dtype) == ("a.u.", "head [synthetic T2]", np.float32)
    assert found.voxels.min() >= WINDOW["lower"]
    assert (found.voxels[volume.voxels == 0] == WINDOW["lower"]).all()
    free = paired(tmp_path, "2D", settings={"mask_background": False})
    assert (apply_model(free, {"source": volume}).outputs["target"].voxels[volume.voxels == 0] > -100).any()


def test_a_card_without_an_output_range_leaves_the_networks_values(tmp_path):
    target = Port("target", "T2", needs=("source",))
    model = make(tmp_path, "paired", CONTEXTS["2D"], (Port("source", "T1"),), (target,))
    assert np.abs(apply_model(model, {"source": head(0)}).outputs["target"].voxels).max() < 5


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_single_slice_is_enough(tmp_path, context):
    volume = head(0, (1, 30, 26), oblique((1, 1, 5)))
    for model in (paired(tmp_path, context, spacing=(1.5, 1.5, 1.5)), segmentor(tmp_path, context)):
        for found in apply_model(model, {"source": volume}).outputs.values():
            assert found.grid.same_as(volume.grid)
            assert np.isfinite(found.voxels).all()


def test_several_sources_are_brought_to_the_grid_of_the_first(tmp_path, monkeypatch):
    seen = {}

    def apply(system, inputs):
        seen.update(inputs)
        return {"target": inputs["T1"] - inputs["FLAIR"]}

    monkeypatch.setattr(Paired, "apply", apply)
    model = paired(tmp_path, "3D", settings={"sources": ("T1", "FLAIR"), "mask_background": False})
    volume = head(1, (12, 28, 24), oblique())
    elsewhere = permuted(volume, (2, 0, 1), (True, False, True))
    found = apply_model(model, {"FLAIR": elsewhere, "T1": volume})
    assert torch.allclose(seen["T1"], seen["FLAIR"], atol=1e-4)
    assert found.outputs["target"].grid.same_as(volume.grid)
    assert set(found.report["inputs"]) == {"T1", "FLAIR"}


def test_sources_that_do_not_overlap_are_refused(tmp_path):
    model = paired(tmp_path, "3D", settings={"sources": ("T1", "FLAIR")})
    away = head(1).ijk_to_ras.copy()
    away[:3, 3] += 500
    with pytest.raises(VolumeError, match="'away' does not overlap with 'head' in space"):
        apply_model(model, {"T1": head(1), "FLAIR": head(1, matrix=away, name="away")})


# Images through several outputs


def test_a_cyclegan_segments_the_target_on_its_own_grid(tmp_path):
    model, source = cyclegan(tmp_path), head(0)
    target = other_contrast(head(3, (5, 20, 22), oblique(), "other"))
    both = apply_model(model, {"source": source, "target": target}).outputs
    assert both["target"].grid.same_as(source.grid)
    assert both["segmentation"].grid.same_as(target.grid)
    assert both["segmentation"].name == "other [segmentation]"
    alone = apply_model(model, {"target": target}).outputs
    assert set(alone) == {"segmentation"}
    assert np.array_equal(alone["segmentation"].voxels, both["segmentation"].voxels)
    through = apply_model(model, {"source": source}).outputs
    assert set(through) == {"target", "segmentation"}
    assert through["segmentation"].grid.same_as(source.grid)
    assert available_outputs(model.card, ["source"]) == ["target", "segmentation"]
    assert available_outputs(model.card, []) == []


def test_only_the_outputs_asked_for_come_back(tmp_path):
    found = apply_model(cyclegan(tmp_path), {"source": head(0)}, outputs=["segmentation"])
    assert set(found.outputs) == {"segmentation"}
    assert found.outputs["segmentation"].label_names == NAMES


# Registration


def moved_frame() -> np.ndarray:
    matrix = oblique((2.0, 2.2, 3.0))
    matrix[:3, 3] += (30, -50, 12)
    return matrix


@pytest.mark.parametrize("settings", [{}, {"dense": False, "linear": "rigid"}, {"start": "foreground"}])
@pytest.mark.parametrize("ending", ["h5", "tfm"])
def test_the_transform_maps_fixed_to_moving_points_and_makes_the_warped_volume(tmp_path, settings, ending):
    fixed, moving = head(0, (12, 26, 24)), other_contrast(head(1, (10, 24, 22), moved_frame(), "us"))
    result = apply_model(registration(tmp_path, settings), {"fixed": fixed, "moving": moving})
    transform, warped = result.outputs["transform"], result.outputs["warped"]
    write_transform(transform, tmp_path / f"t.{ending}")
    read = sitk.ReadTransform(str(tmp_path / f"t.{ending}"))
    inside = np.abs(fixed.grid.points().reshape(-1, 3) - fixed.grid.centre_ras).max(1) < 15
    points = fixed.grid.points().reshape(-1, 3)[inside][::7]
    lps = np.array([-1.0, -1.0, 1.0])
    mapped = np.array([read.TransformPoint((point * lps).tolist()) for point in points]) * lps
    assert np.abs(mapped - transform.points(points)).max() < 1e-2
    assert np.linalg.norm(mapped.mean(0) - moving.grid.centre_ras) < 25
    (tmp_path / "images").mkdir()
    images = []
    for volume in (fixed, moving):
        image = sitk.GetImageFromArray(volume.voxels)
        image.SetOrigin((volume.ijk_to_ras[:3, 3] * lps).tolist())
        image.SetSpacing(volume.spacing)
        image.SetDirection((volume.grid.directions * lps[:, None]).ravel().tolist())
        images.append(image)
    other_way = sitk.GetArrayFromImage(sitk.Resample(images[1], images[0], read, sitk.sitkLinear, 0.0))
    assert warped.grid.same_as(fixed.grid)
    assert np.abs(warped.voxels - other_way).max() < 0.02 * moving.voxels.max()
    assert warped.voxels.max() > 0.3 * moving.voxels.max()
    assert warped.name == "us [to head]"
    assert (transform.displacement is None) == (settings.get("dense") is False)
    assert 0 <= result.report["folding_fraction"] <= 1
    assert np.isfinite(result.report["quality"])


def test_a_network_that_knows_the_shift_lays_the_moving_on_the_fixed_volume(tmp_path, monkeypatch):
    def apply(system, inputs):
        matrix = torch.eye(4)[None].clone()
        matrix[0, :3, 3] = torch.tensor([6.0, -4.5, 6.0])
        none = {f"{role}_structures": torch.zeros(1, 0, 16, 24, 24) for role in ("fixed", "moving")}
        return {"matrix": matrix, "displacement": torch.zeros(1, 3, 16, 24, 24), "quality": torch.ones(1), **none}

    monkeypatch.setattr(WGANRegistration, "apply", apply)
    fixed = head(0, (16, 28, 24))
    moving = shifted(fixed, (6.0, -4.5, 6.0))
    result = apply_model(registration(tmp_path), {"fixed": fixed, "moving": moving})
    inner = (slice(3, -3), slice(5, -5), slice(5, -5))
    before = np.abs(moving.voxels - fixed.voxels)[inner].mean()
    assert np.abs(result.outputs["warped"].voxels - fixed.voxels)[inner].mean() < 0.05 * before
    assert result.outputs["transform"].points(np.zeros((1, 3)))[0].tolist() == pytest.approx([6, -4.5, 6])
    assert result.report["quality"] == 1


def test_registration_stops_between_its_stages_when_asked(tmp_path, monkeypatch):
    model, inputs, ran = registration(tmp_path), {"fixed": head(0), "moving": head(1)}, []
    apply = WGANRegistration.apply
    monkeypatch.setattr(WGANRegistration, "apply", lambda *given: ran.append(1) or apply(*given))
    for asked, networks in ((0, 0), (1, 1)):
        count = itertools.count()
        with pytest.raises(Cancelled):
            apply_model(model, inputs, cancelled=lambda c=count, n=asked: next(c) >= n)
        assert len(ran) == networks


# Windows


def test_the_way_a_volume_is_tiled_is_in_the_report(tmp_path):
    model, volume = paired(tmp_path, "3D"), head(0, (20, 40, 36))
    whole = apply_model(model, {"source": volume})
    tiled = apply_model(model, {"source": volume}, tile=(16, 32, 64))
    assert whole.report["settings"]["window"] == [20, 40, 36]
    assert (whole.report["settings"]["windows"], whole.report["settings"]["work"]) == (1, 1.0)
    assert tiled.report["settings"]["window"] == [16, 32, 36]
    assert tiled.report["settings"]["windows"] == 4
    for wrong in ((16, 16), (0, 16, 16), (16, 16, 1.5)):
        with pytest.raises(ModelError, match="give three sizes"):
            apply_model(model, {"source": volume}, tile=wrong)


@pytest.mark.parametrize("context", CONTEXTS)
def test_cancelling_between_windows_stops_at_once(tmp_path, monkeypatch, context):
    ran, apply = [], Paired.apply
    monkeypatch.setattr(Paired, "apply", lambda *given: ran.append(1) or apply(*given))
    volume = head(0, (20, 40, 36))
    model = paired(tmp_path, context)
    with pytest.raises(Cancelled):
        apply_model(model, {"source": volume}, tile=(16, 16, 16), cancelled=lambda: len(ran) >= 2)
    assert len(ran) == 2


def test_progress_rises_to_one(tmp_path):
    said = []
    apply_model(paired(tmp_path, "2D"), {"source": head(0, (20, 20, 20))},
                progress=lambda fraction, text: said.append((fraction, text)))
    fractions = [fraction for fraction, _ in said]
    assert fractions == sorted(fractions)
    assert len(said) > 3
    assert said[-1] == (1.0, "done")


# Report


def test_the_report_tells_how_the_result_came_about(tmp_path):
    volume = head(0)
    result = apply_model(paired(tmp_path, "2.5D"), {"source": volume}, seed=4)
    report = json.loads(json.dumps(result.report, allow_nan=False))
    assert len(report["model_hash"]) == 64
    assert (report["model"], report["system"], report["device"], report["settings"]["seed"]) == (
        "m", "paired", report["device"], 4)
    assert report["inputs"]["source"]["shape"] == list(volume.shape)
    assert report["licence"] == "CC0"
    assert "not for diagnosis" in report["notice"]
    assert {"torch", "SimpleITK", "GANSynthesis"} <= set(report["versions"])
    assert report["seconds"]["total"] >= report["seconds"]["network"] >= 0
    assert report["warnings"] == []
    other = apply_model(paired(tmp_path, "2.5D"), {"source": volume.with_voxels(volume.voxels + 1)})
    assert other.report["inputs"]["source"]["hash"] != report["inputs"]["source"]["hash"]


def test_half_precision_gives_nearly_the_same(tmp_path):
    model, volume = paired(tmp_path, "2D"), head(0)
    full, half = (apply_model(model, {"source": volume}, device="cpu", precision=p).outputs["target"].voxels
                  for p in ("32", "bf16"))
    assert 0 < np.abs(full - half).max() < 50
    with pytest.raises(ModelError, match="precision is '16'; it must be 32 or bf16"):
        apply_model(model, {"source": volume}, precision="16")


# What is wrong is said before any work


def volume_with(**changes) -> Volume:
    return head(0).with_voxels(changes.pop("voxels", head(0).voxels), **changes)


def broken_at_one_voxel() -> np.ndarray:
    voxels = head(0).voxels.copy()
    voxels[1, 2, 3] = np.nan
    return voxels


@pytest.mark.parametrize(
    ("inputs", "outputs", "error", "sentence"),
    [
        ({"source": volume_with(voxels=np.zeros((0, 4, 4)))}, None, VolumeError, "source volume 'head' has no voxels"),
        ({"source": volume_with(voxels=broken_at_one_voxel())}, None, VolumeError, "1 voxels that are NaN"),
        ({"source": volume_with(voxels=np.full((4, 4, 4), 7))}, None, VolumeError, "the same value 7 in every voxel"),
        ({"source": volume_with(voxels=np.zeros((2, 4, 4, 3)))}, None, VolumeError, "4 array dimensions"),
        ({"source": volume_with(label_names={1: "liver"})}, None, VolumeError, "is a label map, where an image is"),
        ({"source": volume_with(ijk_to_ras=np.diag([1, 0, 1, 1]))}, None, VolumeError, "singular voxel-to-world"),
        ({"image": head(0)}, None, ModelError, r"has no input 'image'; it takes: source \(T1\), target \(T2\)"),
        ({}, None, ModelError, r"takes: source \(T1\), target \(T2\); it needs source; or target: give its inputs"),
        ({"source": head(0)}, ["ct"], ModelError, "has no output 'ct'; it gives: target, segmentation"),
        ({"target": head(0)}, ["target"], ModelError, "needs source for its output 'target'"),
    ],
)
def test_inputs_that_cannot_be_used_are_refused_before_any_work(
    tmp_path, monkeypatch, inputs, outputs, error, sentence
):
    def built(model):
        raise AssertionError("the model was built")

    model = cyclegan(tmp_path)
    monkeypatch.setattr(Model, "build", built)
    with pytest.raises(error, match=sentence) as caught:
        apply_model(model, inputs, outputs=outputs)
    assert "\n" not in str(caught.value)


def test_a_missing_source_of_several_is_named(tmp_path):
    model = paired(tmp_path, "2D", settings={"sources": ("T1", "FLAIR")})
    with pytest.raises(ModelError, match=r"takes: T1 \(T1\), FLAIR \(FLAIR\); it needs T1, FLAIR: give"):
        apply_model(model, {"T1": head(0)})
    with pytest.raises(ModelError, match="needs T1, FLAIR for its output 'target': give every one"):
        apply_model(model, {"T1": head(0)}, outputs=["target"])


def test_a_device_that_is_not_there_is_refused(tmp_path):
    from GANSynthesisLib.devices import DeviceError

    for device, sentence in (("tpu", "'tpu' is no device"), ("cuda:99", "no GPU")):
        with pytest.raises(DeviceError, match=sentence):
            apply_model(paired(tmp_path, "2D"), {"source": head(0)}, device=device)


# Generation


def test_generated_images_are_the_same_for_the_same_seed(tmp_path):
    model = noise_model(tmp_path)
    first, again, other = (generate(model, 3, seed=seed) for seed in (1, 1, 2))
    assert list(first.outputs) == ["image_1", "image_2", "image_3"]
    for name, image in first.outputs.items():
        assert np.array_equal(image.voxels, again.outputs[name].voxels)
        assert not np.array_equal(image.voxels, other.outputs[name].voxels)
        assert (image.shape, image.spacing) == ((1, 16, 32), (0.5, 0.5, 1.0))
        assert np.allclose(image.grid.centre_ras, 0)
        assert -100 <= image.voxels.min() < image.voxels.max() <= 900
    assert list(generate(model).outputs) == ["image"]
    json.dumps(first.report, allow_nan=False)


def test_generation_can_be_stopped_and_is_refused_where_it_makes_no_sense(tmp_path):
    model, made = noise_model(tmp_path), []
    with pytest.raises(Cancelled):
        generate(model, 5, at_once=1, progress=lambda *said: made.append(said), cancelled=lambda: len(made) >= 2)
    assert len(made) == 2
    for count in (0, 10001):
        with pytest.raises(ModelError, match="give a number from 1 to 10000"):
            generate(model, count)
    with pytest.raises(ModelError, match="takes no image: use generate"):
        apply_model(model, {"source": head(0)})
    with pytest.raises(ModelError, match="does not generate images; its task is: synthesize"):
        generate(paired(tmp_path, "2D"))


def test_systems_without_a_segmentor_have_no_segmentation():
    assert "segmentation" not in CycleGAN.needs(CycleGAN.Settings())
