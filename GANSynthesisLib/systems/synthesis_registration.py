"""Registration through synthesis: translate the moving image into the fixed one's modality, then compare the two."""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F

from GANSynthesisLib.networks.registration import apply_linear, corrected, grid_points, integrated, sample
from GANSynthesisLib.objectives.deformation import bending_energy
from GANSynthesisLib.objectives.similarity import mind_distance, normalized_mutual_information, self_similarity
from GANSynthesisLib.systems.base import Batch, Losses
from GANSynthesisLib.systems.cyclegan import CycleGAN, CycleGANSettings
from GANSynthesisLib.systems.registration import Registration, RegistrationSettings
from GANSynthesisLib.systems.settings import SettingsError, setting

# From coarse to fine: edge of the voxels in those of the working grid, and whether the displacement moves as well.
STAGES = ((4, False), (2, False), (2, True), (1, True))
LEAST_VOXELS = 12  # along an axis; coarser stages would see too little of the images
RATE = 0.25  # of Adam: mm per step and voxel edge
DESCRIPTOR = 12  # channels of `self_similarity`
LINEAR_UNITS = (0.02, 0.02, 0.02, 1.0)  # stretch or tilt that moves a point of an organ about as far as 1 mm of shift


@dataclasses.dataclass(frozen=True)
class SynthesisRegistrationSettings(RegistrationSettings):
    translate: bool = setting(
        True, "compare the translation of the moving image with the fixed one; off: the moving image itself",
        common=True,
    )
    similarity: str = setting(
        "both", "what is compared: nmi normalized mutual information, mind self-similarity, or both",
        choices=("nmi", "mind", "both"), common=True,
    )
    steps: int = setting(40, "steps of the optimization at each of its four stages", low=0, high=1000, common=True)
    dense: bool = setting(True, "add a dense displacement to the affine map", common=True)
    control_spacing: float = setting(10.0, "distance of the displacement's control points in mm", low=1, high=100)
    margin: float = setting(
        0.0, "mm around the foreground of the fixed image that are compared too; its outline counts then", low=0,
        high=200,
    )
    smoothness_weight: float = setting(
        100.0, "weight of the bending energy against the similarity: larger is stiffer", low=0, high=1e6, common=True
    )
    stretch_weight: float = setting(
        1.0, "weight of what the affine map stretches or shears, so that images that say little of each other do not "
        "collapse", low=0, high=1000,
    )
    beta1: float = setting(0.5, "first moment decay of Adam in training", low=0, high=0.999)
    pool: int = setting(50, "past fakes shown again to the discriminators (0 none; Shrivastava 2017)", low=0, high=500)
    augment_intensity: float = setting(
        0.0, "strength of random gains on both images; the discriminators judge intensities", low=0, high=2
    )
    contrast: float = setting(0.0, "not used here: the discriminators judge intensities", low=0, high=0)
    crop: tuple[int, ...] = setting(
        (32, 32, 32), "depth, rows, columns of the part of each working grid that is translated in a training step",
        low=8, high=256,
    )
    levels: int = setting(3, "halvings of the translators' U-Nets", low=1, high=6)
    critic_turns: int = setting(1, "turns of the discriminators for one of the generators", low=1, high=20)
    critic_width: int = setting(16, "channels of the discriminators' first layer", low=4, high=64)
    discriminator_layers: int = setting(2, "stride-2 layers of the PatchGAN; 2 see 34 voxels", low=1, high=5)
    mask_background: bool = setting(True, "background stays background in a translation")
    adversarial_weight: float = setting(1.0, "weight of the adversarial loss", low=0, high=1000)
    cycle_weight: float = setting(10.0, "weight of the cycle loss (Zhu: 10)", low=0, high=1000, common=True)
    identity_weight: float = setting(
        0.0, "weight of the identity loss; 0 where the modalities share no meaning of intensity", low=0, high=1000
    )
    gradient_consistency_weight: float = setting(
        0.0, "weight of the gradient consistency (Hiasa 2018)", low=0, high=1000, common=True
    )
    cycle_noise: float = setting(0.0, "noise on the translation before the way back", low=0, high=1)

    def __post_init__(self):
        super().__post_init__()
        if self.control_spacing < self.spacing[0]:
            raise SettingsError(
                f"control_spacing is {self.control_spacing} mm, closer than the voxels of the working grid "
                f"({self.spacing[0]} mm): give at least as much."
            )
        if len(self.crop) != 3:
            raise SettingsError(f"crop has {len(self.crop)} numbers: give depth, rows and columns.")


