"""What is seen of a game while it is played: how near its equilibrium is, how alike images are, and named alerts, each
of which is shown by a run that goes wrong in that way."""

import math

import pytest
import torch
import training_fixtures
from synthetic_cases import write_images
from training_fixtures import GENERATE, history

from GANSynthesisLib.files import write_volume
from GANSynthesisLib.objectives.adversarial import discriminator_loss, watched
from GANSynthesisLib.objectives.divergence import equilibrium
from GANSynthesisLib.objectives.diversity import distance_to_nearest, ms_ssim, pairwise_ms_ssim
from GANSynthesisLib.training import engine, train
from GANSynthesisLib.training.advice import advice
from GANSynthesisLib.training.monitors import WATCHED, find_trouble, image_monitors

no_curves, one_thread = training_fixtures.no_curves, training_fixtures.one_thread
GAME = {name: value for name, value in GENERATE.items() if name != "critic_turns"} | {
    "batch": 8, "validate_every": 50, "warmup": 0, "decay_from": 1.0,
}
EVERY = 4  # steps between logged rows of these short runs, 20 otherwise


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"), 8, (4, 20, 20))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Train a system on images; -> names of the alerts, what they say, and the rows of the run."""
    monkeypatch.setattr(engine, "LOG_EVERY", EVERY)

    def go(system, data, steps=100, **settings):
        told = []
        train(system, data, tmp_path / "m.safetensors", settings=GAME | settings, steps=steps, log=told.append,
              device="cpu")
        return {line.split()[1] for line in told}, " ".join(told), history(tmp_path / "m.run")

    return go


# The estimates


def game(kind: str, real: torch.Tensor, fake: torch.Tensor) -> dict[str, float]:
    with watched() as judged:
        discriminator_loss(kind, real, fake)
    return {name.split("/")[1]: float(value) for name, value in equilibrium(judged).items()}


def two_coins(real: float, made: float, count: int = 10000) -> tuple[torch.Tensor, torch.Tensor]:
    """Heads (True) of two coins with these chances."""
    return torch.arange(count) < real * count, torch.arange(count) < made * count


def test_the_best_discriminator_tells_the_divergence():
    """Of two coins everything is known: D*(x) = p(x) / (p(x) + q(x))."""
    p, q = 0.8, 0.3
    heads, tails = p / (p + q), (1 - p) / (2 - p - q)
    best = [torch.where(coin, heads, tails) for coin in two_coins(p, q)]
    middle = (p + q) / 2
    entropy = [-(a * math.log2(a) + (1 - a) * math.log2(1 - a)) for a in (middle, p, q)]
    shannon = entropy[0] - (entropy[1] + entropy[2]) / 2
    found = game("non-saturating", *(torch.logit(share) for share in best))
    assert found["JS divergence"] == pytest.approx(shannon, abs=1e-4)
    assert found["D on real"] == pytest.approx(p * heads + (1 - p) * tails, abs=1e-4)
    assert found["D on made"] == pytest.approx(q * heads + (1 - q) * tails, abs=1e-4)
    assert found["accuracy"] == pytest.approx((p + 1 - q) / 2, abs=1e-4)
    squared = 0.5 * ((p - q) ** 2 / (p + q) + (p - q) ** 2 / (2 - p - q))
    assert game("least-squares", *best)["triangular discrimination"] == pytest.approx(squared, abs=1e-4)
    signs = [torch.where(coin, 1.0, -1.0) for coin in two_coins(p, q)]
    assert game("hinge", *signs)["total variation"] == pytest.approx(p - q, abs=1e-4)
    scores = [coin.float() for coin in two_coins(p, q)]
    assert game("wasserstein", *scores)["estimate"] == pytest.approx(p - q, abs=1e-4)


@pytest.mark.parametrize("kind", ["minimax", "non-saturating", "least-squares", "hinge"])
def test_a_discriminator_that_can_only_guess_sees_no_divergence(kind):
    guess = torch.full((8,), 0.5 if kind == "least-squares" else 0.0)
    found = game(kind, guess, guess)
    assert [value for name, value in found.items() if name in (
        "JS divergence", "triangular discrimination", "total variation")] == pytest.approx([0])


def test_who_watches_sees_all_that_is_judged_and_nothing_afterwards():
    logits = torch.ones(3, requires_grad=True)
    with watched() as judged:
        discriminator_loss("hinge", logits, -logits)
        discriminator_loss("minimax", logits, logits)
    discriminator_loss("hinge", logits, logits)
    assert [each.kind for each in judged] == ["hinge", "minimax"]
    assert not judged[0].real.requires_grad and float(judged[0].fake[0]) == -1


# Images


def test_likeness_is_one_for_the_same_image_and_falls_with_what_differs():
    torch.manual_seed(0)
    images = torch.rand(6, 1, 1, 64, 64) * 2 - 1
    assert torch.allclose(ms_ssim(images, images), torch.ones(6))
    near = (images + 0.2 * torch.randn_like(images)).clamp(-1, 1)
    assert 0.3 < float(ms_ssim(images, near).mean()) < 0.99
    assert pairwise_ms_ssim(images) < 0.2 and pairwise_ms_ssim(images[:1].expand(4, -1, -1, -1, -1)) > 0.999
    volumes = torch.rand(3, 1, 16, 16, 16)
    assert pairwise_ms_ssim(volumes) < 0.9
    with pytest.raises(ValueError, match="at least two"):
        pairwise_ms_ssim(images[:1])


