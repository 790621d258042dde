"""Registration by regression with a Wasserstein critic that judges alignment."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from GANSynthesisLib.networks.discriminators import Critic
from GANSynthesisLib.networks.registration import (
    RegistrationGenerator,
    apply_linear,
    fit_linear,
    grid_points,
    label_centers,
    label_distances,
    sample,
)
from GANSynthesisLib.objectives.adversarial import discriminator_loss, generator_loss, gradient_penalty
from GANSynthesisLib.objectives.deformation import bending_energy, multiscale_dice
from GANSynthesisLib.objectives.segmentation import soft_dice
from GANSynthesisLib.systems.base import Batch, Losses
from GANSynthesisLib.systems.registration import Registration, RegistrationSettings
from GANSynthesisLib.systems.settings import SettingsError, setting


@dataclasses.dataclass(frozen=True)
class WGANRegistrationSettings(RegistrationSettings):
    linear: str = setting("affine", "linear part", choices=("translation", "rigid", "affine"), common=True)
    dense: bool = setting(True, "add a dense displacement to the linear part", common=True)
    correction: float = setting(
        0.0, "the dense stage also corrects the linear part, by an affine map: mm that one unit of it shifts, larger "
        "learns faster; 0 not", low=0, high=100,
    )
    population: bool = setting(
        False, "what the fit leaves in all patients alike, an affine map, is estimated from the training labels"
    )
    keypoints: int = setting(
        32, "learned keypoints that the linear part is fitted to where there are no structures", low=4, high=256
    )
    structures: int = setting(
        0, "label channels that are structures to be found in both images (the first ones; 0 without labels)",
        low=0, high=8,
    )
    align_steps: int = setting(
        0, "steps in which each result is adapted to the overlap of the structures found in its pair", low=0, high=1000
    )
    structure_names: tuple[str, ...] = setting((), "names of these structures, for the results")
    structure_warmup: int = setting(
        0, "first steps, in which only the structures are learned: the fit needs to know where they are", low=0,
        high=1000000,
    )
    adversarial_weight: float = setting(0.005, "weight of the critic's score", low=0, high=100, common=True)
    gradient_penalty_weight: float = setting(10.0, "weight of the gradient penalty", low=0, high=1000)
    misalignment_weight: float = setting(
        0.0, "weight of the critic's error as a gauge: its score is to fall by 1 per mm of misalignment", low=0,
        high=100,
    )
    truth_weight: float = setting(1.0, "weight of the distance from the simulated truth, per mm", low=0, high=1000)
    label_weight: float = setting(1.0, "weight of the multi-scale label overlap", low=0, high=1000, common=True)
    landmark_weight: float = setting(
        0.0, "weight of the distance between the centers of matching labels, per mm", low=0, high=1000
    )
    structure_weight: float = setting(1.0, "weight of finding the structures in each image", low=0, high=1000)


class WGANRegistration(Registration):
    """Registration of a moving to a fixed image by a generator that regresses the transform and a Wasserstein critic
    that scores the alignment of the pair (Yan 2018), here with a dense displacement on top of the linear part.

    Needs `fixed` and `moving`. Two kinds of supervision: aligned pairs, whose simulated misalignment is known; or
    `fixed_labels` and `moving_labels` (channels in matching order), through their multi-scale overlap (Hu 2018).
    The critic sees aligned pairs as real (by the truth, or by an affine fit to the labels), and as fake the results
    of the generator and aligned pairs knocked askew; it stays with the model, and its score is reported as quality.
    Changed from Yan: the linear part is a closed-form fit to structures found in both images, or to learned keypoints
    (Wang 2023), in place of a fully connected regression; gradient penalty replaces clipping.
    """

    name = "wgan_registration"
    title = "Registration with a Wasserstein critic"
    citation = (
        "Yan P. et al. Adversarial Image Registration with Application for MR and TRUS Image Fusion. MLMI 2018. "
        "Hu Y. et al. Weakly-supervised convolutional neural networks for multimodal image registration. MedIA 2018."
    )
    Settings = WGANRegistrationSettings
    advice = "without labels the pairs must be aligned already: say so with the setting aligned=true"

    def __init__(self, settings: WGANRegistrationSettings):
        super().__init__(settings)
        if settings.correction and not (settings.dense and settings.linear == "affine"):
            raise SettingsError("correction is an affine map by the dense stage: it needs dense=true, linear=affine.")
        self.dense = settings.dense
        names = tuple(name for name in settings.structure_names if name)[: settings.structures]
        self.align_steps = settings.align_steps if settings.structures else 0
        unnamed = range(len(names) + 1, settings.structures + 1)
        self.structures = names + tuple(f"structure {number}" for number in unnamed)
        self.generator = RegistrationGenerator(
            self.spacing, settings.linear, settings.dense, settings.keypoints, settings.structures, settings.width,
            settings.correction, settings.population, settings.diffeomorphic,
        )
        self.critic = Critic(2 + 2 * settings.structures, 3, settings.critic_width)
        if not settings.aligned or settings.structures:  # the critic's aligned pairs come from labels
            self.roles = ("fixed", "moving", "fixed_labels", "moving_labels")
        # Running scores of aligned pairs and of those knocked askew: the scale of the quality score.
        self.register_buffer("score_aligned", torch.zeros(()))
        self.register_buffer("score_unregistered", torch.zeros(()))
        self.register_buffer("generator_turns", torch.zeros((), dtype=torch.long))
        if settings.population:
            self.register_buffer("gram", torch.zeros(4, 4))
            self.register_buffer("moment", torch.zeros(4, 3))

    def start_anew(self) -> None:
        self.generator_turns.zero_()

    def after_turn(self, turn: str) -> None:
        if turn == "generator":
            self.generator_turns += 1

    def _warming_up(self) -> bool:
        return bool(self.settings.structures) and int(self.generator_turns) < self.settings.structure_warmup

    def critic_turn(self, batch: Batch) -> Losses:
        if self._warming_up():
            return {}
        pair = self.misaligned(batch)
        with torch.no_grad():
            result = self.register(pair)
            aligned = pair["truth"] if "truth" in pair else self._aligned_by_labels(pair)
            # Aligned pairs knocked askew: results come ever closer to aligned ones, and a critic that has only seen
            # those would say nothing of a registration that failed.
            askew = apply_linear(self.random_linear(len(aligned), aligned.device), aligned)
            real, fake, wrong = (self._judged(pair, result, points) for points in (aligned, result["points"], askew))
        scores, fake_scores, wrong_scores = self.critic(real), self.critic(fake), self.critic(wrong)
        self.score_aligned.lerp_(scores.detach().mean().float(), 0.02)
        self.score_unregistered.lerp_(wrong_scores.detach().mean().float(), 0.02)
        half = len(real) // 2
        mixed = torch.cat([fake[:half], wrong[half:]])
        losses = {
            "critic": discriminator_loss("wasserstein", scores, (fake_scores + wrong_scores) / 2),
            "gradient_penalty": gradient_penalty(self.critic, real, mixed),
        }
        if self.settings.misalignment_weight > 0:
            losses["misalignment"] = sum(
                F.l1_loss(scores - others, self._apart(pair, points, aligned))
                for others, points in ((fake_scores, result["points"]), (wrong_scores, askew))
            ) / 2
        return losses

    def _apart(self, pair: Batch, points: torch.Tensor, aligned: torch.Tensor) -> torch.Tensor:
        """(B,) mean distance in mm between two maps, over the first label or, without labels, the fixed body."""
        where = pair["fixed_labels"][:, :1] if "fixed_labels" in pair else (pair["fixed"] > -1).float()
        distance = (points - aligned).square().sum(1, keepdim=True).sqrt()
        return (distance * where).flatten(1).sum(1) / where.flatten(1).sum(1).clamp(min=1e-3)

    def generator_turn(self, batch: Batch) -> Losses:
        pair = self.misaligned(batch)
        if self._warming_up():
            found = self.generator.find_structures(pair["moving"], pair["fixed"])
            return {"structure": self._structure_loss(found, pair)}
        result = self.register(pair)
        losses = {
            "adversarial": generator_loss("wasserstein", self.critic(self._judged(pair, result, result["points"]))),
        }
        if self.settings.dense:
            losses["smoothness"] = bending_energy(result["displacement"], self.spacing)
        if "truth" in pair:
            body = (pair["fixed"] > -1).float()
            losses["truth"] = sum(
                (((result[name] - pair["truth"]).square().sum(1, keepdim=True) + 1e-6).sqrt() * body).sum()
                / body.sum().clamp(min=1)
                for name in ("points", "linear_points")
            ) / 2
        if "fixed_labels" in pair:
            present = (pair["fixed_labels"].flatten(2).amax(2) > 0.3).float()
            # A fit to structures learns from their labels; one to keypoints has to learn here.
            names = ("points",) if self.settings.structures else ("points", "linear_points")
            losses["label"] = sum(
                multiscale_dice(sample(pair["moving_labels"], result[name], self.spacing), pair["fixed_labels"],
                                present)
                for name in names
            ) / len(names)
            if self.settings.population:
                self._estimate_population(result, pair)
            if self.settings.landmark_weight > 0:
                apart, both = label_distances(
                    result["points"], pair["fixed_labels"], pair["moving_labels"], self.spacing
                )
                losses["landmark"] = (apart * both).sum() / both.sum().clamp(min=1)
            if self.settings.structures:
                losses["structure"] = self._structure_loss(result, pair)
        return losses

    @torch.no_grad()
    def _estimate_population(self, result: dict, pair: Batch) -> None:
        """Running ridge regression of where the fit should have taken the label centers, about its own center.

        Twelve numbers from all pairs: learned by gradient beside a free displacement, they would not be learned at
        all, because the displacement fits the training pairs first.
        """
        here, there, both = label_centers(pair["fixed_labels"], pair["moving_labels"], self.spacing)
        with torch.autocast(here.device.type, enabled=False):
            back = torch.linalg.inv(result["fit"])
            wanted = there @ back[:, :3, :3].transpose(1, 2) + back[:, None, :3, 3]
            place = torch.cat([here - result["center"][:, None], torch.ones_like(here[..., :1])], -1)
            weighted = (place * both[..., None]).flatten(0, 1).T
            self.gram.mul_(0.995).add_(weighted @ place.flatten(0, 1))
            self.moment.mul_(0.995).add_(weighted @ (wanted - here).flatten(0, 1))
            ridge = torch.diag(0.02 * self.gram.diagonal() + 1)
            self.generator.population.copy_(torch.linalg.solve(self.gram + ridge, self.moment).T)

    def _structure_loss(self, result: dict, pair: Batch) -> torch.Tensor:
        terms = []
        for role in ("fixed", "moving"):
            logits = result[f"{role}_structures"]
            truth = pair[f"{role}_labels"][:, : self.settings.structures]
            terms.append(F.binary_cross_entropy_with_logits(logits, truth)
                         + 1 - soft_dice(logits.sigmoid(), truth).mean())
        return sum(terms) / 2

    def _judged(self, pair: Batch, result: dict, points: torch.Tensor) -> torch.Tensor:
        """What the critic sees: fixed image, moving image at `points`, and the structures found in the two."""
        found = [result[f"{role}_structures"].detach().sigmoid() for role in ("fixed", "moving")]
        warped = sample(pair["moving"], points, self.spacing, -1)
        return torch.cat([pair["fixed"], warped, found[0], sample(found[1], points, self.spacing)], 1)

    def _aligned_by_labels(self, pair: Batch) -> torch.Tensor:
        """Points of an affine fit to the centers of the labels of a pair: its best alignment that is known."""
        here, there, both = label_centers(pair["fixed_labels"], pair["moving_labels"], self.spacing)
        both[:, 0] *= 4  # the gland's center is far better known than a landmark's
        matrix = fit_linear(here, there, both + 1e-6, "affine", ridge=40.0)
        return apply_linear(matrix, grid_points(tuple(pair["fixed"].shape[2:]), self.spacing, pair["fixed"].device))

    def quality(self, inputs: Batch, result: dict, points: torch.Tensor) -> torch.Tensor:
        """The critic's score, 0 its usual one of pairs knocked askew and 1 of aligned ones.

        Where there are structures, a tenth of that, and their overlap: the critic alone ranks alignments less well.
        """
        score = self.critic(self._judged(inputs, result, points))
        scale = (self.score_aligned - self.score_unregistered).abs().clamp(min=1e-6)
        score = (score - self.score_unregistered) / scale
        if not self.structures:
            return score
        fixed, moving = (result[f"{role}_structures"].sigmoid() for role in ("fixed", "moving"))
        overlap = soft_dice(sample(moving, points, self.spacing), fixed).mean(1)
        return overlap + 0.1 * score.clamp(-1, 2)
