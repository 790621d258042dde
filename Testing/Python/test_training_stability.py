"""What keeps training steady, and what it does where numbers overflow."""

import math

import numpy as np
import pytest
import torch
import training_fixtures
from synthetic_cases import LABELS
from training_fixtures import FLAT, GENERATE, REGISTER, bits

from GANSynthesisLib.models import load_model
from GANSynthesisLib.training import Alert, train
from GANSynthesisLib.training.checkpoint import load_checkpoint
from GANSynthesisLib.training.stability import Average, ImagePool, learning_rate_factor

data, no_curves, one_thread = training_fixtures.data, training_fixtures.no_curves, training_fixtures.one_thread


def test_averaged_weights_follow_at_their_pace():
    net = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        net.weight.fill_(0)
        average = Average(net, 0.9)
        net.weight.fill_(1)
    average.update(net, 1)  # early: forgets the random start at once
    assert float(average.values["weight"]) == pytest.approx(1 - 2 / 11)
    with torch.no_grad():
        average.values["weight"].zero_()
    average.update(net, 10000)
    assert float(average.values["weight"]) == pytest.approx(0.1)
    assert float(net.weight.detach()) == 1


def test_the_saved_weights_are_the_averaged_ones(data, tmp_path):
    for name, decay in (("fast", 0.0), ("slow", 0.9999)):
        train("paired", data / "paired", tmp_path / f"{name}.safetensors", settings={**FLAT, "ema": decay}, steps=4)
    content = load_checkpoint(tmp_path / "fast.run" / "checkpoint.pt")
    fast = load_model(tmp_path / "fast.safetensors").build().state_dict()
    assert all(torch.equal(content["weights"][name], value) for name, value in fast.items())
    slow = load_model(tmp_path / "slow.safetensors").build().state_dict()
    average = load_checkpoint(tmp_path / "slow.run" / "checkpoint.pt")["average"]
    assert all(torch.equal(average[name], value) for name, value in slow.items())
    assert any(not torch.equal(fast[name], slow[name]) for name in fast)


@pytest.mark.parametrize(
    ("system", "folder", "settings"),
    [
        ("paired", "paired", {**FLAT, "adversarial_weight": 1}),
        ("cyclegan", "unpaired", {**FLAT, "segmentation_weight": 1, "labels": LABELS, "segmentor_width": 4}),
        ("wgan", "images", GENERATE),
        ("wgan_registration", "pairs", {**REGISTER, "patch": "24,24,24"}),
        ("adversarial_registration", "pairs", {
            **{key: value for key, value in REGISTER.items() if key != "keypoints"}, "patch": "24,24,24",
        }),
    ],
)
def test_bf16_computes_in_bf16_and_keeps_losses_and_weights_in_fp32(system, folder, settings, data, tmp_path,
                                                                    monkeypatch):
    seen, forward = set(), torch.nn.GroupNorm.forward
    monkeypatch.setattr(torch.nn.GroupNorm, "forward",
                        lambda norm, features: (seen.add(features.dtype), forward(norm, features))[1])
    arguments = {"settings": settings, "steps": 2, "device": "cpu"}
    for precision, dtype in (("32", torch.float32), ("bf16", torch.bfloat16)):
        seen.clear()
        train(system, data / folder, tmp_path / f"{precision}.safetensors", precision=precision, **arguments)
        assert dtype in seen
    half, full = (load_checkpoint(tmp_path / f"{name}.run" / "checkpoint.pt") for name in ("bf16", "32"))
    assert all(half["weights"][name].dtype == value.dtype for name, value in full["weights"].items())
    assert half["history"][-1].keys() == full["history"][-1].keys()
    assert all(math.isfinite(value) for value in half["history"][-1].values())


def test_the_learning_rate_rises_stays_and_falls_to_nothing():
    rates = [learning_rate_factor(step, 100, warmup=10, decay_from=0.5) for step in range(100)]
    assert rates[0] == 0.1
    assert rates[4] == 0.5
    assert rates[9:50] == [1.0] * 41
    assert rates[75] == 0.5
    assert rates[99] == pytest.approx(0.02)
    assert rates[50:] == sorted(rates[50:], reverse=True)
    assert learning_rate_factor(0, 10, warmup=0, decay_from=1) == 1
    assert learning_rate_factor(9, 10, warmup=0, decay_from=1) == 1


