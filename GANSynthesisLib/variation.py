"""How an image is varied and stays the same image: left and right exchanged, turned, scaled, its contrast changed.

In training, so that networks come to give the same answer; of a trained model, to see where they do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

TURN = 12  # degrees, about the axis across the slices
SCALE = 0.1  # of the natural logarithm
GAMMA, LEVEL = 0.3, 0.2  # of the natural logarithm of the exponent; of the factor
Contrast = tuple[float, float]  # exponent and factor of intensities; tensors (B, 1, 1, 1, 1) for those of a batch


def contrasted(image: torch.Tensor, contrast: Contrast) -> torch.Tensor:
    """An image in [−1, 1] with another contrast."""
    gamma, level = contrast
    return (((image + 1) / 2).clamp(min=0) ** gamma * level * 2 - 1).clamp(-1, 1)


@dataclass(frozen=True)
class Variation:
    """One variation of the images of a case, (C, D, H, W) along canonical axes, and its way back.

    angle: radians in the plane of the slices. scale: of sizes. contrasts: role -> contrast.
    """

    mirrored: bool = False
    angle: float = 0.0
    scale: float = 1.0
    contrasts: dict[str, Contrast] = field(default_factory=dict)

    @staticmethod
    def drawn(roles, augment: float, augment_intensity: float, random: torch.Generator) -> Variation:
        """Within what training draws with these settings; every second one is not turned, and so not blurred."""
        def uniform(bound: float) -> float:
            return bound * (2 * float(torch.rand((), generator=random)) - 1)

        mirrored, turned = uniform(1) < 0, uniform(1) < 0
        angle, scale = uniform(math.radians(TURN)) * augment, math.exp(uniform(SCALE) * augment)
        contrasts = {
            role: (math.exp(uniform(GAMMA) * augment_intensity), 1 + uniform(LEVEL) * augment_intensity)
            for role in roles
        }
        return Variation(
            mirrored, angle if turned else 0.0, scale if turned else 1.0, contrasts if augment_intensity else {})

    def of(self, image: torch.Tensor, role: str) -> torch.Tensor:
        """The varied image, −1 where it shows what lay outside."""
        image = image.flip(-1) if self.mirrored else image
        image = self._turned(image, 1, lowest=-1.0)
        return contrasted(image, self.contrasts[role]) if role in self.contrasts else image

    def back(self, answer: torch.Tensor) -> torch.Tensor:
        """What a network gave for the varied images, in the place of the images as they were."""
        answer = self._turned(answer, -1)
        return answer.flip(-1) if self.mirrored else answer

    def _turned(self, image: torch.Tensor, sense: int, lowest: float | None = None) -> torch.Tensor:
        """Beyond the border there is the lowest value, or where none is given, that of the border."""
        if self.angle == 0 and self.scale == 1:
            return image
        rows, columns = image.shape[-2:]
        cosine, sine, scale = math.cos(self.angle), sense * math.sin(self.angle), self.scale**sense
        across = rows / columns  # coordinates run from −1 to 1 along either axis
        matrix = torch.tensor([[cosine, -sine * across, 0], [sine / across, cosine, 0]]) * scale
        grid = F.affine_grid(matrix[None], [1, 1, rows, columns], align_corners=False)
        slices, outside = image.flatten(0, 1)[None], lowest or 0.0
        padding = "border" if lowest is None else "zeros"
        turned = F.grid_sample(slices - outside, grid, padding_mode=padding, align_corners=False) + outside
        return turned[0].view_as(image)
