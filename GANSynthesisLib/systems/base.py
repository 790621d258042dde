"""What a system is: players, the losses of their turns, and what is applied afterwards."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from GANSynthesisLib.systems.settings import Settings

Batch = dict[str, torch.Tensor]
Losses = dict[str, torch.Tensor]


class System(nn.Module):
    """A game of players that take turns.

    A subclass builds its networks as submodules, names in `players` which of them each turn trains, and has one method
    per turn that returns named loss terms (none: the player passes); the engine adds them with the weights
    `<term>_weight` of the settings.
    A batch maps roles to tensors (B, C, D, H, W); images are in [−1, 1], label maps hold whole numbers.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    task: ClassVar[str]
    roles: ClassVar[tuple[str, ...]]
    optional_roles: ClassVar[tuple[str, ...]] = ()
    turns: tuple[str, ...]
    citation: ClassVar[str]
    Settings: ClassVar[type[Settings]] = Settings
    paired: ClassVar[bool] = True  # the roles of a training case show the same anatomy on one grid
    advice: ClassVar[str] = ""  # what to do where a role is missing from the training data
    criterion: ClassVar[str] = ""  # the validation number that is minimized; empty: the last weights are kept

    players: dict[str, tuple[str, ...]]

    def __init__(self, settings: Settings):
        super().__init__()
        self.settings = settings
        self._pool = None
        # Fakes of the generators' turn, which the discriminators' turn of the same round judges.
        self.fakes: dict[str, torch.Tensor] = {}

    def use_pool(self, pool) -> None:
        """The engine lends its image pool (a callable of name and fakes) for training."""
        self._pool = pool

    def pooled(self, name: str, fake: torch.Tensor) -> torch.Tensor:
        """Past fakes mixed with these, for a discriminator's turn; the fakes themselves outside training."""
        return fake.detach() if self._pool is None else self._pool(name, fake.detach())

    def weight(self, term: str) -> float:
        return float(getattr(self.settings, f"{term}_weight", 1.0))

    def start_anew(self) -> None:
        """Called once the weights of another run are taken: forget how far that run was."""

    def after_turn(self, turn: str) -> None:
        """Called when a turn's optimizer has stepped (weight clipping, say)."""

    def validate(self, batch: Batch) -> dict[str, float]:
        """Numbers that describe how well the system does on a batch it has not trained on."""
        raise NotImplementedError

    def preview(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Images (1, 1, D, H, W) of one validation batch, in the order they are shown."""
        raise NotImplementedError

    def apply(self, inputs: Batch) -> dict[str, Any]:
        """What the trained system gives for inputs by role; which outputs need which roles: `needs`."""
        raise NotImplementedError

    @classmethod
    def needs(cls, settings: Settings) -> dict[str, tuple[str, ...]]:
        """Outputs of the system and the input roles each is computed from."""
        raise NotImplementedError

    def deployed(self) -> tuple[str, ...]:
        """Names of the submodules that stay with the model; the others only trained it."""
        raise NotImplementedError

    def deployed_state(self, state: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
        """The part of a state (by default the system's own) that stays with the model, buffers of the system too."""
        whole = self.state_dict() if state is None else state
        kept = self.deployed()
        return {name: value for name, value in whole.items() if name.split(".")[0] in kept or "." not in name}
