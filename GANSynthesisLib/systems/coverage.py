"""Whether a stack of slices reaches from end to end of what it should show."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from GANSynthesisLib.networks.coverage import HALVES, LEVELS, CoupledGenerators, SliceFeatures
from GANSynthesisLib.objectives.adversarial import discriminator_loss, generator_loss
from GANSynthesisLib.systems.base import Batch, Losses, System
from GANSynthesisLib.systems.conditions import ConditionSettings
from GANSynthesisLib.systems.settings import SettingsError, setting

SHOWN = 2  # made pairs in a preview
SHARPNESS = 0.7  # bins: how far the answer to a slice spreads over the bins beside its own


@dataclasses.dataclass(frozen=True)
class CoverageSettings(ConditionSettings):
    context: str = setting("2D", "slices, one by one", choices=("2D",))
    patch: tuple[int, ...] = setting((64, 64), "size of a slice as the networks see it, multiples of 16", low=16,
                                     high=256)
    lower_end: str = setting("lower end", "what a complete stack shows first, nearest the feet", common=True)
    upper_end: str = setting("upper end", "what a complete stack shows last, nearest the head", common=True)
    value_range: tuple[float, ...] = setting(
        (-0.2, 1.2), "positions that the networks can tell apart; a complete stack reaches from 0 to 1",
        low=-1e9, high=1e9,
    )
    bins: int = setting(29, "classes into which positions are divided", low=8, high=200)
    feature_steps: int = setting(300, "steps in which the coupled GANs learn features before slices are classified",
                                 low=0, high=1000000, common=True)
    batch: int = setting(32, "slices per turn", low=2, high=256, common=True)
    width: int = setting(16, "channels of the first layer", low=4, high=128, common=True)
    latent: int = setting(64, "numbers of the noise vector", low=2, high=1024)
    learning_rate: float = setting(5e-4, "learning rate", low=1e-7, high=1.0, common=True)
    weight_decay: float = setting(1e-2, "decoupled L2 weight decay", low=0, high=1.0)

    def __post_init__(self):
        super().__post_init__()
        if any(size % 2**LEVELS for size in self.window()[1:]):
            raise SettingsError(f"patch is {self.window()[1:]}: give multiples of {2**LEVELS}.")


class Coverage(System):
    """Tells whether the first and the last slices of a stack are missing (semi-coupled GANs, Zhang L. 2017).

    Needs slices (`image`) with their position (`value`: 0 the first, 1 the last slice of a complete stack, below 0 and
    above 1 what lies beyond). First two coupled GANs learn to make slices of the lower and of the upper half; then the
    features of their discriminators, which are one trunk with two answers, classify the position of a slice. Applied
    to a volume it says which ends are there and how many slices are missing. Changed from the paper, which tells
    basal and apical slices of the heart from others: a slice is one of many positions, so that from a whole stack's
    slices follows where it begins and ends (`coverage.judge_coverage`); the trunk goes on learning as it classifies.
    """

    name = "coverage"
    title = "Coverage check (are the first and last slices there?)"
    task = "classify"
    roles = ("image", "value")
    turns = ("discriminators", "generators", "classifier")
    citation = (
        "Zhang L. et al. Semi-supervised Assessment of Incomplete LV Coverage in Cardiac MRI Using Generative "
        "Adversarial Nets. SASHIMI 2017. Liu M. Y., Tuzel O. Coupled Generative Adversarial Networks. NeurIPS 2016."
    )
    advice = "give single slices with a column value in the manifest, their position from 0 to 1"
    Settings = CoverageSettings
    criterion = "position_error"

    def __init__(self, settings: CoverageSettings):
        super().__init__(settings)
        if not settings.lower_end or settings.lower_end == settings.upper_end:
            raise SettingsError(
                f"lower_end is '{settings.lower_end}' and upper_end '{settings.upper_end}': give the ends two names."
            )
        self.generators = CoupledGenerators(settings.window()[1:], settings.latent, settings.width)
        self.features = SliceFeatures(settings.width)
        self.verdicts = nn.Linear(self.features.count, HALVES)
        self.position = nn.Sequential(
            nn.Dropout(0.2), nn.Linear(self.features.count, self.features.count), nn.LeakyReLU(0.2),
            nn.Linear(self.features.count, settings.bins),
        )
        self.players = {"discriminators": ("features", "verdicts"), "generators": ("generators",),
                        "classifier": ("features", "position")}
        lower, upper = settings.value_range
        self.zero = -1 - 2 * lower / (upper - lower)  # where, of the values in [−1, 1], the first slice lies
        self.one = -1 + 2 * (1 - lower) / (upper - lower)
        self.register_buffer("rounds", torch.zeros((), dtype=torch.long))

    def start_anew(self) -> None:
        self.rounds.zero_()

    def after_turn(self, turn: str) -> None:
        if turn == "generators":
            self.rounds += 1

    def _learns_features(self) -> bool:
        return int(self.rounds) < self.settings.feature_steps

    def _half(self, value: torch.Tensor) -> torch.Tensor:
        """0 for slices (B,) of the lower half, 1 for those of the upper one."""
        return (value > (self.zero + self.one) / 2).long()

    def _verdict(self, image: torch.Tensor, half: torch.Tensor) -> torch.Tensor:
        """Logits (B,) of slices (B, 1, 1, H, W), each by the discriminator of its half."""
        return self.verdicts(self.features(image[:, :, 0])).gather(1, half[:, None])[:, 0]

    def _made(self, half: torch.Tensor) -> torch.Tensor:
        """Slices (B, 1, 1, H, W) of these halves from new noise."""
        made = self.generators(torch.randn(len(half), self.settings.latent, device=half.device))
        return made[torch.arange(len(half), device=half.device), half][:, None]

    # --- first: coupled GANs

    def discriminators_turn(self, batch: Batch) -> Losses:
        if not self._learns_features():
            return {}
        half = self._half(batch["value"])
        with torch.no_grad():
            fake = self._made(half)
        verdicts = self._verdict(batch["image"], half), self._verdict(fake, half)
        return {"judge": discriminator_loss("non-saturating", *verdicts)}

    def generators_turn(self, batch: Batch) -> Losses:
        if not self._learns_features():
            return {}
        half = self._half(batch["value"])
        return {"adversarial": generator_loss("non-saturating", self._verdict(self._made(half), half))}

    # --- then: positions

    def _scores(self, image: torch.Tensor) -> torch.Tensor:
        return self.position(self.features(image[:, :, 0]))

    def _centers(self, like: torch.Tensor) -> torch.Tensor:
        """Values in [−1, 1] that the bins stand for."""
        return torch.linspace(-1, 1, self.settings.bins, device=like.device)

    def classifier_turn(self, batch: Batch) -> Losses:
        if self._learns_features():
            return {}
        away = (batch["value"][:, None] - self._centers(batch["value"])) * (self.settings.bins - 1) / 2
        wanted = (-0.5 * (away / SHARPNESS) ** 2).softmax(1)
        return {"position": F.cross_entropy(self._scores(batch["image"]), wanted)}

    def positions(self, image: torch.Tensor) -> torch.Tensor:
        """Slices (B, 1, 1, H, W) -> (B,): 0 the first, 1 the last one of a complete stack."""
        value = self._scores(image).float().softmax(1) @ self._centers(image)
        return (value - self.zero) / (self.one - self.zero)

    def validate(self, batch: Batch) -> dict[str, float]:
        wanted = (batch["value"] - self.zero) / (self.one - self.zero)
        return {"position_error": float((self.positions(batch["image"]) - wanted).abs().mean())}

    def preview(self, batch: Batch) -> dict[str, torch.Tensor]:
        noise = torch.Generator().manual_seed(0)
        made = self.generators(torch.randn(SHOWN, self.settings.latent, generator=noise).to(batch["image"].device))
        flat = made.flatten(0, 1)[:, None]
        return {"real": batch["image"], **{f"generated {n + 1}": flat[n : n + 1] for n in range(len(flat))}}

    def apply(self, inputs: Batch) -> dict[str, torch.Tensor]:
        return {"class": self.positions(inputs["image"])}

    @classmethod
    def needs(cls, settings: CoverageSettings) -> dict[str, tuple[str, ...]]:
        return {"class": ("image",)}

    def deployed(self) -> tuple[str, ...]:
        return ("features", "position")
