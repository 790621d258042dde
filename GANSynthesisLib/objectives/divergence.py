"""How far a game is from its equilibrium, as the discriminator or critic sees it.

The best discriminator against a generator is D*(x) = p_data(x) / (p_data(x) + p_made(x)) (Goodfellow 2014): ½ all over
once made images cannot be told from real ones. What it reaches of its objective tells how different the two are:

    cross-entropy  its loss is 2 log 2 − 2 JS    Jensen–Shannon divergence, in bits   (Goodfellow 2014)
    least squares  its loss is (1 − Δ) / 2       triangular discrimination Δ          (the game: Mao 2017)
    hinge          its loss is 2 − 2 TV          total variation                      (Lim and Ye 2017)
    critic         its loss is −W                Wasserstein-1 distance, in scores    (Arjovsky 2017)

The first three lie between 0 (the same) and 1 (nothing in common). A discriminator that is not the best one, as all
that are trained, gives a lower bound, which falls below 0 where it does worse than guessing.
"""

from __future__ import annotations

import math

import torch

from GANSynthesisLib.objectives.adversarial import Judged, discriminator_loss

_BOUNDED = {
    "minimax": ("JS divergence", lambda loss: 1 - loss / (2 * math.log(2))),
    "non-saturating": ("JS divergence", lambda loss: 1 - loss / (2 * math.log(2))),
    "least-squares": ("triangular discrimination", lambda loss: 1 - 2 * loss),
    "hinge": ("total variation", lambda loss: 1 - loss / 2),
}
DIVERGENCES = tuple(f"equilibrium/{name}" for name in dict.fromkeys(name for name, _ in _BOUNDED.values()))


def equilibrium(judged: list[Judged]) -> dict[str, torch.Tensor]:
    """Named numbers (scalars) of all that was judged in a round, averaged over its judges.

    `equilibrium/accuracy`: part of the logits on the right side, of a critic's on the right side of their middle;
    `equilibrium/D on real`, `… on made`: estimates of D*, of discriminators that answer with a probability;
    `equilibrium/` and the divergence of the objective, or `wasserstein/estimate`;
    `logit gap/real over made`: difference of the mean logits of a discriminator.
    """
    found: dict[str, list[torch.Tensor]] = {}
    for each in judged:
        for name, value in _of_one(each).items():
            found.setdefault(name, []).append(value)
    return {name: torch.stack(values).mean() for name, values in found.items()}


def _of_one(judged: Judged) -> dict[str, torch.Tensor]:
    kind, real, fake = judged.kind, judged.real, judged.fake
    gap = real.mean() - fake.mean()
    if kind == "wasserstein":
        return {"equilibrium/accuracy": _accuracy(real, fake, (real.mean() + fake.mean()) / 2),
                "wasserstein/estimate": gap}
    name, divergence = _BOUNDED[kind]
    found = {"equilibrium/accuracy": _accuracy(real, fake, 0.5 if kind == "least-squares" else 0.0),
             f"equilibrium/{name}": divergence(discriminator_loss(kind, real, fake)),
             "logit gap/real over made": gap}
    if kind != "hinge":
        probability = (lambda logits: logits.clamp(0, 1)) if kind == "least-squares" else torch.sigmoid
        found |= {"equilibrium/D on real": probability(real).mean(), "equilibrium/D on made": probability(fake).mean()}
    return found


def _accuracy(real: torch.Tensor, fake: torch.Tensor, threshold: torch.Tensor | float) -> torch.Tensor:
    return ((real > threshold).float().mean() + (fake < threshold).float().mean()) / 2
