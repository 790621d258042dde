"""The foundations, rule by rule: what each method of making images from noise must not miss."""

import pytest
import torch
from torch import nn

from GANSynthesisLib.networks.growing import faded_in, grown
from GANSynthesisLib.systems import build_system
from GANSynthesisLib.systems.cgan import hats

TINY = {"patch": "16,16", "width": 4, "critic_width": 4, "latent": 4, "batch": 4}
CLASSES = {"classes": ("a", "b", "c")}
LABELS = {"labels": ("background", "lesion")}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def batch_of(count: int = 4, shape=(1, 16, 16)) -> dict[str, torch.Tensor]:
    image = torch.rand(count, 1, *shape) * 2 - 1
    return {"image": image, "class": torch.arange(count) % 3, "value": torch.linspace(-1, 1, count),
            "labels": (image > 0).float()}


def gradient(losses, weights) -> float:
    found = torch.autograd.grad(sum(losses), list(weights), allow_unused=True)
    return sum(float(each.abs().sum()) for each in found if each is not None)


def norms(network: nn.Module) -> set[type]:
    kinds = (nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm)
    return {type(layer) for layer in network.modules() if isinstance(layer, kinds)}


def test_once_the_discriminator_is_sure_minimax_teaches_nothing_and_the_other_form_does():
    taught = {}
    for form in ("minimax", "non-saturating"):
        torch.manual_seed(0)
        system = build_system("gan", {**TINY, "adversarial": form})
        nn.init.constant_(system.judge.score.bias, -20.0)
        taught[form] = gradient(system.generator_turn(batch_of()).values(), system.generator.parameters())
    assert taught["minimax"] < 1e-6 * taught["non-saturating"]


def test_least_squares_is_on_raw_logits():
    system = build_system("lsgan", TINY)
    nn.init.zeros_(system.judge.score.weight)
    nn.init.constant_(system.judge.score.bias, 3.0)
    assert system.discriminator_turn(batch_of())["discriminator"].item() == pytest.approx(2**2 + 3**2)


def test_dcgan_normalizes_over_the_batch_in_2d_and_over_groups_where_batches_are_small():
    kinds = {(): {nn.BatchNorm2d}, (("batch", 2),): {nn.GroupNorm},
             (("context", "3D"), ("patch", "8,16,16")): {nn.GroupNorm}}
    for more, kind in kinds.items():
        system = build_system("dcgan", {**TINY, **dict(more)})
        assert norms(system.generator) == norms(system.judge) == kind
        assert not norms(nn.Sequential(*list(system.judge.stages)[:2])), "the first layer sees the image itself"
    weight = build_system("dcgan", {**TINY, "width": 64}).generator.seed.weight
    assert float(weight.std()) == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("settings", [{}, {"architecture": "strided"}])
def test_a_critic_scores_an_image_whatever_else_is_in_the_batch(settings):
    system = build_system("wgan", {**TINY, **settings})
    images = batch_of()["image"]
    alone = system.judged(images[:1], {})[0]
    assert torch.allclose(system.judged(images, {})[0][:1], alone, atol=1e-6)
    assert not norms(system.judge)


def test_thin_patches_are_halved_along_their_long_axes_until_all_are_small():
    system = build_system("dcgan", {**TINY, "context": "3D", "patch": "8,16,32"})
    assert system.generator.seed_shape == (4, 4, 4)
    assert system.judge.score.in_features == 4 * 4 * 64
    batch = batch_of(2, (8, 16, 32))
    assert system.make(system.asked(batch)).shape == batch["image"].shape
    assert set(system.discriminator_turn(batch)) == {"discriminator"}


# Conditions


@pytest.mark.parametrize("judging", ["projection", "channels"])
@pytest.mark.parametrize("conditioning", ["class", "value", "labels", "class,value,labels"])
def test_both_players_of_a_cgan_see_what_is_asked(judging, conditioning):
    system = build_system("cgan", {**TINY, **CLASSES, **LABELS, "conditioning": conditioning, "judging": judging})
    for name in ("generator", "judge"):
        for weight in getattr(system, name).parameters():
            nn.init.normal_(weight, 0, 0.2)  # well away from the start, at which all answers are nearly 0
    batch = batch_of()
    asked = system.asked(batch)
    others = {"class": (batch["class"] + 1) % 3, "value": -batch["value"], "labels": 1 - batch["labels"]}
    for role in conditioning.split(","):
        other = {**asked, role: others[role]}
        assert (system.make(asked) - system.make(other)).abs().max() > 1e-4, role
        apart = system.judged(batch["image"], asked)[0] - system.judged(batch["image"], other)[0]
        assert apart.abs().max() > 1e-4, role


def test_a_value_is_shared_by_the_two_steps_that_it_lies_between():
    told = hats(torch.tensor([-1.0, -0.97, 0.0, 0.4, 1.0]))
    assert torch.allclose(told.sum(1), torch.ones(5))
    assert (told > 0).sum(1).tolist() == [1, 2, 1, 2, 1]
    assert told[0, 0] == told[4, -1] == 1


def test_both_players_of_an_acgan_gain_by_telling_the_class():
    system = build_system("acgan", {**TINY, **CLASSES, "architecture": "residual"})
    batch = batch_of()
    assert gradient([system.generator_turn(batch)["class"]], system.generator.parameters()) > 0
    assert gradient([system.discriminator_turn(batch)["class"]], system.judge.parameters()) > 0
    numbers = system.validate({role: tensor[:1] for role, tensor in batch.items()})
    assert 0 < numbers["diversity of a"] < 1 and numbers["class_error"] in (0, 1)


