"""Registration nets: keypoints with a closed-form linear fit, then a dense displacement; warping in millimeters.

Geometry of this file: an image (B, C, D, H, W) lies on a grid of isotropic `spacing` mm whose axes are R, A, S and
whose center is the origin. Points and displacements are (B, 3, D, H, W) in mm, components x, y, z.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from GANSynthesisLib.networks.convolution import Conv3d
from GANSynthesisLib.networks.translation import UNetBody


def grid_points(shape: tuple[int, int, int], spacing: float, device=None) -> torch.Tensor:
    """Coordinates of the voxel centers, (1, 3, D, H, W) in mm from the grid's center."""
    axes = [(torch.arange(size, device=device, dtype=torch.float32) - (size - 1) / 2) * spacing for size in shape]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y, z])[None]


def sample(image: torch.Tensor, points: torch.Tensor, spacing: float, outside: float = 0.0) -> torch.Tensor:
    """Linear interpolation of an image at points in mm; `outside` (one value) beyond the image."""
    sizes = torch.tensor([image.shape[4], image.shape[3], image.shape[2]], device=image.device)
    scaled = points.float().movedim(1, -1) / (spacing * (sizes - 1) / 2)
    return F.grid_sample(image.float() - outside, scaled, mode="bilinear", align_corners=True) + outside


