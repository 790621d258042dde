"""What keeps training steady: averaged weights, the pool of past fakes, the learning-rate schedule; and what is wrong
where it is not."""

from __future__ import annotations

import statistics

import torch
from torch import nn

ADVERSARIES = ("discriminator", "discriminators", "critic")
WATCHED = 10  # logged rows in a row that must show the same trouble
VANISHED = 1e-3  # of the gradient norm that a player began with
UNBEATEN = 0.01  # loss of a discriminator that is never wrong; one that can only guess has 0.25 or more
COLLAPSED = 0.1  # of the real images' diversity
FIRST_ROWS, LAST_ROWS = 2 * WATCHED, 500  # of a long history, those that are looked at


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


def image_diversity(images: list[torch.Tensor]) -> float:
    """Standard deviation between images of one shape, voxel by voxel, averaged over the voxels."""
    return float(torch.stack([image.float() for image in images]).std(0).mean())


def diversity_ratio(previews: list[dict[str, torch.Tensor]]) -> float | None:
    """How much made images differ from each other, as a fraction of how much real ones do; None where that is not to
    be told: fewer than two of either, or real ones that are all alike.

    previews: of several validation batches, as `System.preview` gives them.
    """
    made, real = [], []
    for preview in previews:
        made += [image for name, image in preview.items() if name.startswith(("synthetic", "generated"))]
        real += [preview[name] for name in ("target", "some target", "real") if name in preview][:1]
    if len(made) < 2 or len(real) < 2:
        return None
    spread = image_diversity(real)
    return image_diversity(made) / spread if spread > 1e-3 else None


def find_trouble(history: list[dict]) -> dict[str, str]:
    """Name of an alert -> what is seen, for the ways in which a game goes wrong, as far as logged rows show them.

    `vanishing-gradient`: for the last rows a player that makes something hardly had a gradient, or a discriminator was
    never wrong and so teaches nothing. `collapse`: at the last two looks the made images hardly differed.
    """
    if len(history) > FIRST_ROWS + LAST_ROWS:
        history = history[:FIRST_ROWS] + history[-LAST_ROWS:]
    found = {}
    for name in sorted({name for row in history for name in row}):
        values = [row[name] for row in history if name in row]
        last, (family, _, term) = values[-WATCHED:], name.partition("/")
        if len(values) < 2 * WATCHED:
            continue
        if family == "gradient norm" and term not in ADVERSARIES:
            if max(last) < VANISHED * statistics.median(values[:WATCHED]):
                found["vanishing-gradient"] = f"the gradient of the {term} fell to {last[-1]:.2g}"
        elif family in ("discriminator", "discriminators") and 0 <= min(last) and max(last) < UNBEATEN:
            found["vanishing-gradient"] = f"{term} tells made from real images without an error (loss {last[-1]:.2g})"
    ratios = [row["diversity/made over real"] for row in history if "diversity/made over real" in row]
    if len(ratios) > 1 and max(ratios[-2:]) < COLLAPSED:
        found["collapse"] = f"made images differ from each other {ratios[-1]:.2g} times as much as real ones"
    return found
