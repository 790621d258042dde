"""What keeps training steady: averaged weights, the pool of past fakes, the learning-rate schedule."""

from __future__ import annotations

import torch
from torch import nn

ADVERSARIES = ("discriminator", "discriminators", "critic")


class Average:
    """Exponential moving average of the weights and buffers of a system: what the model is saved with."""

    def __init__(self, system: nn.Module, decay: float):
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in system.state_dict().items()}

    @torch.no_grad()
    def update(self, system: nn.Module, step: int) -> None:
        # Early on the average forgets faster, so that it does not drag the random start along.
        decay = min(self.decay, (1 + step) / (10 + step))
        pairs = [(self.values[name], value) for name, value in system.state_dict().items()]
        torch._foreach_lerp_(*zip(*[pair for pair in pairs if pair[0].is_floating_point()], strict=True), 1 - decay)
        for kept, value in pairs:
            if not kept.is_floating_point():
                kept.copy_(value)


class ImagePool:
    """Past fakes, mixed into what a discriminator sees so that it does not forget (Shrivastava 2017).

    Half of the time a fake is answered with an older one and takes its place. Drawing is from the global random state,
    which the checkpoint saves.
    """

    def __init__(self, size: int):
        self.size = size
        self.images: dict[str, list[torch.Tensor]] = {}

    def __call__(self, name: str, fakes: torch.Tensor) -> torch.Tensor:
        if self.size == 0:
            return fakes
        kept, answer = self.images.setdefault(name, []), []
        for fake in fakes:
            if len(kept) < self.size:
                kept.append(fake.detach().clone())
                answer.append(fake)
            elif torch.rand(()) < 0.5:
                place = int(torch.randint(self.size, ()))
                answer.append(kept[place])
                kept[place] = fake.detach().clone()
            else:
                answer.append(fake)
        return torch.stack(answer)


def learning_rate_factor(step: int, steps: int, warmup: int, decay_from: float) -> float:
    """Linear rise over `warmup` steps, then 1, then a linear fall to 0 from `decay_from` of the run (Zhu 2017)."""
    rise = min(1.0, (step + 1) / warmup) if warmup > 0 else 1.0
    start = decay_from * steps
    fall = 1.0 if step < start else max(0.0, (steps - step) / max(steps - start, 1))
    return rise * fall
