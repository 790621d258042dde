"""Networks: sizes in and out, precision of the last layer, and the geometry of registration."""

import pytest
import torch

from GANSynthesisLib.networks.discriminators import Critic, PatchDiscriminator
from GANSynthesisLib.networks.generation import NoiseGenerator
from GANSynthesisLib.networks.registration import (
    RegistrationGenerator,
    apply_linear,
    centers_of_mass,
    corrected,
    fit_linear,
    grid_points,
    label_distances,
    sample,
)
from GANSynthesisLib.networks.slabs import flatten_slab, unflatten_slab
from GANSynthesisLib.networks.translation import Translator, pad_to_multiple

DEPTH = {"2D": 1, "2.5D": 3, "3D": 7}
SMALL = {"width": 4, "levels": 2, "blocks": 1}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


# Translators and discriminators


@pytest.mark.parametrize("context", DEPTH)
@pytest.mark.parametrize("backbone", ["unet", "resnet"])
@pytest.mark.parametrize("size", [(16, 16), (13, 22), (5, 9)])
def test_translators_take_any_size_and_give_it_back(context, backbone, size):
    image = torch.randn(2, 2, DEPTH[context], *size)
    translator = Translator(2, 3, context, 3, backbone=backbone, **SMALL)
    answer = translator(image)
    assert answer.shape == (2, 3, DEPTH[context], *size)
    answer.square().mean().backward()
    assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in translator.parameters())


@pytest.mark.parametrize("context", DEPTH)
def test_the_last_layer_of_translators_and_judges_is_fp32_under_bf16(context):
    image = torch.randn(1, 1, max(DEPTH[context], 3) if context != "2D" else 1, 16, 16)
    judge_image = torch.randn(1, 1, {"2D": 1, "2.5D": 3, "3D": 16}[context], 16, 16)
    translator = Translator(1, 1, context, 3, **SMALL)
    judge = PatchDiscriminator(1, context, 3, width=4, layers=1)
    seen = {}
    translator.body.register_forward_hook(lambda *call: seen.update(body=call[2].dtype))
    for name, net in (("translator", translator), ("judge", judge)):
        last = net.last if name == "translator" else net.stages[-1]
        last.register_forward_hook(lambda module, given, answer, name=name: seen.update({name: answer.dtype}))
    with torch.autocast("cpu", torch.bfloat16):
        answers = translator(image), judge(judge_image)
    assert [answer.dtype for answer in answers] == [torch.float32] * 2
    assert seen["translator"] == seen["judge"] == torch.float32
    assert len(answers[0].unique()) > 200  # not bf16 steps


def test_slabs_of_another_thickness_are_refused():
    with pytest.raises(ValueError, match=r"expected a slab \(B, C, 3, H, W\), got \(1, 1, 5, 8, 8\)"):
        Translator(1, 1, "2.5D", 3, **SMALL)(torch.zeros(1, 1, 5, 8, 8))


def test_slabs_fold_into_channels_and_back():
    image = torch.randn(2, 3, 5, 4, 4)
    assert torch.equal(unflatten_slab(flatten_slab(image, 5), 5), image)


def test_padding_repeats_the_far_border_and_crops_to_the_original():
    image = torch.arange(12.0).view(1, 1, 3, 4)
    padded, crop = pad_to_multiple(image, 4)
    assert padded.shape == (1, 1, 4, 4)
    assert torch.equal(padded[0, 0, 3], image[0, 0, 2])
    assert torch.equal(padded[crop], image)


@pytest.mark.parametrize("context", DEPTH)
def test_a_patch_discriminator_gives_raw_logits_of_local_patches(context):
    depth = {"2D": 1, "2.5D": 3, "3D": 32}[context]
    judge = PatchDiscriminator(2, context, 3, width=4, layers=2)
    image = torch.randn(1, 2, depth, 48, 48, requires_grad=True)
    logits = judge(image)
    assert logits.shape[:2] == (1, 1)
    assert not isinstance(judge.stages[-1], (torch.nn.Sigmoid, torch.nn.Tanh))
    assert logits.min() < 0 < (logits * -1e3).max()
    # The corner's logit sees the corner: GroupNorm's statistics reach further, but weakly.
    (reach,) = torch.autograd.grad(logits.flatten()[0], image)
    assert reach[..., :24, :24].abs().sum() > 10 * reach[..., 36:, 36:].abs().sum()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_critic_scores_each_image_by_itself(dimensions):
    critic = Critic(2, dimensions, width=4)
    images = torch.randn(3, 2, *[16, 24, 20][:dimensions])
    scores = critic(images)
    assert scores.shape == (3,)
    assert torch.allclose(scores[1:2], critic(images[1:2]), atol=1e-6)
    assert not any("norm" in type(module).__name__.lower() for module in critic.modules())
    with torch.autocast("cpu", torch.bfloat16):
        assert critic(images).dtype == torch.float32


