"""Landmarks that a user has placed in both volumes: how far apart a registration leaves them."""

from dataclasses import dataclass

import numpy as np

from GANSynthesisLib.volumes import VolumeError


@dataclass(frozen=True)
class LandmarkErrors:
    """names of the landmarks, and their distances in mm in fixed space, `before` and `after` the transform, (N,)."""

    names: tuple[str, ...]
    before: np.ndarray
    after: np.ndarray

    def __str__(self) -> str:
        return f"landmark error {self.after.mean():.1f} mm (before: {self.before.mean():.1f} mm)"


def landmark_errors(fixed, moving, transform) -> LandmarkErrors:
    """Errors of markups nodes `fixed` and `moving` by the transform node of a registration.

    Points belong together by their labels where both nodes have the same distinct labels, else by their order. A
    moving node that has been put under the transform counts as where it was without it. Raises VolumeError where the
    points cannot be matched.
    """
    names, numbers = _matches(fixed, moving)
    targets = _points(fixed, range(len(names)), None)
    starts = _points(moving, numbers, transform)
    to_fixed = transform.GetTransformToParent()
    moved = np.array([to_fixed.TransformPoint(point) for point in starts.tolist()])
    return LandmarkErrors(
        names, np.linalg.norm(starts - targets, axis=1), np.linalg.norm(moved - targets, axis=1)
    )


def check_landmarks(fixed, moving) -> None:
    """Raise VolumeError unless two markups nodes are there whose points can be matched."""
    if fixed is None or moving is None:
        raise VolumeError("Landmarks are chosen for one volume only: choose them for both, or for none.")
    if fixed is moving:
        raise VolumeError(f"'{fixed.GetName()}' is chosen for both volumes: choose two different landmark lists.")
    _matches(fixed, moving)


def _matches(fixed, moving) -> tuple[tuple[str, ...], list[int]]:
    """Labels of the fixed points, and for each the number of its moving point."""
    labels = []
    for node in (fixed, moving):
        count = node.GetNumberOfControlPoints()
        if count == 0:
            raise VolumeError(f"The landmarks '{node.GetName()}' hold no points: place them, or choose none.")
        labels.append([node.GetNthControlPointLabel(number) for number in range(count)])
    ours, theirs = labels
    if set(ours) == set(theirs) and len(set(ours)) == len(ours) == len(theirs):
        return tuple(ours), [theirs.index(label) for label in ours]
    if len(ours) != len(theirs):
        raise VolumeError(
            f"The landmarks '{fixed.GetName()}' have {len(ours)} points and '{moving.GetName()}' {len(theirs)}: place "
            "the same ones in both."
        )
    return tuple(ours), list(range(len(theirs)))


def _points(node, numbers, without) -> np.ndarray:
    """(N, 3) world positions in RAS mm, the transform `without` left out where it is the node's own parent."""
    local = without is not None and node.GetParentTransformNode() is without
    points = []
    for number in numbers:
        point = [0.0, 0.0, 0.0]
        (node.GetNthControlPointPosition if local else node.GetNthControlPointPositionWorld)(number, point)
        points.append(point)
    return np.array(points)
