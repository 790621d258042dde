"""What systems of registration share: their settings, simulated misalignment, and how a result is judged."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
import torch.nn.functional as F

from GANSynthesisLib.networks.registration import apply_linear, grid_points, label_distances, sample, to_size
from GANSynthesisLib.objectives.deformation import bending_energy
from GANSynthesisLib.objectives.segmentation import soft_dice
from GANSynthesisLib.systems.artifacts import with_artifacts
from GANSynthesisLib.systems.base import Batch, System
from GANSynthesisLib.systems.settings import Settings, SettingsError, setting
from GANSynthesisLib.systems.translation import RANGE_HELP
from GANSynthesisLib.variation import GAMMA, LEVEL, contrasted

# Where a single pair is optimized, against an overlap of 0 … 1: the critic's score, and the bending energy, on every
# voxel or on every second one, where it is not smoothed by interpolation.
QUALITY_WEIGHT, STIFFNESS = 0.1, {1: 60.0, 2: 20.0}


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
    diffeomorphic: bool = setting(
        False, "the dense displacement is the flow of a velocity field (scaling and squaring), which does not fold"
    )
    aligned: bool = setting(
        False, "training pairs are aligned (co-registered): their misalignment is simulated", common=True
    )
    simulated_shift: float = setting(10.0, "largest simulated shift in mm", low=0, high=100)
    simulated_rotation: float = setting(10.0, "largest simulated rotation in degrees", low=0, high=90)
    simulated_scale: float = setting(0.08, "largest simulated scaling, as a fraction", low=0, high=0.5)
    simulated_bend: float = setting(3.0, "size of the simulated dense displacement in mm", low=0, high=20)
    contrast: float = setting(0.0, "probability of a random intensity curve on each image", low=0, high=1)
    artifacts: tuple[str, ...] = setting(
        (), "images (fixed, moving) that get random gains, blur, noise, shadows and cut fields of view in training"
    )
    critic_turns: int = setting(1, "turns of the critic for one of the generator", low=1, high=20)
    critic_width: int = setting(8, "channels of the critic's first layer", low=4, high=64)
    smoothness_weight: float = setting(
        10.0, "weight of the bending energy: larger is stiffer", low=0, high=1e6, common=True
    )


class Registration(System):
    """Base of registrations of a `moving` to a `fixed` image by a generator and a critic of the alignment.

    A subclass builds `generator`, (moving, fixed) -> the dictionary of `networks.registration.RegistrationGenerator`,
    has the turns `critic` and `generator`, and says in `quality` how good a map is.
    """

    task = "register"
    roles = ("fixed", "moving")
    optional_roles = ("fixed_labels", "moving_labels")
    turns = ("critic", "generator")
    criterion = "error"
    dense = True  # whether the transform has a displacement field
    structures: tuple[str, ...] = ()  # names of what the networks find in both images
    align_steps = 0  # steps in which `apply` adapts each result to the overlap of these structures
    quality_meaning = (
        "from the critic's score and, where the model finds structures, their overlap; more is better; a hint for "
        "comparing results of one pair, not calibrated to millimeters"
    )

    def __init__(self, settings: RegistrationSettings):
        super().__init__(settings)
        if any(size % 2 for size in settings.window()):
            raise SettingsError(f"patch is {settings.window()}: the nets halve every size, so give even numbers.")
        if len(set(settings.spacing)) > 1:
            raise SettingsError(f"spacing is {settings.spacing}: the working grid is isotropic, so give one number.")
        if not set(settings.artifacts) <= {"fixed", "moving"}:
            raise SettingsError(f"artifacts is {settings.artifacts}: name fixed, moving, or both.")
        self.spacing = settings.spacing[0]
        self.turns = ("critic",) * settings.critic_turns + ("generator",)
        self.players = {"critic": ("critic",), "generator": ("generator",)}

    def register(self, pair: Batch) -> dict[str, torch.Tensor]:
        return self.generator(pair["moving"], pair["fixed"])

    def quality(self, inputs: Batch, result: dict, points: torch.Tensor) -> torch.Tensor:
        """(B,) how well any map of these inputs aligns them, more is better: points (B, 3, D, H, W) in mm, result what
        the generator gave for the inputs."""
        raise NotImplementedError

    def misaligned(self, batch: Batch) -> Batch:
        """The batch with random misalignment; `truth` (B, 3, D, H, W): where each fixed point lies in the moving.

        The moving image is resampled by a linear map L and the fixed one by a map N, linear (half as far) and smoothly
        bent, so the truth is L⁻¹(N(x)) in closed form. Without aligned pairs both are augmentation, without a truth.
        """
        settings = self.settings
        batch = self.augmented(batch)
        fixed = batch["fixed"]
        points = grid_points(tuple(fixed.shape[2:]), self.spacing, fixed.device)
        linear = self.random_linear(fixed.shape[0], fixed.device)
        bent = apply_linear(self.random_linear(fixed.shape[0], fixed.device, 0.5), points) + self._random_bend(fixed)
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

    def augmented(self, batch: Batch) -> Batch:
        """Every other pair mirrored left to right, as another patient might be, and intensities at another gain; with
        the setting `artifacts`, these as well."""
        settings, fixed = self.settings, batch["fixed"]
        changed = dict(batch)
        if settings.augment > 0:
            mirrored = torch.rand(fixed.shape[0], 1, 1, 1, 1, device=fixed.device) < 0.5
            changed = {role: torch.where(mirrored, image.flip(-1), image) for role, image in batch.items()}
        if settings.augment_intensity > 0:
            for role in ("fixed", "moving"):
                gamma, level = (torch.rand(2, fixed.shape[0], 1, 1, 1, 1, device=fixed.device) * 2 - 1).mul(
                    settings.augment_intensity)
                contrast = (GAMMA * gamma).exp(), 1 + LEVEL * level
                changed[role] = contrasted(changed[role], contrast)
        return changed | {role: with_artifacts(changed[role]) for role in settings.artifacts}

    def random_linear(self, count: int, device, part: float = 1.0) -> torch.Tensor:
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

    def validate(self, batch: Batch) -> dict[str, float]:
        pair = self.misaligned(batch) if self.settings.aligned else batch
        result = self.register(pair)
        if "truth" in pair:
            body = (pair["fixed"] > -1).float()
            error = (result["points"] - pair["truth"]).square().sum(1, keepdim=True).sqrt()
            start = (grid_points(tuple(body.shape[2:]), self.spacing, body.device) - pair["truth"])
            start = start.square().sum(1, keepdim=True).sqrt()
            return {"error": float((error * body).sum() / body.sum()),
                    "start_error": float((start * body).sum() / body.sum())}
        if "fixed_labels" not in pair:
            return {"error": float(-self.quality(pair, result, result["points"]).mean())}
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
        pair = self.misaligned(batch) if self.settings.aligned else batch
        result = self.register(pair)
        return {"fixed": pair["fixed"], "moving": pair["moving"],
                "warped": sample(pair["moving"], result["points"], self.spacing, -1)}

    def apply(self, inputs: Batch) -> dict[str, torch.Tensor]:
        """-> matrix (B, 4, 4) and displacement (B, 3, D, H, W) in mm between the centered grids; fixed_structures and
        moving_structures (B, S, D, H, W) in 0 … 1; `quality` (B,)."""
        if self.align_steps:
            return self.optimized(inputs, self.align_steps, judged=False)
        return self._answer(inputs, self.register(inputs))

    def _answer(self, inputs: Batch, result: dict) -> dict[str, torch.Tensor]:
        structures = {name: result[name].sigmoid() for name in ("fixed_structures", "moving_structures")}
        return {"matrix": result["matrix"], "displacement": result["displacement"], **structures,
                "quality": self.quality(inputs, result, result["points"])}

    def optimized(self, inputs: Batch, steps: int, judged: bool = True, rate: float = 0.4) -> dict[str, torch.Tensor]:
        """As `apply`, the displacement then changed for this very pair by `steps` of Adam of `rate` mm: toward a
        better overlap of the structures found and, if `judged`, a better quality, against the bending energy.

        Starts from what the generator gives and keeps the best step of the objective, which may be the first. The
        overlap alone is as smooth as the structures: it is looked at on every second voxel along each axis.
        """
        coarse = 1 if judged else 2
        with torch.inference_mode(False), torch.enable_grad():
            inputs = {role: image.clone() for role, image in inputs.items()}
            with torch.no_grad():
                result = self.register(inputs)
            shape, start = tuple(inputs["fixed"].shape[2:]), F.avg_pool3d(result["displacement"], coarse)
            grid = grid_points(tuple(start.shape[2:]), coarse * self.spacing, start.device)
            fixed, moving = (F.avg_pool3d(result[f"{role}_structures"].sigmoid(), coarse) if self.structures else None
                             for role in ("fixed", "moving"))
            change = torch.zeros_like(F.avg_pool3d(result["displacement"], 2), requires_grad=True)
            adam, kept = torch.optim.Adam([change], rate), (math.inf, change.detach())
            for step in range(steps + 1):
                displacement = start + to_size(change, start.shape[2:])
                points = apply_linear(result["matrix"], grid + displacement)
                loss = STIFFNESS[coarse] * bending_energy(displacement, coarse * self.spacing)
                if self.structures:
                    loss = loss + 1 - soft_dice(sample(moving, points, coarse * self.spacing), fixed).mean()
                if judged:  # bounded: a score far outside what the critic has seen must not outweigh everything else
                    loss = loss - QUALITY_WEIGHT * self.quality(inputs, result, points).tanh().mean()
                if float(loss.detach()) < kept[0]:
                    kept = float(loss.detach()), change.detach().clone()
                if step < steps:
                    (change.grad,) = torch.autograd.grad(loss, change)
                    adam.step()
            with torch.no_grad():
                best = dict(result, displacement=result["displacement"] + to_size(kept[1], shape))
                whole = grid_points(shape, self.spacing, start.device)
                best["points"] = apply_linear(result["matrix"], whole + best["displacement"])
            return self._answer(inputs, best)

    @classmethod
    def needs(cls, settings: Any) -> dict[str, tuple[str, ...]]:
        names = ["transform", "warped"]
        if getattr(settings, "dense", True):
            names += ["linear", "deformation", "jacobian"]
        if getattr(settings, "structures", 0):
            names += ["segmentation", "warped_segmentation"]
        return dict.fromkeys(names, ("fixed", "moving"))

    def deployed(self) -> tuple[str, ...]:
        return ("generator", "critic")