def apply_linear(matrix: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """(B, 4, 4) matrices on (B or 1, 3, …) points, in fp32: bf16 knows 48 mm only to 0.25 mm."""
    flat = points.flatten(2).expand(matrix.shape[0], -1, -1)
    with torch.autocast(points.device.type, enabled=False):
        moved = matrix[:, :3, :3] @ flat + matrix[:, :3, 3:]
    return moved.view(matrix.shape[0], 3, *points.shape[2:])


def centers_of_mass(weights: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """(B, K, D, H, W) nonnegative weights -> (B, K, 3) centers in mm, in fp32."""
    flat = weights.float().flatten(2)
    with torch.autocast(weights.device.type, enabled=False):
        return flat @ points[0].flatten(1).T / flat.sum(2, keepdim=True).clamp(min=1e-6)


def structure_anchors(weights: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """(B, S, D, H, W) nonnegative weights -> (B, 7·S, 3) mm: center of each structure, and two extents to both sides
    along every axis. A linear fit to them lays centers on each other and matches sizes."""
    centers = centers_of_mass(weights, points)
    flat, places = weights.float().flatten(2), points[0].flatten(1).T
    variance = flat @ places.square() / flat.sum(2, keepdim=True).clamp(min=1e-6) - centers.square()
    reach = 2 * torch.diag_embed(variance.clamp(min=1).sqrt())
    around = torch.cat([centers[:, :, None] + reach, centers[:, :, None] - reach, centers[:, :, None]], 2)
    return around.flatten(1, 2)


def label_centers(
    fixed_labels: torch.Tensor, moving_labels: torch.Tensor, spacing: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Soft masks (B, C, D, H, W) in matching order -> their centers in the fixed and in the moving image (B, C, 3) in
    mm, and (B, C) 1 where both images have the label."""
    grid = grid_points(tuple(fixed_labels.shape[2:]), spacing, fixed_labels.device)
    both = (fixed_labels.flatten(2).amax(2) > 0.3) & (moving_labels.flatten(2).amax(2) > 0.3)
    return centers_of_mass(fixed_labels, grid), centers_of_mass(moving_labels, grid), both.float()


def label_distances(
    points: torch.Tensor, fixed_labels: torch.Tensor, moving_labels: torch.Tensor, spacing: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """How far a map takes the centers of the fixed labels from those of the moving ones, in mm of moving space.

    points (B, 3, D, H, W) is the map, labels (B, C, D, H, W) are soft masks in matching order -> distances (B, C), and
    (B, C) 1 where both images have the label.
    """
    here, there, both = label_centers(fixed_labels, moving_labels, spacing)
    mapped = sample(points, here.transpose(1, 2)[:, :, None, None], spacing)[:, :, 0, 0].transpose(1, 2)
    return ((mapped - there).square().sum(2) + 1e-6).sqrt(), both


def fit_linear(
    source: torch.Tensor, target: torch.Tensor, weights: torch.Tensor, kind: str, ridge: float = 4.0
) -> torch.Tensor:
    """Least-squares map of points source -> target, (B, K, 3) in mm, weights (B, K) -> matrices (B, 4, 4).

    `kind` is translation, rigid (Kabsch 1976) or affine. `ridge` in mm² per unit weight pulls the linear part toward
    the identity, so that points which have not spread yet still give a sensible map.
    """
    with torch.autocast(source.device.type, enabled=False):
        total = weights.sum(1)[:, None, None]
        share = weights[:, :, None] / total
        source_mean, target_mean = (share * source).sum(1), (share * target).sum(1)
        a, b = source - source_mean[:, None], target - target_mean[:, None]
        pull = ridge * torch.eye(3, device=source.device)
        covariance = (share * b).transpose(1, 2) @ a + pull
        if kind == "translation":
            linear = torch.eye(3, device=source.device).expand(source.shape[0], 3, 3)
        elif kind == "rigid":
            u, _, v = torch.linalg.svd(covariance)
            handedness = torch.det(u @ v).sign()
            flip = torch.ones(source.shape[0], 3, device=source.device)
            flip = torch.cat([flip[:, :2], handedness[:, None]], 1)
            linear = u @ torch.diag_embed(flip) @ v
        else:
            linear = torch.linalg.solve((share * a).transpose(1, 2) @ a + pull, covariance, left=False)
        matrix = torch.eye(4, device=source.device).repeat(source.shape[0], 1, 1)
        matrix[:, :3, :3] = linear
        matrix[:, :3, 3] = target_mean - (linear @ source_mean[:, :, None])[:, :, 0]
        return matrix


class HalfResolution(nn.Module):
    """A U-Net that works on every second voxel: (B, C, D, H, W) -> (B, out, D/2, H/2, W/2) in fp32.

    Keypoints and displacements are smooth; the full grid would cost eight times as much and say no more.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int, levels: int = 3):
        super().__init__()
        self.stem = Conv3d(in_channels, width, 4, stride=2, padding=1)
        self.body = UNetBody(3, width, width, levels)
        self.last = Conv3d(width, out_channels, 3, padding=1)

    def features(self, image: torch.Tensor) -> torch.Tensor:
        return self.body(F.leaky_relu(self.stem(image), 0.1)).float()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.features(image)
        with torch.autocast(image.device.type, enabled=False):
            return self.last(features)


class Refiner(HalfResolution):
    """What a linear fit leaves: a dense displacement and, with `correction` above 0, one more affine map.

    A fit to a few structures knows nothing of what their outline does not show, such as how a probe tilts and presses
    a gland. Most of that is affine, and twelve numbers are learned from fewer pairs than a free displacement is.
    `correction` is the size of one unit of these numbers: that many mm of shift, twice as many percent of stretch or
    tilt, which move a point of an organ about as far. `diffeomorphic` takes the network's answer for a velocity.
    """

    def __init__(
        self, in_channels: int, width: int, spacing: float, correction: float = 0, diffeomorphic: bool = False
    ):
        super().__init__(in_channels, 3, width)
        self.spacing, self.unit, self.diffeomorphic = spacing, correction, diffeomorphic
        self.correction = nn.Linear(width, 12) if correction else None
        for layer in (self.last, self.correction):
            if layer is not None:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """-> displacement (B, 3, D, H, W) in mm, and what is added to the affine identity, (B, 3, 4)."""
        features = self.features(image)
        with torch.autocast(image.device.type, enabled=False):
            displacement, change = self.last(features), features.new_zeros(len(features), 3, 4)
            if self.diffeomorphic:
                displacement = integrated(displacement, 2 * self.spacing)
            if self.correction is not None:
                change = self.correction(features.flatten(2).mean(2)).view(-1, 3, 4)
                change = change * self.unit * change.new_tensor([0.02, 0.02, 0.02, 1])
            return to_size(displacement, image.shape[2:]), change


class DisplacementGenerator(nn.Module):
    """(moving, fixed) -> what `RegistrationGenerator` gives of a result, by a dense displacement alone: the matrix is
    the identity, and there are no structures."""

    def __init__(self, spacing: float, width: int, diffeomorphic: bool):
        super().__init__()
        self.spacing = spacing
        self.refiner = Refiner(2, width, spacing, diffeomorphic=diffeomorphic)

    def forward(self, moving: torch.Tensor, fixed: torch.Tensor) -> dict[str, torch.Tensor]:
        displacement, _ = self.refiner(torch.cat([moving, fixed], 1))
        points = grid_points(tuple(fixed.shape[2:]), self.spacing, fixed.device)
        none = fixed[:, :0]
        return {
            "matrix": torch.eye(4, device=fixed.device).repeat(len(fixed), 1, 1), "displacement": displacement,
            "points": points + displacement, "fixed_structures": none, "moving_structures": none,
        }


def integrated(velocity: torch.Tensor, spacing: float, halvings: int = 6) -> torch.Tensor:
    """Displacement (B, 3, D, H, W) in mm of the flow along a stationary velocity field, by scaling and squaring.

    Half the flow followed by itself is the whole (Arsigny 2006); maps that are integrated so do not fold.
    """
    with torch.autocast(velocity.device.type, enabled=False):
        points = grid_points(tuple(velocity.shape[2:]), spacing, velocity.device)
        displacement = velocity.float() / 2**halvings
        for _ in range(halvings):
            displacement = displacement + sample(displacement, points + displacement, spacing)
        return displacement


def corrected(matrix: torch.Tensor, center: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """(B, 4, 4) after the affine map identity + `change` (B, 3, 4) about `center` (B, 3), in mm and fp32."""
    with torch.autocast(matrix.device.type, enabled=False):
        first = torch.eye(4, device=matrix.device).repeat(len(change), 1, 1)
        first[:, :3, :3] += change[:, :, :3]
        first[:, :3, 3] = change[:, :, 3] - (change[:, :, :3] @ center[:, :, None])[:, :, 0]
        return matrix @ first


def to_size(image: torch.Tensor, shape) -> torch.Tensor:
    """Trilinear interpolation to another number of voxels over the same field of view."""
    return F.interpolate(image.float(), size=tuple(shape), mode="trilinear", align_corners=False)


class KeypointEncoder(nn.Module):
    """Image -> keypoints in mm and structure logits.

    Keypoints are centers of mass of learned heat maps, the closed-form head of KeyMorph (Wang 2023, MELBA); structures
    are anatomical parts that labels of the training cases name (none without labels).
    """

    def __init__(self, keypoints: int, structures: int, width: int):
        super().__init__()
        self.keypoints = keypoints
        self.net = HalfResolution(1, keypoints + structures, width)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """-> heat maps (B, K, D/2, H/2, W/2) that sum to 1, structure logits (B, S, D, H, W)."""
        answer = self.net(image)
        heat = answer[:, : self.keypoints]
        structures = answer[:, self.keypoints :]
        if structures.shape[1]:
            structures = to_size(structures, image.shape[2:])
        else:
            structures = image[:, :0]
        return heat.flatten(2).softmax(2).view_as(heat), structures


class RegistrationGenerator(nn.Module):
    """(moving, fixed) -> linear matrix and dense displacement: fixed points x go to matrix · (x + u(x)).

    The linear part is a closed-form fit to the structures that are found in both images, or to learned keypoints; with
    `correction`, the refiner's affine map about the center of the fixed ones comes before it.
    moving, fixed: (B, 1, D, H, W) in [−1, 1] on one centered grid.
    """

    def __init__(
        self, spacing: float, linear: str, dense: bool, keypoints: int, structures: int, width: int,
        correction: float = 0, population: bool = False, diffeomorphic: bool = False,
    ):
        super().__init__()
        self.spacing, self.linear, self.dense, self.structures = spacing, linear, dense, structures
        # What the fit leaves in all patients alike, added to the affine identity; estimated by who trains this.
        self.register_buffer("population", torch.zeros(3, 4) if population else None)
        keypoints = 0 if structures else keypoints
        self.fixed_encoder = KeypointEncoder(keypoints, structures, width)
        self.moving_encoder = KeypointEncoder(keypoints, structures, width)
        if dense:
            self.refiner = Refiner(2 + 2 * structures, width, spacing, correction, diffeomorphic)

    def find_structures(self, moving: torch.Tensor, fixed: torch.Tensor) -> dict[str, torch.Tensor]:
        """-> fixed_structures and moving_structures: logits (B, S, D, H, W)."""
        return {"fixed_structures": self.fixed_encoder(fixed)[1], "moving_structures": self.moving_encoder(moving)[1]}

    def forward(self, moving: torch.Tensor, fixed: torch.Tensor) -> dict[str, torch.Tensor]:
        """-> matrix (B, 4, 4), displacement (B, 3, D, H, W) mm, points (B, 3, D, H, W) the whole map, linear_points of
        the closed-form fit alone, its matrix fit and the center (B, 3) of what it was fitted to in the fixed image,
        fixed_structures and moving_structures: logits (B, S, D, H, W)."""
        points = grid_points(tuple(fixed.shape[2:]), self.spacing, fixed.device)
        fixed_heat, fixed_structures = self.fixed_encoder(fixed)
        moving_heat, moving_structures = self.moving_encoder(moving)
        # Structures learn from their labels alone: pulled about by the fit, they would stop being anatomy.
        fixed_parts, moving_parts = fixed_structures.detach().sigmoid(), moving_structures.detach().sigmoid()
        if self.structures:
            source, target = structure_anchors(fixed_parts, points), structure_anchors(moving_parts, points)
        else:
            coarse = grid_points(tuple(fixed_heat.shape[2:]), 2 * self.spacing, fixed.device)
            source, target = centers_of_mass(fixed_heat, coarse), centers_of_mass(moving_heat, coarse)
        matrix = fit_linear(source, target, torch.ones(source.shape[:2], device=fixed.device), self.linear)
        linear_points = apply_linear(matrix, points)
        displacement, change = torch.zeros_like(linear_points), torch.zeros(len(fixed), 3, 4, device=fixed.device)
        fit, center = matrix.detach(), source.detach().mean(1)
        if self.dense:
            # The linear stage learns from its own losses; the refiner must not pull it about.
            pulled = sample(moving, linear_points.detach(), self.spacing, -1)
            parts = sample(moving_parts, linear_points.detach(), self.spacing)
            inputs = torch.cat([pulled, fixed, parts, fixed_parts], 1)
            displacement, change = self.refiner(inputs)
            matrix = fit
        if self.population is not None:
            change = change + self.population
        matrix = corrected(matrix, center, change)
        return {
            "matrix": matrix, "displacement": displacement, "points": apply_linear(matrix, points + displacement),
            "linear_points": linear_points, "fit": fit, "center": center,
            "fixed_structures": fixed_structures, "moving_structures": moving_structures,
        }
