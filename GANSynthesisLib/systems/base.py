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
    folds: int = 0  # parts that the training cases are dealt into by subject; a batch then has `fold` (B,) of each
    wants_features: bool = False  # the run is to lend the frozen network that the setting feature_model names
    criterion: ClassVar[str] = ""  # the validation number that is minimized; empty: the last weights are kept

    players: dict[str, tuple[str, ...]]

    def __init__(self, settings: Settings):
        super().__init__()
        self.settings = settings
        self._pool = None
        self._features = None
        # Fakes of the generators' turn, which the discriminators' turn of the same round judges.
        self.fakes: dict[str, torch.Tensor] = {}

    def drawn_together(self) -> tuple[tuple[str, ...], ...]:
        """Groups of roles in a training batch: a group is cut from one case at one place, each from a case of its own.

        By default the roles of paired cases are one group, and those of unpaired ones are alone. `paired_source` and
        `paired_target` are the two images of an unpaired system on one grid, where a case has both.
        """
        if not self.paired:
            return tuple((role,) for role in self.roles)
        return ((*self.roles, *(role for role in self.optional_roles if role not in self.roles)),)

    def drawn_from(self, group: tuple[str, ...], names: list[str]) -> list[str]:
        """Those of the cases, by name, that a group is drawn from, out of all that have its roles."""
        return names

    @classmethod
    def conditions(cls, settings: Settings) -> tuple[str, ...]:
        """Which of `class` and `value` a training case must have with these settings; a batch then has them as (B,),
        the index into `settings.classes` (int64), and the value in [−1, 1] over `settings.value_range`."""
        return tuple(role for role in cls.roles if role in ("class", "value"))

    def use_pool(self, pool) -> None:
        """The engine lends its image pool (a callable of name and fakes) for training."""
        self._pool = pool

    def use_rounds(self, count: int) -> None:
        """The engine tells how many rounds a run has, before the first one."""

    def use_features(self, features) -> None:
        """The run lends a frozen network (`networks.features`), before optimizers are made.

        Kept as a function: a module would become part of the system, and be averaged and saved with it.
        """
        self._features = features.__call__

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

    @classmethod
    def needed(cls, settings: Settings) -> tuple[str, ...]:
        """Input roles that must be given in any case: by default those of the first output."""
        return next(iter(cls.needs(settings).values()))

    @classmethod
    def role_of(cls, output: str) -> str:
        """The role of the training images that an output, if it is an image, is another one of."""
        return output

    def deployed(self) -> tuple[str, ...]:
        """Names of the submodules that stay with the model; the others only trained it."""
        raise NotImplementedError

    def deployed_state(self, state: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
        """The part of a state (by default the system's own) that stays with the model, buffers of the system too."""
        whole = self.state_dict() if state is None else state
        kept = self.deployed()
        return {name: value for name, value in whole.items() if name.split(".")[0] in kept or "." not in name}
