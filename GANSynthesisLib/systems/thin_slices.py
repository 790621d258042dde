"""Thin slices from thick ones, of one stack or of two that cross each other."""

from __future__ import annotations

import dataclasses

import torch

from GANSynthesisLib.networks.stacks import Addition, DenseUNetBody, Refined, YNetBody
from GANSynthesisLib.networks.translation import Translator
from GANSynthesisLib.objectives.image import masked_l1
from GANSynthesisLib.systems.acquisition import (
    PROFILES,
    interpolated,
    slice_profile,
    thick_slices,
    with_rician_noise,
)
from GANSynthesisLib.systems.base import Batch, Losses
from GANSynthesisLib.systems.reconstruction import ACQUIRED, Reconstruction, ReconstructionSettings
from GANSynthesisLib.systems.settings import SettingsError, setting

FIRST, SECOND = "thick", "second"
MOST_LEFT_OUT, LEAST_DEPTH = 7, 12  # thin slices


@dataclasses.dataclass(frozen=True)
class ThinSlicesSettings(ReconstructionSettings):
    factor: int = setting(3, "thin slices per thick one (6 mm to 2 mm: 3)", low=2, high=8, common=True)
    profile: str = setting(
        "gaussian", "how thick slices are simulated: gaussian, its width at half maximum the thickness, or boxcar, "
        "the mean over it", choices=PROFILES, common=True,
    )
    weight_decay: float = setting(1e-5, "decoupled L2 weight decay (Li 2017)", low=0, high=1.0)
    second_stack: bool = setting(
        False, "a second stack of thick slices, across the first, is given as well (Gu 2019); needs cubic fine "
        "voxels, and has networks of its own instead of a backbone", common=True,
    )

    def __post_init__(self):
        super().__post_init__()
        least = len(slice_profile(self.profile, self.factor)) + 2 * self.factor
        across = self.window()[2] if self.second_stack else least
        if min(self.window()[0], across) < least:
            raise SettingsError(
                f"patch is {'x'.join(map(str, self.window()))}, too small for three thick slices of factor "
                f"{self.factor}: give at least {least} along the slices{' and columns' * self.second_stack}."
            )
        if self.second_stack and len(set(self.spacing)) > 1:
            raise SettingsError(
                "spacing must be one number with second_stack: both stacks are made of the same cubic voxels."
            )

    def seen(self) -> tuple[str, ...]:
        return (FIRST, SECOND, ACQUIRED) if self.second_stack else (FIRST, ACQUIRED)


class ThinSlices(Reconstruction):
    """The slices missing between thick ones, by a residual 3D network with an adversary (Li 2017).

    Needs volumes of thin slices, `image`; gives `thin` for a volume of `thick` slices: its slices are among those of
    the result, unchanged, with factor − 1 new ones between each two. Thick slices are simulated by their profile, not
    by leaving slices out. The perceptual loss is that of a frozen network (feature_weight); the discriminator is shown
    past results as well (pool), which is how the paper's sustained adversarial loss is read here, and weights are
    regularized by decay. With second_stack, a Y-shaped network joins two stacks that cross, such as an axial and a
    sagittal one, and a dense U-Net refines what it makes (Gu 2019). Changed from the papers: networks add to cubic
    interpolation; the losses are those of paired translation; real and made slices are judged between the same
    acquired ones; both stages of the Y-shaped network learn in one run, and one discriminator judges the second.
    """

    name = "thin_slices"
    title = "Thin slices from thick ones"
    citation = (
        "Li Z. et al. Reconstruction of Thin-Slice Medical Images Using Generative Adversarial Network. MLMI 2017. "
        "Gu J. et al. Deep Generative Adversarial Networks for Thin-Section Infant MR Image Reconstruction. IEEE "
        "Access 2019."
    )
    Settings = ThinSlicesSettings
    output = "thin"
    all_axes = False
    interpolate = staticmethod(interpolated)

    def _make_generator(self) -> torch.nn.Module:
        settings = self.settings
        if not settings.second_stack:
            return super()._make_generator()

        def addition(channels: int, body: type[torch.nn.Module]) -> Addition:
            translator = Translator(channels, 1, "3D", width=settings.width, levels=1)
            translator.body = body(3, channels, settings.width, settings.levels)
            return Addition(translator)

        return Refined(addition(3, YNetBody), addition(4, DenseUNetBody))

    def acquire(self, image: torch.Tensor) -> Batch:
        settings = self.settings

        def stack(axis: int) -> tuple[torch.Tensor, slice]:
            thick, covered = thick_slices(image, settings.profile, settings.factor, axis)
            thick = with_rician_noise(thick, settings.noise).clamp(-1, 1)
            return interpolated(thick, settings.factor, axis).clamp(-1, 1), covered

        first, depth = stack(2)
        target, found = image[:, :, depth], {FIRST: first}
        if settings.second_stack:
            second, columns = stack(4)
            found[SECOND] = second[:, :, depth]
            found[FIRST], target = first[..., columns], target[..., columns]
        acquired = torch.zeros_like(target)
        acquired[:, :, :: settings.factor] = 1
        # What was acquired is not to be learned, and must not tell a real volume from a made one.
        target = torch.where(acquired > 0, found[FIRST], target)
        return {**found, ACQUIRED: acquired, "target": target}

    def drawn(self, image: torch.Tensor) -> Batch:
        """Without some slices at either end, at random.

        Networks that pool see every second, fourth … slice as another one. Patches that all began with an acquired
        slice would show them few of the ways in which these and the acquired slices can meet in a whole volume.
        """
        acquired = self.acquire(image)
        depth, spare = acquired["target"].shape[2], acquired["target"].shape[2] - LEAST_DEPTH
        first = int(torch.randint(min(MOST_LEFT_OUT, max(spare, 0)) + 1, ()))
        last = depth - int(torch.randint(min(MOST_LEFT_OUT // 2, max(spare - first, 0)) + 1, ()))
        return {role: images[:, :, first:last] for role, images in acquired.items()}

    def generator_turn(self, batch: Batch) -> Losses:
        if not self.settings.second_stack:
            return super().generator_turn(batch)
        self._drawn = self.drawn(batch["image"])
        source, target = self.source(self._drawn), self._drawn["target"]
        first, fake = self.generator.both(source)
        self.fakes["pair"] = torch.cat([source, fake], 1).detach()
        return {**self.translation_losses(source, fake, target), "fusion": masked_l1(first, target)}
