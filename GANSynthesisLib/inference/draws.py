"""What each generated image is made from: drawn from a seed, between two others, or with one code varied."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from GANSynthesisLib.asking import Choices, Wish
from GANSynthesisLib.systems.base import Batch

SWEPT = 1.0  # continuous codes go from −1 to 1, as in training


@dataclasses.dataclass(frozen=True)
class Draw:
    """Noise (latent,), and what the image is to be: the same words as in `Wish`. row: of a picture of many."""

    noise: torch.Tensor
    class_name: str = ""
    value: float | None = None
    code: tuple[float, ...] = ()
    row: str = ""

    def told(self) -> dict:
        """What a report says about the image."""
        fields = {"class": self.class_name, "value": self.value, "code": list(self.code)}
        return {name: value for name, value in fields.items() if value not in ("", None, [])}


def drawn(able: Choices, latent: int, wish: Wish, count: int, seed: int) -> list[Draw]:
    """The n-th is the same for every count. Without a wish: classes in turn, values and codes at random."""
    random, draws = torch.Generator().manual_seed(seed), []
    for number in range(count):
        noise = torch.randn(latent, generator=random)
        class_name = wish.class_name or (able.classes[number % len(able.classes)] if able.classes else "")
        value = wish.value
        if able.value_range and value is None:
            low, high = able.value_range
            value = low + (high - low) * float(torch.rand((), generator=random))
        code = _code(able, wish, random) if able.categories else ()
        draws.append(Draw(noise, class_name, value, code))
    return draws


def _code(able: Choices, wish: Wish, random: torch.Generator) -> tuple[float, ...]:
    category = float(torch.randint(able.categories, (), generator=random))
    values = (2 * torch.rand(able.continuous, generator=random) - 1).tolist()
    given = wish.code or ()
    return (*given, *(category, *values)[len(given):])


def between(first: Draw, last: Draw, count: int) -> list[Draw]:
    """From one draw's noise to another's along the great circle, at equal angles; what they are to be is the first's.

    Noise of many numbers lies near a sphere: a straight way would leave it, and the images fade (White 2016).
    """
    a, b = first.noise, last.noise
    angle = torch.arccos((a @ b / (a.norm() * b.norm())).clamp(-1, 1))
    draws = []
    for share in torch.linspace(0, 1, count):
        noise = (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)
        draws.append(dataclasses.replace(first, noise=noise))
    return draws


def swept(able: Choices, draws: Sequence[Draw]) -> list[Draw]:
    """A row of images for each category, each of another noise; then one for each continuous code from −1 to 1, of the
    first draw's noise and category."""
    rows, count, still = [], len(draws), (0.0,) * able.continuous
    for category in range(able.categories):
        rows += [dataclasses.replace(each, code=(float(category), *still), row=f"category {category}")
                 for each in draws]
    for number in range(able.continuous):
        for column in range(count):
            values = list(still)
            values[number] = SWEPT * (2 * column / max(count - 1, 1) - 1)
            code = (draws[0].code[0], *values)
            rows.append(dataclasses.replace(draws[0], code=code, row=f"code {number + 1}"))
    return rows


def asked(draws: Sequence[Draw], able: Choices, labels: torch.Tensor | None, device: torch.device) -> Batch:
    """The batch that a system's `apply` takes. labels: (1, 1, D, H, W), the same for all."""
    batch = {"noise": torch.stack([each.noise for each in draws])}
    if able.classes:
        batch["class"] = torch.tensor([able.classes.index(each.class_name) for each in draws])
    if able.value_range:
        low, high = able.value_range
        batch["value"] = torch.tensor([2 * (each.value - low) / (high - low) - 1 for each in draws])
    if able.categories:
        categories = torch.tensor([int(each.code[0]) for each in draws])
        values = torch.tensor([each.code[1:] for each in draws]).reshape(len(draws), able.continuous)
        batch["code"] = torch.cat([torch.nn.functional.one_hot(categories, able.categories).float(), values], 1)
    if labels is not None:
        batch["labels"] = labels.expand(len(draws), -1, -1, -1, -1)
    return {name: tensor.to(device) for name, tensor in batch.items()}
