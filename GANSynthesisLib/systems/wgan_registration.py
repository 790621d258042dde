"""Registration by regression with a Wasserstein critic that judges alignment."""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F

from GANSynthesisLib.networks.discriminators import Critic
from GANSynthesisLib.networks.registration import (
    RegistrationGenerator,
    apply_linear,
    centers_of_mass,
    fit_linear,
    grid_points,
    label_distances,
    sample,
)
from GANSynthesisLib.objectives.adversarial import discriminator_loss, generator_loss, gradient_penalty
from GANSynthesisLib.objectives.deformation import bending_energy, multiscale_dice
from GANSynthesisLib.objectives.segmentation import soft_dice
from GANSynthesisLib.systems.base import Batch, Losses, System
from GANSynthesisLib.systems.settings import Settings, SettingsError, setting
from GANSynthesisLib.systems.translation import RANGE_HELP


@dataclasses.dataclass(frozen=True)
class RegistrationSettings(Settings):
    context: str = setting("3D", "registration is volumetric", choices=("3D",))
    patch: tuple[int, ...] = setting(
        (48, 48, 48), "depth, rows, columns of the working grid (even numbers)", low=16, high=256
    )
    spacing: tuple[float, ...] = setting((2.0,), "voxel size of the working grid in mm", low=0.2, high=20)
    width: int = setting(12, "channels of the first layer of each net", low=4, high=128, common=True)
    batch: int = setting(2, "pairs per turn", low=1, high=64, common=True)
    beta1: float = setting(0.9, "first moment decay of Adam", low=0, high=0.999)
    pool: int = setting(0, "past fakes shown again; not used by the critic here", low=0, high=0)
    fixed_modality: str = setting("fixed", "modality of the fixed image, for the card", common=True)
    moving_modality: str = setting("moving", "modality of the moving image, for the card", common=True)
    fixed_intensity: str = setting("percentile:0.5:99.5", "fixed intensities that become −1…1: " + RANGE_HELP)
    moving_intensity: str = setting("percentile:0.5:99.5", "moving intensities that become −1…1: " + RANGE_HELP)
    anatomy: str = setting("", "anatomy and preparation of the training images, for the card", common=True)
    start: str = setting(
        "center", "what is laid on each other first: image centers, or centers of the foreground",
        choices=("center", "foreground"),
    )
    axes: str = setting(
        "world", "directions of the working grids: the world's, or each image's own, for images that were never in "
        "one world, such as MR before a fusion with ultrasound", choices=("world", "image"),
    )
    linear: str = setting("affine", "linear part", choices=("translation", "rigid", "affine"), common=True)
    dense: bool = setting(True, "add a dense displacement to the linear part", common=True)
    correction: bool = setting(False, "the dense stage also corrects the linear part, by an affine map")
    diffeomorphic: bool = setting(
        False, "the dense displacement is the flow of a velocity field (scaling and squaring), which does not fold"
    )
    keypoints: int = setting(
        32, "learned keypoints that the linear part is fitted to where there are no structures", low=4, high=256
    )
    aligned: bool = setting(
        False, "training pairs are aligned (co-registered): misalignment is simulated and its truth supervised",
        common=True,
    )
    structures: int = setting(
        0, "label channels that are structures to be found in both images (the first ones; 0 without labels)",
        low=0, high=8,
    )
    structure_names: tuple[str, ...] = setting((), "names of these structures, for the results")
    structure_warmup: int = setting(
        0, "first steps, in which only the structures are learned: the fit needs to know where they are", low=0,
        high=1000000,
    )
    simulated_shift: float = setting(10.0, "largest simulated shift in mm", low=0, high=100)
    simulated_rotation: float = setting(10.0, "largest simulated rotation in degrees", low=0, high=90)
    simulated_scale: float = setting(0.08, "largest simulated scaling, as a fraction", low=0, high=0.5)
    simulated_bend: float = setting(3.0, "size of the simulated dense displacement in mm", low=0, high=20)
    contrast: float = setting(0.0, "probability of a random intensity curve on each image", low=0, high=1)
    critic_turns: int = setting(1, "turns of the critic for one of the generator", low=1, high=20)
    critic_width: int = setting(8, "channels of the critic's first layer", low=4, high=64)
    adversarial_weight: float = setting(0.005, "weight of the critic's score", low=0, high=100, common=True)
    gradient_penalty_weight: float = setting(10.0, "weight of the gradient penalty", low=0, high=1000)
    truth_weight: float = setting(1.0, "weight of the distance from the simulated truth, per mm", low=0, high=1000)
    label_weight: float = setting(1.0, "weight of the multi-scale label overlap", low=0, high=1000, common=True)
    landmark_weight: float = setting(
        0.0, "weight of the distance between the centers of matching labels, per mm", low=0, high=1000
    )
    structure_weight: float = setting(1.0, "weight of finding the structures in each image", low=0, high=1000)
    smoothness_weight: float = setting(
        10.0, "weight of the bending energy: larger is stiffer", low=0, high=1e6, common=True
    )


    def structure_titles(self) -> tuple[str, ...]:
        """A name for each structure."""
        names = tuple(name for name in self.structure_names if name)[: self.structures]
        return names + tuple(f"structure {number + 1}" for number in range(len(names), self.structures))


