"""Adversarial objectives on raw logits: what the two sides of the game minimize.

No activation is applied before these functions: a discriminator ends in a plain convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
import torch.nn.functional as F

KINDS = ("minimax", "non-saturating", "least-squares", "hinge", "wasserstein")


@dataclass(frozen=True)
class Judged:
    """Raw logits (any shape) that a discriminator or critic gave to real and to made images."""

    kind: str
    real: torch.Tensor
    fake: torch.Tensor


_watched: ContextVar[list[Judged] | None] = ContextVar("watched", default=None)


@contextmanager
def watched() -> Iterator[list[Judged]]:
    """Within, whatever `discriminator_loss` is given is also put, detached, into this list: whoever wants to see how
    a game stands can look on without the systems knowing."""
    seen: list[Judged] = []
    token = _watched.set(seen)
    try:
        yield seen
    finally:
        _watched.reset(token)


def discriminator_loss(kind: str, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Loss of the discriminator or critic, given raw logits of real and generated images (any shape).

    minimax and non-saturating: binary cross-entropy (Goodfellow 2014); least-squares: squared error to 1 and 0
    (Mao 2017); hinge: margin 1 (Lim and Ye 2017); wasserstein: difference of the mean scores (Arjovsky 2017), which
    needs `gradient_penalty` or `clip_weights` to keep the critic 1-Lipschitz.
    """
    real, fake = real.float(), fake.float()
    seen = _watched.get()
    if seen is not None:
        seen.append(Judged(kind, real.detach(), fake.detach()))
    if kind in ("minimax", "non-saturating"):
        return F.softplus(-real).mean() + F.softplus(fake).mean()
    if kind == "least-squares":
        return (real - 1).square().mean() + fake.square().mean()
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    if kind == "wasserstein":
        return fake.mean() - real.mean()
    raise ValueError(f"unknown adversarial objective {kind!r}; there are: {', '.join(KINDS)}.")


def generator_loss(kind: str, fake: torch.Tensor) -> torch.Tensor:
    """Loss of the generator, given raw logits of its images.

    minimax minimizes log(1 − D(G(z))), which stops teaching once D is sure; non-saturating minimizes −log D(G(z)),
    the form Goodfellow 2014 trains with. The others mirror `discriminator_loss`.
    """
    fake = fake.float()
    if kind == "minimax":
        return -F.softplus(fake).mean()
    if kind == "non-saturating":
        return F.softplus(-fake).mean()
    if kind == "least-squares":
        return (fake - 1).square().mean()
    if kind in ("hinge", "wasserstein"):
        return -fake.mean()
    raise ValueError(f"unknown adversarial objective {kind!r}; there are: {', '.join(KINDS)}.")


def gradient_penalty(
    critic: Callable[[torch.Tensor], torch.Tensor], real: torch.Tensor, fake: torch.Tensor
) -> torch.Tensor:
    """Mean squared distance of ‖∇critic‖ from 1 at random points between real and fake (Gulrajani 2017).

    real, fake: (B, …) of one shape. Computed in fp32 outside autocast: squared gradient norms underflow in bf16.
    """
    with torch.autocast(real.device.type, enabled=False):
        real, fake = real.detach().float(), fake.detach().float()
        share = torch.rand(real.shape[0], *[1] * (real.dim() - 1), device=real.device)
        between = torch.lerp(real, fake, share).requires_grad_(True)
        (gradient,) = torch.autograd.grad(critic(between).float().sum(), between, create_graph=True)
        # The small constant keeps the derivative of the root finite where the critic is flat.
        norm = (gradient.flatten(1).square().sum(1) + 1e-12).sqrt()
        return (norm - 1).square().mean()


@torch.no_grad()
def clip_weights(critic: torch.nn.Module, bound: float) -> None:
    """Clamp every weight of the critic to ±bound, the original's Lipschitz constraint (Arjovsky 2017)."""
    for weight in critic.parameters():
        weight.clamp_(-bound, bound)