@pytest.mark.parametrize("shape", [(16, 32), (16, 16, 32)])
def test_a_noise_generator_gives_images_in_range_in_fp32(shape):
    generator = NoiseGenerator(shape, latent=5, width=4)
    with torch.autocast("cpu", torch.bfloat16):
        images = generator(torch.randn(2, 5))
    assert images.shape == (2, 1, *([1] * (3 - len(shape))), *shape)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1
    assert not torch.equal(images[0], images[1])


# Registration geometry


def rotation(degrees: float) -> torch.Tensor:
    a = torch.deg2rad(torch.tensor(degrees))
    turn = torch.eye(3)
    turn[:2, :2] = torch.stack([torch.stack([a.cos(), -a.sin()]), torch.stack([a.sin(), a.cos()])])
    return turn


def known_map(kind: str) -> torch.Tensor:
    matrix = torch.eye(4)
    matrix[:3, 3] = torch.tensor([4.0, -7, 2])
    if kind != "translation":
        matrix[:3, :3] = rotation(25)
    if kind == "affine":
        matrix[:3, :3] = matrix[:3, :3] @ torch.tensor([[1.1, 0.1, 0], [0, 0.9, 0.05], [0, 0, 1.2]])
    return matrix


@pytest.mark.parametrize("kind", ["translation", "rigid", "affine"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_linear_fit_recovers_a_known_map_also_under_autocast(kind, precision):
    source = 20 * torch.randn(2, 12, 3)
    truth = torch.stack([known_map(kind), torch.eye(4)])
    target = torch.stack([points @ m[:3, :3].T + m[:3, 3] for points, m in zip(source, truth, strict=True)])
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        found = fit_linear(source, target, torch.rand(2, 12) + 0.1, kind, ridge=1e-4)
    assert torch.allclose(found, truth, atol=1e-3)


def test_a_rigid_fit_never_mirrors():
    source = torch.randn(1, 10, 3) * 20
    found = fit_linear(source, source * torch.tensor([-1.0, 1, 1]), torch.ones(1, 10), "rigid")
    assert float(torch.linalg.det(found[0, :3, :3])) == pytest.approx(1, abs=1e-4)


def test_points_that_have_not_spread_give_the_identity_and_finite_gradients():
    source = torch.zeros(1, 8, 3, requires_grad=True)
    for kind in ("translation", "rigid", "affine"):
        found = fit_linear(source, source + torch.tensor([3.0, 0, 0]), torch.ones(1, 8), kind)
        assert torch.allclose(found[0, :3, :3], torch.eye(3), atol=1e-5)
        assert found[0, :3, 3].tolist() == pytest.approx([3, 0, 0], abs=1e-5)
    (gradient,) = torch.autograd.grad(found.sum(), source)
    assert torch.isfinite(gradient).all()


def spot(place: tuple[int, int, int], shape=(12, 14, 16)) -> torch.Tensor:
    image = torch.zeros(1, 1, *shape)
    image[0, 0][place] = 1
    return image


def test_grid_points_are_millimeters_from_the_center_in_the_order_x_y_z():
    points = grid_points((3, 5, 7), 2.0)
    assert points.shape == (1, 3, 3, 5, 7)
    assert points[0, :, 0, 0, 0].tolist() == [-6, -4, -2]
    assert points[0, :, 2, 4, 6].tolist() == [6, 4, 2]
    assert points[0, :, 1, 2, 3].tolist() == [0, 0, 0]


def test_sampling_at_the_grid_gives_the_image_back():
    image = torch.randn(2, 3, 5, 6, 7)
    points = grid_points((5, 6, 7), 1.7).expand(2, -1, -1, -1, -1)
    assert torch.allclose(sample(image, points, 1.7), image, atol=1e-5)


def test_sampling_through_a_shift_fetches_the_image_from_there():
    points = grid_points((12, 14, 16), 2.0)
    shift = torch.eye(4)[None].clone()
    shift[0, :3, 3] = torch.tensor([2.0, -4, 6])  # fixed -> moving: one voxel in x, -2 in y, 3 in z
    warped = sample(spot((8, 5, 9)), apply_linear(shift, points), 2.0)
    assert torch.allclose(warped, spot((5, 7, 8)), atol=1e-5)


def test_sampling_through_a_rotation_turns_the_right_way():
    points = grid_points((12, 15, 15), 1.0)
    turn = torch.eye(4)[None].clone()
    turn[0, :3, :3] = rotation(90)  # fixed x goes to moving y
    warped = sample(spot((4, 7 + 5, 7), (12, 15, 15)), apply_linear(turn, points), 1.0)
    assert torch.allclose(warped, spot((4, 7, 7 + 5), (12, 15, 15)), atol=1e-5)


def test_outside_the_image_the_value_asked_for_is_found():
    points = grid_points((12, 14, 16), 2.0) + 200
    assert sample(torch.rand(1, 1, 12, 14, 16), points, 2.0, -1).unique().tolist() == [-1]


def test_centers_of_mass_are_where_the_mass_is_also_under_autocast():
    points = grid_points((48, 48, 48), 2.0)
    mass = torch.zeros(1, 1, 48, 48, 48)
    mass[0, 0, 20:23, 30, 40] = 1  # (k, j, i) 21, 30, 40
    with torch.autocast("cpu", torch.bfloat16):
        center = centers_of_mass(mass, points)
    assert center[0, 0].tolist() == pytest.approx([2 * (40 - 23.5), 2 * (30 - 23.5), 2 * (21 - 23.5)], abs=1e-3)


@pytest.fixture
def registration() -> RegistrationGenerator:
    return RegistrationGenerator(2.0, "affine", True, keypoints=4, structures=1, width=4)


def test_the_dense_part_starts_as_the_identity(registration):
    moving, fixed = torch.rand(2, 1, 16, 18, 20) * 2 - 1, torch.rand(2, 1, 16, 18, 20) * 2 - 1
    result = registration(moving, fixed)
    assert result["displacement"].shape == (2, 3, 16, 18, 20)
    assert result["displacement"].abs().max() == 0
    assert torch.allclose(result["points"], result["linear_points"], atol=1e-4)
    assert result["fixed_structures"].shape == (2, 1, 16, 18, 20)


def test_registration_works_in_millimeters_in_fp32_under_bf16(registration):
    moving, fixed = torch.rand(1, 1, 16, 16, 16) * 2 - 1, torch.rand(1, 1, 16, 16, 16) * 2 - 1
    with torch.autocast("cpu", torch.bfloat16):
        result = registration(moving, fixed)
        again = apply_linear(result["matrix"], grid_points((16, 16, 16), 2.0))
    assert {value.dtype for value in result.values()} == {torch.float32}
    assert torch.allclose(again, result["linear_points"], atol=1e-5)
    points = grid_points((16, 16, 16), 2.0)
    exact = torch.einsum("ab,nbkji->nakji", result["matrix"][0, :3, :3], points) + result["matrix"][0, :3, 3].view(
        1, 3, 1, 1, 1)
    assert torch.allclose(exact, result["linear_points"], atol=1e-4)


def test_the_refiner_does_not_pull_the_linear_stage_about(registration):
    torch.nn.init.normal_(registration.refiner.last.weight, std=0.1)
    result = registration(torch.rand(1, 1, 16, 16, 16), torch.rand(1, 1, 16, 16, 16))
    result["points"].square().mean().backward()
    assert registration.refiner.last.weight.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in registration.fixed_encoder.parameters())


def test_a_correction_acts_about_a_point_and_before_the_fit():
    fit = torch.eye(4)[None].repeat(2, 1, 1)
    fit[:, :3, 3] = torch.tensor([5.0, 0, 0])
    change = torch.zeros(2, 3, 4)
    change[1, 0, 0], change[1, :, 3] = 0.5, torch.tensor([0.0, 2.0, 0])
    center = torch.tensor([[1.0, 2, 3], [10.0, 20, 30]])
    assert torch.equal(corrected(fit, center, change[:1].repeat(2, 1, 1)), fit)
    points = torch.tensor([[10.0, 20, 30], [14.0, 20, 30]]).T[None, :, None, None].repeat(2, 1, 1, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        moved = apply_linear(corrected(fit, center, change), points)[1, :, 0, 0].T
    assert moved.tolist() == [[15.0, 22.0, 30.0], [21.0, 22.0, 30.0]]


def test_a_refiner_without_signal_corrects_nothing_and_learns_to():
    generator = RegistrationGenerator(2.0, "affine", True, keypoints=4, structures=1, width=4, correction=5)
    moving, fixed = torch.rand(2, 1, 16, 16, 16), torch.rand(2, 1, 16, 16, 16)
    result = generator(moving, fixed)
    assert torch.allclose(result["points"], result["linear_points"], atol=1e-4)
    (result["points"] - 3).square().mean().backward()
    assert generator.refiner.correction.bias.grad.abs().min() > 0


def test_distances_of_labels_are_those_of_their_centers_in_moving_space():
    points = grid_points((16, 16, 16), 2.0)
    fixed, moving = torch.zeros(1, 3, 16, 16, 16), torch.zeros(1, 3, 16, 16, 16)
    fixed[0, 0, 4:7, 8, 8], moving[0, 0, 4:7, 8, 10] = 1, 0.5  # 4 mm to the right
    fixed[0, 1, 2, 2, 2] = 1  # not in the moving image
    fixed[0, 2, 9, 9, 9] = moving[0, 2, 9, 9, 9] = 1
    apart, both = label_distances(points, fixed, moving, 2.0)
    assert both.tolist() == [[1, 0, 1]]
    assert apart[0, [0, 2]].tolist() == pytest.approx([4, 0], abs=2e-3)
    shift = torch.tensor([4.0, 0, 0]).view(1, 3, 1, 1, 1)
    apart, _ = label_distances(points + shift, fixed, moving, 2.0)
    assert apart[0, [0, 2]].tolist() == pytest.approx([0, 4], abs=2e-3)