# InfoGAN


def infogan(**settings):
    return build_system("infogan", {**TINY, "categories": 3, "continuous": 1, "architecture": "residual", **settings})


def test_the_information_of_an_infogan_does_not_depend_on_labels():
    batch = batch_of()
    for turn in ("discriminator_turn", "generator_turn"):
        losses = []
        for classes in (batch["class"], batch["class"].flip(0)):
            torch.manual_seed(1)
            system = infogan(**CLASSES)
            losses.append(getattr(system, turn)({**batch, "class": classes}))
        assert losses[0] == losses[1]
        assert set(losses[0]) - {"discriminator", "generator"} == {"category", "continuous"}


def test_categories_are_called_after_the_class_they_are_found_in(monkeypatch):
    system = infogan(**CLASSES)
    monkeypatch.setattr(system, "category", lambda image: (2 - image[:, 0, 0, 0, 0]).long())
    images = torch.arange(3.0).view(3, 1, 1, 1, 1).expand(3, 1, 1, 16, 16)
    system._count({"image": images, "class": torch.arange(3)})  # category 2 is class 0, 1 is 1, 0 is 2
    monkeypatch.setattr(type(system).__base__, "validate", lambda *_: {})
    errors = [system.validate({"image": images[at : at + 1], "class": torch.tensor([kind])})["code_error"]
              for at, kind in ((0, 0), (1, 1), (2, 2), (0, 2))]
    assert errors == [0, 0, 0, 1]
    assert "code_error" not in infogan().validate({"image": images[:1]})


# Growing


def test_sizes_follow_the_steps_of_the_run_and_a_model_has_its_full_size():
    system = build_system("progressive", {**TINY, "patch": "32,32", "grown_at": 0.6})
    assert system.growth == 3, "outside training"
    system.use_rounds(100)
    seen = []
    for _ in range(100):
        seen.append(system.growth)
        system.after_turn("generator")
    assert seen[0] == seen[9] == 0 and seen[60] == seen[-1] == 3
    assert seen == sorted(seen)
    for size in (1, 2):
        assert seen.count(size) >= 9, "every size is kept for a while before the next is faded in"
    assert any(0 < growth < 1 for growth in seen)


@pytest.mark.parametrize(("growth", "size"), [(0.0, 4), (0.2, 8), (1.0, 8), (1.7, 16), (2.0, 16)])
def test_made_and_real_images_have_the_same_size_at_every_growth(growth, size, monkeypatch):
    system = build_system("progressive", TINY)
    monkeypatch.setattr(type(system), "growth", growth)
    batch = batch_of()
    assert system.real(batch).shape == system.make(system.asked(batch)).shape == (4, 1, 1, size, size)
    losses = system.critic_turn(batch)
    assert set(losses) == {"critic", "gradient_penalty", "drift"} and all(map(torch.isfinite, losses.values()))


def test_a_new_size_comes_in_without_a_jump():
    system, noise = build_system("progressive", TINY), torch.randn(2, 4)
    before, after = (system.generator(noise, growth) for growth in (1.0, 1.0001))
    doubled = before.repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert torch.allclose(doubled, after, atol=1e-3)
    image = batch_of()["image"][:, :, 0]
    small, large = (grown(image, 2, growth) for growth in (1.0, 1.0001))
    assert torch.allclose(system.judge(small, 1.0), system.judge(large, 1.0001), atol=1e-3)
    assert faded_in(1.3) == (2, pytest.approx(0.3))


def test_the_critic_of_the_growing_gan_sees_how_much_a_batch_varies():
    system = build_system("progressive", TINY)
    images = batch_of()["image"][:, :, 0]
    varied, same = system.judge(images, 2.0)[0], system.judge(images[:1].expand(4, -1, -1, -1), 2.0)[0]
    assert abs(float(varied - same)) > 1e-4


# MGAN


class Maps(nn.Module):
    """Stand-in for a frozen network: the image, and its mean over blocks."""

    dimensions, channels, depths = 2, (1, 1), (1, 2)

    def forward(self, image):
        flat = image[:, :, 0]
        return [flat, nn.functional.avg_pool2d(flat, 4)]


def mgan(**settings):
    system = build_system("mgan", {"context": "2D", "patch": "16,16", "width": 4, "levels": 2, "feature_depths": "1,2",
                                   "discriminator_width": 4, **settings})
    system.use_features(Maps())
    return system


def test_the_discriminator_of_an_mgan_sees_small_patches_of_the_first_feature_map():
    system = mgan()
    assert len(system.discriminator.heads) == 1
    maps = torch.randn(1, 1, 16, 16)
    changed = maps.clone()
    changed[..., 0, 0] += 1
    apart = (system._judged([maps]) - system._judged([changed])).abs()[0, 0]
    assert apart[:2, :2].max() > 0


def test_content_is_kept_at_the_deeper_features_of_the_source():
    system, images = mgan(), torch.rand(2, 1, 1, 16, 16) * 2 - 1
    batch = {"source": images, "target": -images}
    assert set(system.generator_turn(batch)) == {"adversarial", "content"}
    assert float(system._content(system._features(images), images)) == 0
    shuffled = images.view(2, 1, 1, 4, 4, 16).flip(4).reshape(2, 1, 1, 16, 16)  # within blocks of rows
    assert float(system._content(system._features(shuffled), images)) < 1e-5
    assert set(mgan(content_weight=0).generator_turn(batch)) == {"adversarial"}