class SynthesisRegistration(Registration):
    """Registration by translation: a CycleGAN gives the moving image the look of the fixed one, and the two are
    aligned by maximizing the similarity of images of one modality, by default normalized mutual information and MIND
    together (Tanner 2018).

    Needs `fixed` and `moving` of the same anatomy, which need not be aligned; with `aligned`, validation also compares
    the translation with the fixed image. Applied, an affine map and a smooth displacement are optimized for the very
    pair, from coarse to fine, which takes seconds; no network has learned to register. Tanner found that translating
    MR and CT did not help; `translate` off gives the direct result to hold it against. Changed from Tanner: 3D
    translation in place of slices, MIND as self-similarity context.
    """

    name = "synthesis_registration"
    title = "Registration by translation (CycleGAN, then NMI and MIND)"
    citation = (
        "Tanner C. et al. Generative Adversarial Networks for MR-CT Deformable Image Registration. arXiv:1807.07349, "
        "2018. "
        "Zhu J.-Y. et al. Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks. ICCV 2017."
    )
    Settings = SynthesisRegistrationSettings
    quality_meaning = (
        "the similarity reached: NMI from 1 to 2, MIND from 0 to 1, or their sum; more is better; a hint for "
        "comparing results of one pair, not calibrated to millimeters"
    )
    optional_roles = ()
    criterion = ""

    def __init__(self, settings: SynthesisRegistrationSettings):
        super().__init__(settings)
        self.dense = settings.dense
        game = CycleGAN(_settings_of_the_game(settings))
        for name, network in game.named_children():  # players are found among a system's own networks
            self.add_module(name, network)
        self._games = (game,)  # in a tuple: its networks are this system's already
        self.turns = ("generators",) + ("discriminators",) * settings.critic_turns
        self.players = game.players

    @property
    def game(self) -> CycleGAN:
        return self._games[0]

    # --- training: the game of the CycleGAN, on working grids -------------------------------------------------------

    def use_pool(self, pool) -> None:
        self.game.use_pool(pool)

    def generators_turn(self, batch: Batch) -> Losses:
        return self.game.generators_turn(self._drawn(batch))

    def discriminators_turn(self, batch: Batch) -> Losses:
        return self.game.discriminators_turn(self._drawn(batch))

    def _drawn(self, batch: Batch) -> Batch:
        """A part of each image, moved and bent at random; the two parts need not show the same place."""
        pair = _as_translation(self.misaligned(batch))
        return {role: _random_part(image, self.settings.crop) for role, image in pair.items()}

    def validate(self, batch: Batch) -> dict[str, float]:
        truth = {"paired_target": batch["fixed"]} if self.settings.aligned else {}
        return self.game.validate(_as_translation(batch) | truth)

    def preview(self, batch: Batch) -> dict[str, torch.Tensor]:
        return self.game.preview(_as_translation(batch))

    # --- application ------------------------------------------------------------------------------------------------

    def register(self, pair: Batch, further: int = 0) -> dict[str, torch.Tensor]:
        """As `RegistrationGenerator`, by optimization; `seen`, what the fixed image was compared with, beside it.

        further: steps that the last stage has more.
        """
        with torch.inference_mode(False), torch.enable_grad():
            fixed, moving = (pair[role].float().clone() for role in self.roles)
            seen = self._seen(moving)
            grid = grid_points(tuple(fixed.shape[2:]), self.spacing, fixed.device)
            maps = [self._optimized(a, b, grid, further) for a, b in zip(fixed.split(1), seen.split(1), strict=True)]
        matrix, displacement = (torch.cat(parts) for parts in zip(*maps, strict=True))
        none = fixed[:, :0]
        return {
            "matrix": matrix, "displacement": displacement, "points": apply_linear(matrix, grid + displacement),
            "fixed_structures": none, "moving_structures": none, "seen": seen,
        }

    @torch.no_grad()
    def _seen(self, moving: torch.Tensor) -> torch.Tensor:
        """What of the moving image is compared with the fixed one: its translation, or the image itself."""
        return self.game.translate(self.to_target, moving).clamp(-1, 1) if self.settings.translate else moving

    def optimized(self, inputs: Batch, steps: int) -> dict[str, torch.Tensor]:
        """As `apply`, with so many steps more at the finest stage."""
        return self._answer(inputs, self.register(inputs, further=steps))

    def _optimized(self, fixed: torch.Tensor, seen: torch.Tensor, grid: torch.Tensor, further: int):
        """Matrix (1, 4, 4) and displacement (1, 3, D, H, W) in mm that align two images (1, 1, D, H, W)."""
        settings = self.settings
        shape = [max(3, 1 + math.ceil(size * self.spacing / settings.control_spacing)) for size in fixed.shape[2:]]
        change = torch.zeros(1, 3, 4, device=fixed.device, requires_grad=True)
        control = torch.zeros(1, 3, *shape, device=fixed.device, requires_grad=True)
        stages = [stage for stage in STAGES if self.dense or not stage[1]]
        for number, (factor, dense) in enumerate(stages, start=1):
            while factor > 1 and min(fixed.shape[2:]) < factor * LEAST_VOXELS:
                factor //= 2
            steps = settings.steps + (further if number == len(stages) else 0)
            self._descend(_coarser(fixed, factor), _coarser(seen, factor), factor, change, control, steps, dense)
        with torch.no_grad():
            return self._map(change, control, grid)

    def _descend(self, fixed, seen, factor: int, change, control, steps: int, dense: bool) -> None:
        """Steps of Adam on the affine map and, where `dense`, on the control points, which are changed in place.

        Only the voxels that are compared are ever warped, and descriptors as they are: recomputing them at every step
        would take most of the time, and a turn by some degrees hardly changes them.
        """
        settings, spacing = self.settings, factor * self.spacing
        compared = self._compared(fixed, factor)
        places = _at(grid_points(tuple(fixed.shape[2:]), spacing, fixed.device), compared)
        fixed, seen = _at(self._channels(fixed), compared), self._channels(seen)
        moved = [change, control] if dense else [change]
        adam = torch.optim.Adam(moved, RATE * spacing)
        for step in range(steps):
            adam.param_groups[0]["lr"] = RATE * spacing * (1 - step / steps)
            matrix, displacement = self._map(change, control, places)
            warped = sample(seen, apply_linear(matrix, places + displacement), spacing, -1)
            loss = settings.stretch_weight * _stretch(matrix) - self._similarity(fixed, warped).sum()
            if dense:
                loss = loss + settings.smoothness_weight * bending_energy(control, settings.control_spacing)
            for each, gradient in zip(moved, torch.autograd.grad(loss, moved), strict=True):
                each.grad = gradient
            adam.step()

    def _map(self, change: torch.Tensor, control: torch.Tensor, points: torch.Tensor):
        """Matrix (1, 4, 4) and the displacement in mm at points (1, 3, D, H, W)."""
        settings = self.settings
        identity = torch.eye(4, device=change.device)[None]
        matrix = corrected(identity, change.new_zeros(1, 3), change * change.new_tensor(LINEAR_UNITS))
        field = integrated(control, settings.control_spacing) if settings.diffeomorphic else control
        return matrix, sample(field, points, settings.control_spacing)

    def quality(self, inputs: Batch, result: dict, points: torch.Tensor) -> torch.Tensor:
        """The similarity that is maximized, of the whole working grid: NMI (1 … 2), one minus the mean difference of
        the descriptors (0 … 1), or the sum of both."""
        found = []
        for fixed, seen, where in zip(inputs["fixed"].split(1), result["seen"].split(1), points.split(1), strict=True):
            compared = self._compared(fixed, 1)
            warped = sample(self._channels(seen), _at(where, compared), self.spacing, -1)
            found.append(self._similarity(_at(self._channels(fixed), compared), warped))
        return torch.cat(found)

    def _compared(self, fixed: torch.Tensor, factor: int) -> torch.Tensor:
        """(D, H, W) bool: the foreground of the fixed image, and as far around it as `margin` says; all of an image
        without any."""
        reach = round(self.settings.margin / (factor * self.spacing))
        near = (fixed > -1).float()
        for axis in range(3):  # one after the other: a cube of that size at once takes minutes
            padding = [reach if each == axis else 0 for each in range(3)]
            near = F.max_pool3d(near, [2 * each + 1 for each in padding], 1, padding)
        return near[0, 0] > 0 if near.any() else torch.ones_like(near[0, 0], dtype=torch.bool)

    def _channels(self, image: torch.Tensor) -> torch.Tensor:
        """What is compared at each voxel: the intensity, the descriptor, or both; −1 where there is nothing."""
        if self.settings.similarity == "nmi":
            return image.float()
        descriptor = -self_similarity(image)
        return descriptor if self.settings.similarity == "mind" else torch.cat([image.float(), descriptor], 1)

    def _similarity(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """(1,) of two sets of channels (1, C, …) at the same places."""
        kind, total = self.settings.similarity, first.new_zeros(1)
        if kind != "mind":
            total = total + normalized_mutual_information(first[:, 0], second[:, 0])
        if kind != "nmi":
            total = total + 1 - mind_distance(first[:, -DESCRIPTOR:], second[:, -DESCRIPTOR:])
        return total

    def deployed(self) -> tuple[str, ...]:
        return ("to_target",)


def _settings_of_the_game(settings: SynthesisRegistrationSettings) -> CycleGANSettings:
    names = {field.name for field in dataclasses.fields(CycleGANSettings)}
    shared = {name: value for name, value in settings.as_dict().items() if name in names}
    return CycleGANSettings(**shared | {"discriminator_width": settings.critic_width})


def _as_translation(pair: Batch) -> Batch:
    return {"source": pair["moving"], "target": pair["fixed"]}


def _stretch(matrix: torch.Tensor) -> torch.Tensor:
    """How far linear maps (B, 4, 4) are from turning alone: squared distance of AᵀA from the identity."""
    linear = matrix[:, :3, :3]
    return (linear.transpose(1, 2) @ linear - torch.eye(3, device=matrix.device)).square().sum()


def _random_part(image: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    sizes = [min(part, whole) for part, whole in zip(size, image.shape[2:], strict=True)]
    starts = [int(torch.randint(whole - part + 1, ())) for part, whole in zip(sizes, image.shape[2:], strict=True)]
    z, y, x = (slice(start, start + part) for start, part in zip(starts, sizes, strict=True))
    return image[:, :, z, y, x]


def _coarser(image: torch.Tensor, factor: int) -> torch.Tensor:
    """Means of factor³ voxels around the same center; what is left over (sizes are even) is cut off on both sides."""
    cut = [size % factor // 2 for size in image.shape[2:]]
    z, y, x = (slice(each, size - each) for each, size in zip(cut, image.shape[2:], strict=True))
    return F.avg_pool3d(image[:, :, z, y, x], factor)


def _at(image: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """(1, C, D, H, W) at the N voxels of a mask (D, H, W) -> (1, C, 1, 1, N)."""
    return image[:, :, where][:, :, None, None]