def test_the_nearest_known_image_is_found():
    torch.manual_seed(0)
    known = torch.randn(5, 1, 1, 20, 20)
    distances, nearest = distance_to_nearest(known[[3, 1]] + 0.01, known)
    assert nearest.tolist() == [3, 1] and torch.allclose(distances, torch.full((2,), 0.01), atol=1e-4)


def test_image_monitors_tell_diversity_variance_and_likeness():
    torch.manual_seed(0)
    real = [torch.randn(1, 1, 1, 16, 16).clamp(-1, 1) for _ in range(6)]
    faithful = image_monitors([{"synthetic": image, "target": image} for image in real])
    assert faithful["diversity/made over real"] == pytest.approx(1)
    assert faithful["diversity/variance over real"] == pytest.approx(1)
    assert faithful["diversity/MS-SSIM made"] == pytest.approx(faithful["diversity/MS-SSIM real"])
    faint = image_monitors([{"synthetic": 0.5 * image, "target": image} for image in real])
    assert faint["diversity/variance over real"] == pytest.approx(0.25)
    alike = image_monitors([{"real": image, **{f"generated {n}": real[0] + 1e-3 * n for n in range(4)}}
                            for image in real])
    assert alike["diversity/made over real"] < 0.01 and alike["diversity/MS-SSIM made"] > 0.99


# Runs


def test_a_sound_run_has_curves_of_its_equilibrium_and_no_alert(run, images):
    alerts, _, rows = run("gan", images, 120, validation_fraction=0.25)
    assert alerts == set()
    assert {"equilibrium/JS divergence", "equilibrium/D on real", "equilibrium/D on made", "equilibrium/accuracy",
            "logit gap/real over made", "gradient norm/discriminator", "gradient norm/generator"} <= rows[-1].keys()
    assert {"diversity/MS-SSIM made", "diversity/variance over real"} <= rows[-1].keys()
    assert all(("equilibrium/accuracy" in row) == (row["step"] % EVERY == 0) for row in rows)


def test_a_critic_s_run_has_the_curve_of_the_wasserstein_distance(run, images):
    _, _, rows = run("wgan", images, 8, critic_turns=2)
    assert "wasserstein/estimate" in rows[-1] and "equilibrium/JS divergence" not in rows[-1]


def test_a_discriminator_that_overwhelms_the_generator_is_told(run, images):
    alerts, told, _ = run("gan", images, discriminator_learning_rate=1e-2, learning_rate=1e-6)
    assert "discriminator-wins" in alerts and "oscillation" not in alerts
    assert "real" in told


def test_the_minimax_generator_s_vanished_gradient_is_told(run, images):
    alerts, _, _ = run("gan", images, 88, adversarial="minimax", discriminator_learning_rate=0.3, learning_rate=1e-6)
    assert {"vanishing-gradient", "discriminator-wins"} <= alerts


def test_a_discriminator_that_is_turned_off_is_told_and_so_is_the_collapse_that_follows(run, images):
    """The generator goes on to the one image that it likes best."""
    alerts, _, _ = run("gan", images, 140, learning_rate=1e-2, discriminator_learning_rate=1e-7,
                       validation_fraction=0.25)
    assert {"discriminator-fails", "collapse"} <= alerts


def test_a_critic_that_is_turned_off_is_told(run, images):
    alerts, _, _ = run("wgan", images, 88, critic_turns=1, learning_rate=2e-3, discriminator_learning_rate=1e-7)
    assert "discriminator-fails" in alerts


def test_a_learning_rate_a_hundred_times_too_high_is_told(run, images):
    alerts, _, _ = run("gan", images, 160, learning_rate=2e-2)
    assert alerts & {"oscillation", "not-finite"}


def test_a_model_that_gives_its_training_image_back_is_told(run, tmp_path):
    from synthetic_cases import head

    for number in range(3):
        write_volume(head(0, (1, 20, 20)), tmp_path / "same" / "image" / f"copy-{number}.nii.gz")
    alerts, told, _ = run("gan", tmp_path / "same", 300, learning_rate=2e-3, width=8, critic_width=8)
    assert "memorization" in alerts and "copy-" in told


# Rules


def test_every_alert_of_the_monitors_has_advice():
    for name in ("discriminator-wins", "discriminator-fails", "vanishing-gradient", "oscillation", "collapse",
                 "memorization", "not-finite"):
        assert len(advice(name)) > 40


def test_an_alert_waits_until_trouble_lasts():
    wrong = [{"equilibrium/accuracy": 0.0}] * (2 * WATCHED)
    assert set(find_trouble(wrong)) == {"discriminator-fails"}
    assert find_trouble(wrong[:-1]) == {} and find_trouble([*wrong, {"equilibrium/accuracy": 0.6}]) == {}
    swings = [{"equilibrium/JS divergence": 0.3 + 0.2 * (n % 2)} for n in range(2 * WATCHED)]
    assert set(find_trouble(swings)) == {"oscillation"}
    assert find_trouble([{"equilibrium/JS divergence": 0.3 + 0.05 * (n % 2)} for n in range(2 * WATCHED)]) == {}
