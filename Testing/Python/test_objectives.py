"""Losses: numbers by hand, signs, invariances and gradients."""

import math

import pytest
import torch

from GANSynthesisLib.objectives.adversarial import (
    KINDS,
    clip_weights,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
)
from GANSynthesisLib.objectives.deformation import bending_energy, multiscale_dice
from GANSynthesisLib.objectives.image import gradient_consistency, gradient_difference, masked_l1, spatial_gradients
from GANSynthesisLib.objectives.segmentation import dice_cross_entropy, soft_dice

REAL, FAKE = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


BINARY = (softplus(-2) + softplus(1)) / 2 + (softplus(0.5) + softplus(-3)) / 2


@pytest.mark.parametrize(
    ("kind", "discriminator", "generator"),
    [
        ("minimax", BINARY, -(softplus(0.5) + softplus(-3)) / 2),
        ("non-saturating", BINARY, (softplus(-0.5) + softplus(3)) / 2),
        ("least-squares", (1 + 4) / 2 + (0.25 + 9) / 2, (0.25 + 16) / 2),
        ("hinge", (0 + 2) / 2 + (1.5 + 0) / 2, (-0.5 + 3) / 2),
        ("wasserstein", -1.25 - 0.5, 1.25),
    ],
)
def test_adversarial_objectives_on_raw_logits_are_those_computed_by_hand(kind, discriminator, generator):
    assert float(discriminator_loss(kind, REAL, FAKE)) == pytest.approx(discriminator, abs=1e-6)
    assert float(generator_loss(kind, FAKE)) == pytest.approx(generator, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_sides_of_the_game_pull_logits_in_opposite_directions(kind):
    real, fake = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    discriminator_loss(kind, real, fake).backward()
    assert (real.grad < 0).all()  # descending raises the score of real images
    assert (fake.grad >= 0).all() if kind == "least-squares" else (fake.grad > 0).all()
    judged = torch.zeros(3, requires_grad=True)
    generator_loss(kind, judged).backward()
    assert (judged.grad < 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_adversarial_objectives_are_finite_in_fp32_for_huge_half_precision_logits(kind):
    logits = torch.tensor([3e4, -3e4], dtype=torch.bfloat16)
    loss = discriminator_loss(kind, logits, logits) + generator_loss(kind, logits)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


def test_an_unknown_objective_is_refused_by_name():
    for call in (lambda: generator_loss("maximax", FAKE), lambda: discriminator_loss("maximax", REAL, FAKE)):
        with pytest.raises(ValueError, match="'maximax'; there are: minimax"):
            call()


def test_the_optimal_discriminator_of_two_equal_distributions_pays_two_log_two():
    zero = torch.zeros(4)
    assert float(discriminator_loss("non-saturating", zero, zero)) == pytest.approx(2 * math.log(2))


# Wasserstein


def linear_critic(slope: torch.Tensor):
    return lambda images: (images * slope).flatten(1).sum(1)


@pytest.mark.parametrize(("length", "penalty"), [(1.0, 0.0), (3.0, 4.0), (0.0, 1.0)])
def test_gradient_penalty_is_the_squared_distance_of_the_slope_from_one(length, penalty):
    slope = torch.randn(1, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    slope = length * slope / slope.norm()
    found = gradient_penalty(linear_critic(slope), torch.randn(2, 1, 4, 5), torch.randn(2, 1, 4, 5))
    assert float(found) == pytest.approx(penalty, abs=1e-4)


def test_gradient_penalty_teaches_the_critic_through_second_order_gradients():
    torch.manual_seed(0)
    critic = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    real, fake = torch.randn(4, 1, 4, 4), torch.randn(4, 1, 4, 4)
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.02)
    first = gradient_penalty(critic, real, fake)
    for _ in range(60):
        optimizer.zero_grad()
        loss = gradient_penalty(critic, real, fake)
        loss.backward()
        optimizer.step()
    assert critic[1].weight.grad.abs().sum() > 0
    assert float(loss.detach()) < 0.2 * float(first.detach())


def test_gradient_penalty_of_a_flat_critic_has_finite_gradients():
    slope = torch.zeros(1, 1, 4, 4, requires_grad=True)
    gradient_penalty(linear_critic(slope), torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4)).backward()
    assert torch.isfinite(slope.grad).all()


def test_gradient_penalty_is_computed_in_fp32_under_autocast():
    seen = []

    def critic(images):
        weights = torch.full((images.flatten(1).shape[1], 1), 1.0 + 2**-10)  # which bf16 rounds to 1
        scores = images.flatten(1) @ weights
        seen.append(scores.dtype)
        return scores

    real = torch.randn(2, 1, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        penalty = gradient_penalty(critic, real, real)
    assert seen == [torch.float32]
    assert penalty.dtype == torch.float32
    assert float(penalty) == pytest.approx(2**-20, rel=1e-2)


def test_clipping_bounds_every_weight_of_the_critic():
    critic = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Linear(4, 1))
    with torch.no_grad():
        critic[0].weight.mul_(100)
    small = critic[1].bias.detach().clone().clamp(-0.05, 0.05)
    clip_weights(critic, 0.05)
    assert max(float(weight.detach().abs().max()) for weight in critic.parameters()) <= 0.05 + 1e-8
    assert torch.equal(critic[1].bias, small)


# Images


@pytest.fixture
def image() -> torch.Tensor:
    noise = torch.randn(2, 1, 6, 8, 8, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(noise, scale_factor=2, mode="trilinear").clamp(-2, 2) / 2


def test_spatial_gradients_are_central_differences_of_the_axes_that_have_an_inside():
    k, j, i = torch.meshgrid(torch.arange(4.0), torch.arange(5.0), torch.arange(6.0), indexing="ij")
    gradients = spatial_gradients((2 * k + 3 * j - i)[None, None])
    assert [float(g.unique()) for g in gradients] == [2, 3, -1]
    assert {tuple(g.shape) for g in gradients} == {(1, 1, 2, 3, 4)}
    assert len(spatial_gradients(torch.rand(1, 1, 1, 5, 6))) == 2


@pytest.mark.parametrize("change", [lambda x: 0.3 * x - 0.4, lambda x: -2 * x + 1, lambda x: x])
def test_gradient_consistency_is_zero_for_affine_and_inverted_intensities(image, change):
    assert float(gradient_consistency(image, change(image))) == pytest.approx(0, abs=1e-4)


def test_gradient_consistency_grows_as_edges_move(image):
    losses = [float(gradient_consistency(image, torch.roll(image, by, 4))) for by in (0, 1, 2, 3)]
    assert losses == sorted(losses)
    assert losses[1] > 0.1
    assert losses[3] > 0.7


def test_gradient_consistency_of_a_flat_patch_has_finite_gradients():
    flat = torch.zeros(1, 1, 1, 8, 8, requires_grad=True)
    gradient_consistency(torch.rand(1, 1, 1, 8, 8), flat).backward()
    assert torch.isfinite(flat.grad).all()


def test_gradient_difference_ignores_level_and_sign_but_not_blur(image):
    assert float(gradient_difference(image, image + 3)) == pytest.approx(0, abs=1e-9)
    assert float(gradient_difference(image, -image)) == pytest.approx(0, abs=1e-9)
    blurred = torch.nn.functional.avg_pool3d(image, 3, 1, 1)
    assert float(gradient_difference(blurred, image)) > 1e-3


def test_masked_l1_averages_over_the_mask_only():
    image, reference = torch.tensor([[[1.0, 5.0]]]), torch.tensor([[[0.0, 0.0]]])
    assert float(masked_l1(image, reference)) == 3
    assert float(masked_l1(image, reference, torch.tensor([[[True, False]]]))) == 1
    assert float(masked_l1(image, reference, torch.zeros(1, 1, 2))) == 0


# Labels


def test_soft_dice_is_one_for_equal_zero_for_disjoint_and_known_in_between():
    a = torch.tensor([[[1.0, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]])
    b = torch.tensor([[[1.0, 1, 0, 0], [0, 0, 1, 1], [0, 1, 1, 0], [0, 0, 0, 0]]])
    assert soft_dice(a, b)[0].tolist() == pytest.approx([1, 0, 0.5, 1], abs=1e-4)


def test_dice_cross_entropy_falls_to_zero_for_the_right_answer():
    labels = torch.randint(0, 3, (2, 1, 4, 4, 4))
    right = 50.0 * torch.nn.functional.one_hot(labels[:, 0], 3).movedim(-1, 1)
    assert float(dice_cross_entropy(right, labels)) == pytest.approx(0, abs=1e-4)
    assert float(dice_cross_entropy(-right, labels)) > 10


def test_classes_absent_from_the_batch_leave_the_dice_part():
    labels = torch.zeros(1, 1, 4, 4)
    labels[..., :2] = 1
    logits = torch.zeros(1, 3, 4, 4)  # all classes alike: probability 1/3 each
    dice = 2 * 8 / 3 / (16 / 9 + 8)
    assert float(dice_cross_entropy(logits, labels)) == pytest.approx(math.log(3) + 1 - dice, abs=1e-4)
    empty = torch.zeros_like(labels)
    assert float(dice_cross_entropy(logits, empty)) == pytest.approx(math.log(3), abs=1e-5)


def test_an_empty_answer_is_not_rewarded_for_a_small_lesion():
    labels = torch.zeros(1, 1, 16, 16)
    labels[..., 8, 8] = 1
    empty = torch.stack([torch.full((1, 16, 16), 8.0), torch.zeros(1, 16, 16)], 1)
    assert float(dice_cross_entropy(empty, labels)) > 0.9


# Deformation


def points(size: int = 9, spacing: float = 2.0) -> torch.Tensor:
    axis = torch.arange(float(size)) * spacing
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([x, y, z])[None]


def test_bending_energy_is_zero_for_every_affine_map():
    matrix = torch.tensor([[0.3, -0.2, 0.1], [0, 0.5, 0.2], [0.4, 0, -0.6]])
    affine = torch.einsum("ab,nbkji->nakji", matrix, points()) + 5
    assert float(bending_energy(affine, 2.0)) == pytest.approx(0, abs=1e-9)


def test_bending_energy_of_a_parabola_is_its_squared_curvature_in_millimeters():
    bent = torch.zeros_like(points())
    bent[:, 0] = 0.5 * 0.1 * points()[:, 0] ** 2  # second derivative 0.1 per mm in one of three components
    assert float(bending_energy(bent, 2.0)) == pytest.approx(0.1**2 / 3, rel=1e-3)
    mixed = torch.zeros_like(points())
    mixed[:, 1] = 0.1 * points()[:, 0] * points()[:, 2]
    assert float(bending_energy(mixed, 2.0)) == pytest.approx(2 * 0.1**2 / 3, rel=1e-3)


def ball(center: torch.Tensor, size: int = 32) -> torch.Tensor:
    axis = torch.arange(float(size))
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    squared = (x - center[0]) ** 2 + (y - center[1]) ** 2 + (z - center[2]) ** 2
    return torch.sigmoid(4 * (3 - (squared + 1e-6).sqrt()))[None, None]


def test_labels_that_do_not_overlap_still_attract_each_other():
    fixed = ball(torch.tensor([20.0, 16.0, 16.0]))
    center = torch.tensor([10.0, 16.0, 16.0], requires_grad=True)
    loss = multiscale_dice(ball(center), fixed, torch.ones(1, 1))
    loss.backward()
    assert float((ball(center.detach()) * fixed).sum()) < 1e-3
    assert center.grad[0] < -1e-3  # descending moves it toward the other
    assert center.grad[1:].abs().max() < 0.1 * center.grad[0].abs()


def test_label_overlap_counts_present_labels_only():
    fixed, far = ball(torch.tensor([16.0, 16, 16])), ball(torch.tensor([5.0, 5, 5]))
    both, mixed = torch.cat([fixed, fixed], 1), torch.cat([fixed, far], 1)
    assert float(multiscale_dice(both, both, torch.ones(1, 2))) == pytest.approx(0, abs=1e-3)
    assert float(multiscale_dice(mixed, both, torch.tensor([[1.0, 0.0]]))) == pytest.approx(0, abs=1e-3)
    assert float(multiscale_dice(mixed, both, torch.ones(1, 2))) > 0.2
    assert float(multiscale_dice(mixed, both, torch.zeros(1, 2))) == 0


def test_label_overlap_takes_small_grids():
    small = torch.rand(1, 2, 16, 16, 16)
    assert float(multiscale_dice(small, small, torch.ones(1, 2))) == pytest.approx(0, abs=1e-3)
