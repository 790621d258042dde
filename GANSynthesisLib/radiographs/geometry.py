"""Where rays and patient are, in millimeters of the room.

The room's axes are those of a patient who stands upright and unturned: R, A, S in mm around the isocenter. The
detector stands in front of the patient (PA view) or behind (AP), its columns run to the patient's left and its rows
down, so that the picture shows the patient as seen from the front, right side on the left.
"""

from __future__ import annotations

import math

import torch

from GANSynthesisLib.radiographs.projection import Projection


def rays(projection: Projection, device=None) -> tuple[torch.Tensor, torch.Tensor]:
    """Start and end of the ray to every pixel, each (rows · columns, 3) in mm of the room, row by row."""
    z = -(torch.arange(projection.rows, device=device) - (projection.rows - 1) / 2) * projection.pixel
    x = -(torch.arange(projection.columns, device=device) - (projection.columns - 1) / 2) * projection.pixel
    z, x = (each.reshape(-1) for each in torch.meshgrid(z, x, indexing="ij"))
    front = 1.0 if projection.view == "PA" else -1.0
    ends = torch.stack([x, torch.full_like(x, front * projection.object_distance), z], 1)
    back = torch.tensor([0.0, -front * projection.source_distance, 0.0], device=device)
    if projection.beam == "parallel":
        return ends + back, ends
    source = back + torch.tensor([0.0, front * projection.object_distance, 0.0], device=device)
    return source.expand_as(ends), ends


def patient_pose(angles=(0.0, 0.0, 0.0), translation=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0)) -> torch.Tensor:
    """(4, 4) from the patient's R, A, S mm around the isocenter to the room's; differentiable in tensors.

    angles: degrees of yaw (about S: 90 shows the patient from the side), pitch (about R) and roll (about A), the
    roll being applied first. translation: mm. scale: of the patient along R, A, S, before turning.
    """
    yaw, pitch, roll = (torch.as_tensor(angle, dtype=torch.float32) * (math.pi / 180) for angle in angles)
    zero, one = torch.zeros(()), torch.ones(())

    def matrix(*rows) -> torch.Tensor:
        return torch.stack([torch.stack([torch.as_tensor(value) for value in row]) for row in rows])

    about_s = matrix((yaw.cos(), -yaw.sin(), zero), (yaw.sin(), yaw.cos(), zero), (zero, zero, one))
    about_r = matrix((one, zero, zero), (zero, pitch.cos(), -pitch.sin()), (zero, pitch.sin(), pitch.cos()))
    about_a = matrix((roll.cos(), zero, roll.sin()), (zero, one, zero), (-roll.sin(), zero, roll.cos()))
    sizes = torch.stack([torch.as_tensor(value, dtype=torch.float32) for value in scale])
    moved = torch.stack([torch.as_tensor(value, dtype=torch.float32) for value in translation])
    top = torch.cat([about_s @ about_r @ about_a * sizes, moved[:, None]], 1)
    return torch.cat([top, torch.tensor([[0.0, 0.0, 0.0, 1.0]])])
