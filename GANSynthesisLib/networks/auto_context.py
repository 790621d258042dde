"""Stages of translators, each of which sees what the one before made of the image (auto-context, Tu 2008)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


class AutoContext(nn.Module):
    """Translators in stages; from the second on, the prediction of the stage before is a further channel.

    A prediction for a case that a network has learned from is better than for any other, and the next stage would
    trust it too much. So each stage but the last has a copy for every fold of the cases that does not learn from it.
    Forward: (B, C, D, H, W) -> (B, 1, D, H, W), where each of these stages gives the mean of its copies.
    """

    def __init__(self, make: Callable[[int], nn.Module], channels: int, stages: int, folds: int):
        super().__init__()
        self.early = nn.ModuleList(
            nn.ModuleList(make(channels + (stage > 0)) for _ in range(folds)) for stage in range(stages - 1)
        )
        self.last = make(channels + (stages > 1))

    def forward(self, source: torch.Tensor) -> torch.Tensor:
        seen = source
        for copies in self.early:
            context = torch.stack([copy(seen) for copy in copies]).mean(0)
            seen = torch.cat([source, context], 1)
        return self.last(seen)

    def lessons(self, source: torch.Tensor, fold: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """What all networks make of a training batch: translations, and which of the images (B,) they are of.

        fold: (B,) of the case that each image is from. A copy answers for images of other folds than its own; contexts
        are out of fold, and no gradient flows through them.
        """
        answers, seen = [], source
        for copies in self.early:
            for number, copy in enumerate(copies):
                learning = fold != number
                if learning.any():
                    answers.append((copy(seen[learning]), learning))
            seen = torch.cat([source, self._out_of_fold(copies, seen, fold)], 1)
        return [*answers, (self.last(seen), torch.ones_like(fold, dtype=torch.bool))]

    @torch.no_grad()
    def _out_of_fold(self, copies: nn.ModuleList, seen: torch.Tensor, fold: torch.Tensor) -> torch.Tensor:
        """The prediction for each image by the copy that never learns from its fold."""
        context = torch.empty_like(seen[:, :1])
        for number, copy in enumerate(copies):
            own = fold == number
            if own.any():
                context[own] = copy(seen[own]).to(context.dtype)
        return context
