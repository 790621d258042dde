"""What the systems share that make a finer volume of a coarse one: they learn from fine volumes alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import torch

from GANSynthesisLib.networks.stacks import Addition
from GANSynthesisLib.systems.base import Batch, Losses
from GANSynthesisLib.systems.paired import Paired, PairedSettings
from GANSynthesisLib.systems.settings import setting
from GANSynthesisLib.systems.translation import translation_error

ACQUIRED = "acquired"  # an image that is 1 where a voxel was acquired and 0 where it is to be made


@dataclasses.dataclass(frozen=True)
class ReconstructionSettings(PairedSettings):
    context: str = setting("3D", "reconstruction is volumetric", choices=("3D",))
    patch: tuple[int, ...] = setting(
        (40, 64, 64), "depth, rows, columns of a training patch, in fine voxels", low=8, high=512
    )
    spacing: tuple[float, ...] = setting(
        (0.0,), "size in mm of the fine voxels, one number or three (the slices' last); 0 keeps the image's own",
        low=0, high=20, common=True,
    )
    factor: int = setting(3, "times that the voxels given are larger than the ones made", low=2, high=8, common=True)
    noise: float = setting(0.0, "noise of the voxels given, as a part of their range", low=0, high=0.5, common=True)
    mask_background: bool = setting(True, "outside the foreground, voxels are interpolated and nothing is added")
    augment_intensity: float = setting(0.0, "not here: the image is the reference, too", low=0, high=0)
    sources: tuple[str, ...] = setting((), "not here, and not heeded: the coarse image is made of the fine one")
    target_modality: str = setting("", "not here, and not heeded: that of the image")
    target_intensity: str = setting("", "not here, and not heeded: that of the image")

    def __post_init__(self):
        super().__post_init__()
        given = {"sources": self.seen(), "target_modality": self.modality, "target_intensity": self.intensity}
        for name, value in given.items():
            object.__setattr__(self, name, value)

    def seen(self) -> tuple[str, ...]:
        """Roles of the images that the generator sees, the interpolated one first and `acquired` last."""
        raise NotImplementedError

    @property
    def inputs(self) -> tuple[str, ...]:
        """Those of them that a user gives."""
        return tuple(role for role in self.sources if role != ACQUIRED)


class Reconstruction(Paired):
    """Residual networks that add to interpolation what it lacks; the losses are those of paired translation.

    Fine and coarse image of a pair are made of one fine volume, `image`, by simulating how the coarse one would have
    been acquired, anew for every patch. A subclass says how (`acquire`) and how it is interpolated.
    """

    task = "reconstruct"
    roles = ("image",)
    output: ClassVar[str]
    all_axes: ClassVar[bool]  # whether voxels are larger along all axes, or along the slices' alone

    def __init__(self, settings: ReconstructionSettings):
        super().__init__(settings)
        self.roles, self._drawn = type(self).roles, {}

    def _make_generator(self) -> torch.nn.Module:
        return Addition(self._make_translator(len(self.settings.sources)))

    def acquire(self, image: torch.Tensor) -> Batch:
        """Of fine images (B, 1, D, H, W): `settings.sources`, and `target`, on one fine grid."""
        raise NotImplementedError

    def drawn(self, image: torch.Tensor) -> Batch:
        """What a turn learns from: as `acquire`, and where it matters, only a part of it."""
        return self.acquire(image)

    @staticmethod
    def interpolate(image: torch.Tensor, factor: int, axis: int) -> torch.Tensor:
        """The image with `factor` times as many samples along a dimension, from the first to the last."""
        raise NotImplementedError

    def coarse(
        self, spacing: Sequence[float | None] | None, shape: Sequence[int]
    ) -> tuple[tuple[float | None, ...] | None, tuple[int, ...]]:
        """Of the images given, from the fine voxels': their size in mm along (i, j, k), the slices' last, and how many
        (D, H, W) of them there are."""
        factor = self.settings.factor
        times = (factor if self.all_axes else 1,) * 2 + (factor,)
        larger = spacing and tuple(size and size * each for size, each in zip(spacing, times, strict=True))
        return larger, tuple(max(1, size // each) for size, each in zip(shape, reversed(times), strict=True))

    def generator_turn(self, batch: Batch) -> Losses:
        self._drawn = self.drawn(batch["image"])
        return super().generator_turn(self._drawn)

    def discriminator_turn(self, batch: Batch) -> Losses:
        """Judges the pairs of the generator's turn: their noise is drawn once."""
        return super().discriminator_turn(self._drawn)

    def validate(self, batch: Batch) -> dict[str, float]:
        acquired = self.acquire(batch["image"])
        base, target = acquired[self.settings.sources[0]], acquired["target"]
        return {**super().validate(acquired), "interpolation_mae": translation_error(base, target, base)}

    def preview(self, batch: Batch) -> dict[str, torch.Tensor]:
        return super().preview(self.acquire(batch["image"]))

    def apply(self, inputs: Batch) -> dict[str, torch.Tensor]:
        return {self.output: self.generator(self.source(inputs))}

    @classmethod
    def needs(cls, settings: ReconstructionSettings) -> dict[str, tuple[str, ...]]:
        return {cls.output: settings.inputs}

    @classmethod
    def role_of(cls, port: str) -> str:
        """Images given and made are all of the kind that the system was trained on."""
        return "image"
