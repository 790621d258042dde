"""A network over a volume, window by window: blended with Gaussian weights, in fp32 accumulators allocated once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import torch

from GANSynthesisLib.inference.plan import Sizes, WindowPlan
from GANSynthesisLib.progress import IsCancelled, Progress, stop_if

Tensors = dict[str, torch.Tensor]
Apply = Callable[[Tensors], Mapping[str, torch.Tensor]]


def axis_weights(size: int, window: int, starts: tuple[int, ...]) -> torch.Tensor:
    """(windows, window): weight of each window along one axis; over every voxel of `size` they add up to 1.

    Gaussian, and 0 near an end that another window continues: there a network has seen too little of what surrounds
    it, and the other has it in its middle. The weights of a grid of windows are products of these of three axes.
    """
    at = torch.arange(window, dtype=torch.float64)
    gaussian = torch.exp(-0.5 * ((at - (window - 1) / 2) / (window / 5)).square()).clamp(min=1e-2)
    weights = gaussian.repeat(len(starts), 1)
    for number, (one, other) in enumerate(itertools.pairwise(starts)):
        margin = min(window // 6, 3 * (one + window - other) // 8)
        weights[number, window - margin :] = 0
        weights[number + 1, :margin] = 0
    total = torch.zeros(max(size, starts[-1] + window), dtype=torch.float64)
    for start, each in zip(starts, weights, strict=True):
        total[start : start + window] += each
    return torch.stack([
        each / total[start : start + window] for start, each in zip(starts, weights, strict=True)
    ]).float()


def apply_in_windows(
    apply: Apply,
    inputs: Tensors,
    plan: WindowPlan,
    names: Sequence[str],
    *,
    device: torch.device,
    progress: Progress,
    cancelled: IsCancelled,
    masks: Tensors | None = None,
) -> tuple[Tensors, int]:
    """Apply a network over volumes, role -> (1, D, H, W): output name -> (C, D, H, W) in fp32, and windows left out.

    Only the windows at work are read from the inputs, which may be mapped from files. Where windows reach beyond the
    volume its border is repeated. masks: (D, H, W) bool of outputs that are −1, the lowest value of an image, outside.
    What need not be computed is left out: windows that hold nothing of the masks of all `names`; and of windows with
    one and the same value everywhere all but the first, since their answers are equal. Raises Cancelled between two
    batches.
    """
    masks, outcome = masks or {}, _Outcome(plan, device)
    corners = plan.corners
    if all(name in masks for name in names):
        corners = [corner for corner in corners if any(masks[name][_box(corner, plan)].any() for name in names)]
    answered: dict[tuple[float, ...], Tensors] = {}  # value of each role in a constant window -> answers
    left_out, waiting = len(plan.corners) - len(corners), []
    for number, corner in enumerate(corners, start=1):
        tile = {role: _tile(image, corner, plan) for role, image in inputs.items()}
        value = None if plan.is_whole else _constant(tile)
        if value in answered:
            outcome.add(corner, answered[value])
            left_out += 1
        else:
            waiting.append((corner, tile, value))
        if waiting and (len(waiting) == plan.batch or number == len(corners)):
            stop_if(cancelled)
            answers = apply({role: torch.stack([tile[role] for _, tile, _ in waiting]).to(device) for role in inputs})
            for index, (at, _, value) in enumerate(waiting):
                outcome.add(at, {name: answers[name][index] for name in names})
                if value is not None:
                    answered[value] = {name: answers[name][index].clone() for name in names}
            waiting = []
            progress(number / len(corners), "applying the model")
    return {name: outcome.result(name, masks.get(name)) for name in names}, left_out


class _Outcome:
    """fp32 accumulators on the device, one per output, allocated when its number of channels is known."""

    def __init__(self, plan: WindowPlan, device: torch.device):
        self.plan, self.device = plan, device
        self.sums: Tensors = {}
        self.weights = [
            dict(zip(starts, axis_weights(*sizes, starts).to(device), strict=True))
            for *sizes, starts in zip(plan.shape, plan.window, plan.starts, strict=True)
        ]
        self.blended = any((each != 1).any() for axis in self.weights for each in axis.values())

    def add(self, corner: Sizes, answers: Mapping[str, torch.Tensor]) -> None:
        """Answers (C, d, h, w) of the window at a corner; what lies beyond the volume is cut off."""
        box = _box(corner, self.plan)
        inside = tuple(slice(0, each.stop - each.start) for each in box)
        for name, answer in answers.items():
            answer = answer[(slice(None), *inside)].float()
            if self.plan.is_whole:
                self.sums[name] = answer
                continue
            if name not in self.sums:
                self.sums[name] = torch.zeros((len(answer), *self.plan.shape), device=self.device)
            place = self.sums[name][(slice(None), *box)]
            if not self.blended:
                place.copy_(answer)
                continue
            d, h, w = (axis[at][cut] for axis, at, cut in zip(self.weights, corner, inside, strict=True))
            place.addcmul_(answer, d[:, None, None] * h[:, None] * w)

    def result(self, name: str, mask: torch.Tensor | None) -> torch.Tensor:
        """(C, D, H, W) on the CPU."""
        found = self.sums[name].cpu()
        return found if mask is None else found.masked_fill_(~mask, -1)


def _box(corner: Sizes, plan: WindowPlan) -> tuple[slice, ...]:
    """The voxels of a window that lie in the volume."""
    return tuple(
        slice(at, min(at + side, size)) for at, side, size in zip(corner, plan.window, plan.shape, strict=True)
    )


def _tile(image: torch.Tensor, corner: Sizes, plan: WindowPlan) -> torch.Tensor:
    """(C, d, h, w) of one window, the volume's border repeated beyond it."""
    part = image[(slice(None), *_box(corner, plan))]
    missing = [side - size for side, size in zip(plan.window, part.shape[1:], strict=True)]
    if not any(missing):
        return part
    padding = [amount for extra in reversed(missing) for amount in (0, extra)]
    return torch.nn.functional.pad(part[None], padding, mode="replicate")[0]


def _constant(tile: Tensors) -> tuple[float, ...] | None:
    """The value of each role, where each has but one."""
    values = []
    for image in tile.values():
        first = float(image[0, 0, 0, 0])
        if bool(image.ne(first).any()):
            return None
        values.append(first)
    return tuple(values)