def test_optimizers_step_with_their_own_rate_warmed_up(data, tmp_path, monkeypatch):
    rates, step = [], torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda optimizer, *rest, **more: (
        rates.append(optimizer.param_groups[0]["lr"]), step(optimizer, *rest, **more))[1])
    settings = {**FLAT, "warmup": 2, "adversarial_weight": 1, "learning_rate": 1e-3,
                "discriminator_learning_rate": 4e-3, "decay_from": 1}
    train("paired", data / "paired", tmp_path / "m.safetensors", settings=settings, steps=3)
    assert rates == pytest.approx([5e-4, 2e-3, 1e-3, 4e-3, 1e-3, 4e-3])


def test_the_pool_shows_past_fakes_again_half_of_the_time():
    torch.manual_seed(0)
    pool, shown = ImagePool(10), []
    for number in range(400):
        shown.append(int(pool("target", torch.full((1, 1), float(number)))))
    assert shown[:10] == list(range(10))
    again = [number for number, value in enumerate(shown[10:], 10) if value != number]
    assert 0.4 < len(again) / 390 < 0.6
    assert len(set(shown[10:])) == len(shown[10:])  # an old fake leaves the pool when it is shown
    assert ImagePool(0)("target", torch.ones(2, 1)).tolist() == [[1], [1]]
    assert set(pool.images) == {"target"}


def poisoned(monkeypatch, calls: set[int] | None):
    """Paired training whose loss is NaN in these rounds (None: in all from the third on)."""
    from GANSynthesisLib.systems.paired import Paired

    turn, count = Paired.generator_turn, [0]

    def generator_turn(system, batch):
        count[0] += 1
        losses = turn(system, batch)
        bad = count[0] >= 3 if calls is None else count[0] in calls
        return {name: loss * math.nan for name, loss in losses.items()} if bad else losses

    monkeypatch.setattr(Paired, "generator_turn", generator_turn)


def test_nan_goes_back_to_the_last_good_checkpoint_with_a_named_alert(data, tmp_path, monkeypatch):
    poisoned(monkeypatch, {4})
    said = []
    settings = {**FLAT, "checkpoint_every": 2}
    output = train("paired", data / "paired", tmp_path / "m.safetensors", settings=settings, steps=5,
                   progress=lambda fraction, text: said.append(text))
    (alert,) = load_model(output).card.training["alerts"]
    assert (alert["name"], alert["step"]) == ("not-finite", 2)
    assert "NaN at step 4: back to step 2 at half the learning rate" in alert["text"]
    assert any("alert not-finite" in text for text in said)
    content = load_checkpoint(tmp_path / "m.run" / "checkpoint.pt")
    assert (content["step"], content["slowdown"]) == (5, 0.5)
    assert all(np.isfinite(np.frombuffer(value, np.float32)).all() for value in bits(output).values())


def test_weights_that_overflow_without_a_nan_loss_never_reach_a_checkpoint(data, tmp_path, monkeypatch):
    step, count = torch.optim.AdamW.step, [0]

    def overflow(optimizer, *rest, **more):
        answer = step(optimizer, *rest, **more)
        count[0] += 1
        if count[0] == 2:
            with torch.no_grad():
                optimizer.param_groups[0]["params"][0].fill_(math.inf)
        return answer

    monkeypatch.setattr(torch.optim.AdamW, "step", overflow)
    output = train("paired", data / "paired", tmp_path / "m.safetensors", settings=FLAT, steps=2)
    assert [alert["name"] for alert in load_model(output).card.training["alerts"]] == ["not-finite"]
    assert all(np.isfinite(np.frombuffer(value, np.float32)).all() for value in bits(output).values())


def test_nan_that_comes_back_ends_in_an_alert_with_advice(data, tmp_path, monkeypatch):
    poisoned(monkeypatch, None)
    output = tmp_path / "m.safetensors"
    output.write_bytes(b"an older model")
    with pytest.raises(Alert, match=r"Alert not-finite: .* lower learning_rate, set clip_gradient=1"):
        train("paired", data / "paired", output, settings=FLAT, steps=6)
    assert output.read_bytes() == b"an older model"
    assert load_checkpoint(tmp_path / "m.run" / "checkpoint.pt")["alerts"][-1]["name"] == "not-finite"