class WGANRegistration(System):
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
    task = "register"
    roles = ("fixed", "moving")
    optional_roles = ("fixed_labels", "moving_labels")
    turns = ("critic", "generator")
    citation = (
        "Yan P. et al. Adversarial Image Registration with Application for MR and TRUS Image Fusion. MLMI 2018. "
        "Hu Y. et al. Weakly-supervised convolutional neural networks for multimodal image registration. MedIA 2018."
    )
    Settings = RegistrationSettings
    criterion = "error"
    advice = "without labels the pairs must be aligned already: say so with the setting aligned=true"

    def __init__(self, settings: RegistrationSettings):
        super().__init__(settings)
        if any(size % 2 for size in settings.window()):
            raise SettingsError(f"patch is {settings.window()}: the nets halve every size, so give even numbers.")
        if len(set(settings.spacing)) > 1:
            raise SettingsError(f"spacing is {settings.spacing}: the working grid is isotropic, so give one number.")
        if settings.correction and not (settings.dense and settings.linear == "affine"):
            raise SettingsError("correction is an affine map by the dense stage: it needs dense=true, linear=affine.")
        self.spacing = settings.spacing[0]
        self.generator = RegistrationGenerator(
            self.spacing, settings.linear, settings.dense, settings.keypoints, settings.structures, settings.width,
            settings.correction, settings.diffeomorphic,
        )
        self.critic = Critic(2 + 2 * settings.structures, 3, settings.critic_width)
        self.turns = ("critic",) * settings.critic_turns + ("generator",)
        self.players = {"critic": ("critic",), "generator": ("generator",)}
        if not settings.aligned or settings.structures:  # the critic's aligned pairs come from labels
            self.roles = ("fixed", "moving", "fixed_labels", "moving_labels")
        # Running scores of well-aligned and of unregistered pairs: the scale of the quality score.
        self.register_buffer("score_aligned", torch.zeros(()))
        self.register_buffer("score_unregistered", torch.zeros(()))
        self.register_buffer("generator_turns", torch.zeros((), dtype=torch.long))

    # --- simulated misalignment -------------------------------------------------------------------------------------

    def _misaligned(self, batch: Batch) -> Batch:
        """The batch with random misalignment; `truth` (B, 3, D, H, W): where each fixed point lies in the moving.

        The moving image is resampled by a linear map L and the fixed one by a map N, linear (half as far) and smoothly
        bent, so the truth is L⁻¹(N(x)) in closed form. Without aligned pairs both are augmentation, without a truth.
        """
        settings = self.settings
        batch = self._augmented(batch)
        fixed = batch["fixed"]
        points = grid_points(tuple(fixed.shape[2:]), self.spacing, fixed.device)
        linear = self._random_linear(fixed.shape[0], fixed.device)
        bent = apply_linear(self._random_linear(fixed.shape[0], fixed.device, 0.5), points) + self._random_bend(fixed)
        pulled = apply_linear(linear, points)
        changed = dict(batch)
        changed["fixed"] = sample(batch["fixed"], bent, self.spacing, -1)
        changed["moving"] = sample(batch["moving"], pulled, self.spacing, -1)
        for role, where in (("fixed_labels", bent), ("moving_labels", pulled)):
            if role in batch:
                changed[role] = sample(batch[role], where, self.spacing)
        if settings.aligned:
            changed["truth"] = apply_linear(torch.linalg.inv(linear), bent)
        if settings.contrast > 0:
            for role in ("fixed", "moving"):
                changed[role] = self._random_curve(fixed)(changed[role])
        return changed

    def _augmented(self, batch: Batch) -> Batch:
        """Every other pair mirrored left to right, as another patient might be, and intensities at another gain."""
        settings, fixed = self.settings, batch["fixed"]
        changed = dict(batch)
        if settings.augment > 0:
            mirrored = torch.rand(fixed.shape[0], 1, 1, 1, 1, device=fixed.device) < 0.5
            changed = {role: torch.where(mirrored, image.flip(-1), image) for role, image in batch.items()}
        if settings.augment_intensity > 0:
            for role in ("fixed", "moving"):
                gamma, level = (torch.rand(2, fixed.shape[0], 1, 1, 1, 1, device=fixed.device) * 2 - 1).mul(
                    settings.augment_intensity)
                unit = ((changed[role] + 1) / 2).clamp(min=0) ** (0.3 * gamma).exp()
                changed[role] = (unit * (1 + 0.2 * level) * 2 - 1).clamp(-1, 1)
        return changed

    def _random_linear(self, count: int, device, part: float = 1.0) -> torch.Tensor:
        settings = self.settings

        def uniform(limit: float) -> torch.Tensor:
            return (torch.rand(count, 3, device=device) * 2 - 1) * limit * part

        angle = uniform(math.radians(settings.simulated_rotation)) / math.sqrt(3)
        zero = torch.zeros(count, device=device)
        skew = torch.stack([zero, -angle[:, 2], angle[:, 1], angle[:, 2], zero, -angle[:, 0], -angle[:, 1],
                            angle[:, 0], zero], 1).view(count, 3, 3)
        matrix = torch.eye(4, device=device).repeat(count, 1, 1)
        matrix[:, :3, :3] = torch.linalg.matrix_exp(skew) @ torch.diag_embed(1 + uniform(settings.simulated_scale))
        matrix[:, :3, 3] = uniform(settings.simulated_shift)
        return matrix

    def _random_bend(self, image: torch.Tensor) -> torch.Tensor:
        """Smooth random displacement (B, 3, D, H, W) in mm: noise on a grid of 5³ points, cubic-like upsampling."""
        size = self.settings.simulated_bend
        coarse = torch.randn(image.shape[0], 3, 5, 5, 5, device=image.device)
        fine = F.interpolate(coarse, scale_factor=3, mode="trilinear", align_corners=True)
        fine = F.avg_pool3d(fine, 3, 1, 1, count_include_pad=False)
        return size * F.interpolate(fine, size=image.shape[2:], mode="trilinear", align_corners=True)

    def _random_curve(self, image: torch.Tensor):
        """A random piecewise-linear intensity curve that leaves −1 (air) alone; the same for a whole image."""
        if torch.rand(()) >= self.settings.contrast:
            return lambda values: values
        knots = torch.rand(6, device=image.device) * 2 - 1
        knots[0] = -1

        def curve(values: torch.Tensor) -> torch.Tensor:
            at = ((values + 1) / 2).clamp(0, 1) * 5
            low = at.floor().clamp(max=4).long()
            return torch.lerp(knots[low], knots[low + 1], at - low)

        return curve

    # --- turns ------------------------------------------------------------------------------------------------------

    def after_turn(self, turn: str) -> None:
        if turn == "generator":
            self.generator_turns += 1

    def _warming_up(self) -> bool:
        return bool(self.settings.structures) and int(self.generator_turns) < self.settings.structure_warmup

    def critic_turn(self, batch: Batch) -> Losses:
        if self._warming_up():
            return {}
        pair = self._misaligned(batch)
        with torch.no_grad():
            result = self.generator(pair["moving"], pair["fixed"])
            aligned = pair["truth"] if "truth" in pair else self._aligned_by_labels(pair)
            # Aligned pairs knocked askew: results come ever closer to aligned ones, and a critic that has only seen
            # those would say nothing of a registration that failed.
            askew = apply_linear(self._random_linear(len(aligned), aligned.device), aligned)
            real, fake, wrong = (self._judged(pair, result, points) for points in (aligned, result["points"], askew))
        scores, wrong_scores = self.critic(real), self.critic(wrong)
        self.score_aligned.lerp_(scores.detach().mean().float(), 0.02)
        self.score_unregistered.lerp_(wrong_scores.detach().mean().float(), 0.02)
        half = len(real) // 2
        mixed = torch.cat([fake[:half], wrong[half:]])
        return {
            "critic": discriminator_loss("wasserstein", scores, (self.critic(fake) + wrong_scores) / 2),
            "gradient_penalty": gradient_penalty(self.critic, real, mixed),
        }

    def generator_turn(self, batch: Batch) -> Losses:
        pair = self._misaligned(batch)
        if self._warming_up():
            found = self.generator.find_structures(pair["moving"], pair["fixed"])
            return {"structure": self._structure_loss(found, pair)}
        result = self.generator(pair["moving"], pair["fixed"])
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
            if self.settings.landmark_weight > 0:
                apart, both = label_distances(
                    result["points"], pair["fixed_labels"], pair["moving_labels"], self.spacing
                )
                losses["landmark"] = (apart * both).sum() / both.sum().clamp(min=1)
            if self.settings.structures:
                losses["structure"] = self._structure_loss(result, pair)
        return losses

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
        points = grid_points(tuple(pair["fixed"].shape[2:]), self.spacing, pair["fixed"].device)
        fixed, moving = pair["fixed_labels"], pair["moving_labels"]
        present = ((fixed.flatten(2).amax(2) > 0.3) & (moving.flatten(2).amax(2) > 0.3)).float()
        present[:, 0] *= 4  # the gland's center is far better known than a landmark's
        matrix = fit_linear(centers_of_mass(fixed, points), centers_of_mass(moving, points), present + 1e-6,
                            "affine", ridge=40.0)
        return apply_linear(matrix, points)

    # --- use --------------------------------------------------------------------------------------------------------

    def validate(self, batch: Batch) -> dict[str, float]:
        pair = self._misaligned(batch) if self.settings.aligned else batch
        result = self.generator(pair["moving"], pair["fixed"])
        if "truth" in pair:
            body = (pair["fixed"] > -1).float()
            error = (result["points"] - pair["truth"]).square().sum(1, keepdim=True).sqrt()
            start = (grid_points(tuple(body.shape[2:]), self.spacing, body.device) - pair["truth"])
            start = start.square().sum(1, keepdim=True).sqrt()
            return {"error": float((error * body).sum() / body.sum()),
                    "start_error": float((start * body).sum() / body.sum())}
        if "fixed_labels" not in pair:
            return {"error": float(-self.critic(self._judged(pair, result, result["points"])).mean())}
        warped = sample(pair["moving_labels"], result["points"], self.spacing)
        fixed = pair["fixed_labels"]
        apart, both = label_distances(result["points"], fixed, pair["moving_labels"], self.spacing)
        gland = soft_dice((warped[:, :1] > 0.5).float(), (fixed[:, :1] > 0.5).float()).mean()
        landmarks = apart[:, 1:][both[:, 1:] > 0]
        mean = float(landmarks.mean()) if landmarks.numel() else float("nan")
        # One number to keep the best weights by: 1 % of Dice weighs as much as 0.1 mm of a landmark.
        return {"error": (0 if math.isnan(mean) else mean) + 10 * (1 - float(gland)), "gland_dice": float(gland),
                "landmark_error_mm": mean}

    def preview(self, batch: Batch) -> dict[str, torch.Tensor]:
        pair = self._misaligned(batch) if self.settings.aligned else batch
        result = self.generator(pair["moving"], pair["fixed"])
        return {"fixed": pair["fixed"], "moving": pair["moving"],
                "warped": sample(pair["moving"], result["points"], self.spacing, -1)}

    def apply(self, inputs: Batch) -> dict[str, torch.Tensor]:
        """-> matrix (B, 4, 4) and displacement (B, 3, D, H, W) in mm between the centered grids; fixed_structures and
        moving_structures (B, S, D, H, W) in 0 … 1; `quality` (B,): 0 the critic's usual score of pairs knocked askew,
        1 of aligned ones."""
        result = self.generator(inputs["moving"], inputs["fixed"])
        structures = {name: result[name].sigmoid() for name in ("fixed_structures", "moving_structures")}
        return {"matrix": result["matrix"], "displacement": result["displacement"], **structures,
                "quality": self.quality(inputs, result, result["points"])}

    def quality(self, inputs: Batch, result: dict, points: torch.Tensor) -> torch.Tensor:
        """(B,) of any map of these inputs: points (B, 3, D, H, W) in mm, result what the generator gave for them."""
        score = self.critic(self._judged(inputs, result, points))
        scale = (self.score_aligned - self.score_unregistered).abs().clamp(min=1e-6)
        return (score - self.score_unregistered) / scale

    @classmethod
    def needs(cls, settings: RegistrationSettings) -> dict[str, tuple[str, ...]]:
        names = ["transform", "warped"]
        if settings.dense:
            names += ["linear", "deformation", "jacobian"]
        if settings.structures:
            names += ["segmentation", "warped_segmentation"]
        return dict.fromkeys(names, ("fixed", "moving"))

    def deployed(self) -> tuple[str, ...]:
        return ("generator", "critic")
