"""One network for any missing contrast (CollaGAN)."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from GANSynthesisLib.networks.discriminators import PatchDiscriminator
from GANSynthesisLib.networks.translation import Translator
from GANSynthesisLib.objectives.adversarial import discriminator_loss, generator_loss
from GANSynthesisLib.objectives.image import structural_similarity
from GANSynthesisLib.systems.base import Batch, Losses, System
from GANSynthesisLib.systems.settings import SettingsError, setting
from GANSynthesisLib.systems.translation import TranslatorSettings, middle, translation_error

SYNTHETIC = "synthetic_"  # outputs are named after the contrast that they are of


@dataclasses.dataclass(frozen=True)
class CollaGANSettings(TranslatorSettings):
    sources: tuple[str, ...] = setting(
        ("T1", "T1c", "T2", "FLAIR"), "roles of the contrasts, of which any one may be missing", common=True
    )
    augment_intensity: float = setting(0.0, "not here: every contrast is a reference, too", low=0, high=0)
    voxel_weight: float = setting(
        10.0, "weight of the error of the made contrast itself (Lee 2019: 0)", low=0, high=1000, common=True
    )
    cycle_weight: float = setting(
        10.0, "weight of the multiple cycle: every other contrast made again from the made one", low=0, high=1000,
        common=True,
    )
    similarity_weight: float = setting(1.0, "weight of the structural similarity in the cycle", low=0, high=1000)
    adversarial_weight: float = setting(1.0, "weight of the adversarial loss", low=0, high=1000, common=True)
    contrast_weight: float = setting(1.0, "weight of being recognized as the right contrast", low=0, high=1000)


class CollaGAN(System):
    """Imputation of any one missing contrast from all the others by one generator and one discriminator (Lee 2019).

    Needs registered cases with every one of `sources`; gives `synthetic_X` of the contrast X that is not given. The
    generator sees the contrasts that there are, black for the missing one, and a channel per contrast that says which
    it is. From the made contrast every other one is made again (multiple cycle); the discriminator also tells which
    contrast it sees, learned from real images alone. Changed from the paper: the made contrast is also held against
    the real one, which registered cases have; a U-Net in place of the paper's multi-branch one.
    """

    name = "collagan"
    title = "CollaGAN: any missing contrast"
    task = "synthesize"
    roles = ("T1", "T1c", "T2", "FLAIR")
    turns = ("generator", "discriminator")
    players = {"generator": ("generator",), "discriminator": ("discriminator",)}
    citation = "Lee D. et al. CollaGAN: Collaborative GAN for Missing Image Data Imputation. CVPR 2019."
    Settings = CollaGANSettings
    advice = "name the contrasts that there are with the setting sources"
    criterion = "mae"

    def __init__(self, settings: CollaGANSettings):
        super().__init__(settings)
        if len(set(settings.sources)) < max(2, len(settings.sources)):
            raise SettingsError(f"sources is {settings.sources}: name two or more contrasts, each once.")
        if taken := {"target", "labels"} & set(settings.sources):
            raise SettingsError(f"sources names '{taken.pop()}', which is no contrast: call it by its modality.")
        self.roles = settings.sources
        count, shape = len(settings.sources), {"context": settings.context, "slab": settings.slab}
        self.generator = Translator(
            2 * count, 1, **shape, width=settings.width, backbone=settings.backbone, levels=settings.levels,
            blocks=settings.blocks,
        )
        # One logit for real or made, and one per contrast.
        self.discriminator = PatchDiscriminator(
            1, **shape, width=settings.discriminator_width, layers=settings.discriminator_layers, answers=1 + count
        )

    def make(self, images: Batch, missing: str) -> torch.Tensor:
        """The missing contrast (B, 1, D, H, W) from the others; an image of it in `images` is not looked at."""
        like = next(image for name, image in images.items() if name != missing)
        seen = [torch.full_like(like, -1) if name == missing else images[name] for name in self.roles]
        which = [torch.full_like(like, float(name == missing)) for name in self.roles]
        return self.generator(torch.cat([*seen, *which], 1))

    def generator_turn(self, batch: Batch) -> Losses:
        images = {name: batch[name] for name in self.roles}
        missing = self.roles[int(torch.randint(len(self.roles), ()))]
        made = self.make(images, missing)
        others = [name for name in self.roles if name != missing]
        again = {name: self.make(images | {missing: made}, name) for name in others}
        verdicts = {name: self.discriminator(image) for name, image in {missing: made, **again}.items()}
        self.fakes = {name: image.detach() for name, image in {missing: made, **again}.items()}

        def mean(losses) -> torch.Tensor:
            return torch.stack(list(losses)).mean()

        return {
            "voxel": F.l1_loss(made, images[missing]),
            "cycle": mean(F.l1_loss(again[name], images[name]) for name in others),
            "similarity": mean(
                -((1 + structural_similarity(again[name], images[name])) / 2).clamp(min=1e-3).log() for name in others
            ),
            "adversarial": mean(
                generator_loss(self.settings.adversarial, verdict[:, :1]) for verdict in verdicts.values()
            ),
            "contrast": mean(self._recognized(verdict, name) for name, verdict in verdicts.items()),
        }

    def discriminator_turn(self, batch: Batch) -> Losses:
        judged, recognized = [], []
        for name in self.roles:
            real = self.discriminator(batch[name])
            fake = self.discriminator(self.pooled(name, self.fakes[name]))
            judged.append(discriminator_loss(self.settings.adversarial, real[:, :1], fake[:, :1]))
            recognized.append(self._recognized(real, name))
        return {"discriminator": torch.stack(judged).mean() / 2, "contrast": torch.stack(recognized).mean()}

    def _recognized(self, verdict: torch.Tensor, name: str) -> torch.Tensor:
        """Cross-entropy of the contrast that a verdict (B, 1 + contrasts, …) says on average over its patches."""
        scores = verdict[:, 1:].flatten(2).mean(2)
        return F.cross_entropy(scores, torch.full((len(scores),), self.roles.index(name), device=scores.device))

    def validate(self, batch: Batch) -> dict[str, float]:
        """Each contrast missing in turn."""
        context, errors = self.settings.context, {}
        for name in self.roles:
            made, other = self.make(batch, name), batch[next(each for each in self.roles if each != name)]
            errors[f"mae_{name}"] = translation_error(*(middle(each, context) for each in (made, batch[name], other)))
        return {"mae": sum(errors.values()) / len(errors), **errors}

    def preview(self, batch: Batch) -> dict[str, torch.Tensor]:
        images = {}
        for name in self.roles:
            images |= {name: batch[name], f"made {name}": self.make(batch, name)}
        return images

    def apply(self, inputs: Batch) -> dict[str, torch.Tensor]:
        """`synthetic_X` of the one contrast X that is not among the inputs."""
        (missing,) = (name for name in self.roles if name not in inputs)
        return {SYNTHETIC + missing: self.make(inputs, missing)}

    @classmethod
    def needs(cls, settings: CollaGANSettings) -> dict[str, tuple[str, ...]]:
        return {
            SYNTHETIC + name: tuple(other for other in settings.sources if other != name) for name in settings.sources
        }

    @classmethod
    def needed(cls, settings: CollaGANSettings) -> tuple[str, ...]:
        return ()  # any one may be missing

    @classmethod
    def role_of(cls, output: str) -> str:
        return output.removeprefix(SYNTHETIC)

    def deployed(self) -> tuple[str, ...]:
        return ("generator",)
