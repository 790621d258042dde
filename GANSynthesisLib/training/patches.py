"""From prepared cases to batches: random patches for training, fixed ones for validation."""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from GANSynthesisLib.shares import ALONE, Share
from GANSynthesisLib.systems.base import Batch, System
from GANSynthesisLib.training.cases import DataError
from GANSynthesisLib.training.cut import Cut, cut_batch
from GANSynthesisLib.training.loading import LoadedCase
from GANSynthesisLib.variation import GAMMA, LEVEL, SCALE, TURN, Contrast

ON_TARGET = ("target", "target_labels")  # of an unpaired case; all else lies on the source's grid
TURNED = 0.3  # part of the training patches that are turned and scaled
MOST_VALIDATED = 32  # cases


class PatchSampler:
    """Draws batches from loaded cases; every random number comes from one generator whose state is saved.

    Several processes draw the same numbers, and each cuts only its share of a batch. While a batch is worked on, a
    thread cuts the next one; the state is that of the batches given out.
    """

    def __init__(self, cases: list[LoadedCase], system: System, seed: int, share: Share = ALONE):
        self.cases, self.system, self.settings = cases, system, system.settings
        self.share = share
        self.random = np.random.default_rng(seed)
        self._drawn_until, self._next = self.random.bit_generator.state, None
        self._thread = _single_core_thread()
        self.window = system.settings.window()
        self.groups = {group: drawn_cases(cases, system, group) for group in system.drawn_together()}
        self.folds = deal_folds(cases, system.folds)

    def state(self) -> dict:
        return self._drawn_until

    def restore(self, state: dict) -> None:
        self.random.bit_generator.state = self._drawn_until = state
        self._next = None

    def reseed(self, seed: tuple[int, ...]) -> None:
        self.restore(np.random.default_rng(seed).bit_generator.state)

    def close(self) -> None:
        """No batch is asked for any more: let go of the cases' files."""
        self._thread.shutdown(cancel_futures=True)
        self._next = None

    def batch(self, device) -> Batch:
        """This process's share of a training batch of the roles the system needs, (B, C, D, H, W)."""
        now = self._next or self._begun()
        self._drawn_until = self.random.bit_generator.state
        self._next = self._begun()
        return {role: patches.to(device) for role, patches in now.result().items()}

    def _begun(self) -> Future:
        drawn = [self._draw() for _ in range(self.settings.batch)]
        shared = sorted(set.intersection(*(set(cuts) for cuts in drawn)))
        return self._thread.submit(cut_batch, self.share.of(drawn), shared)

    def _draw(self) -> dict[str, Cut]:
        return {role: cut for group in self.groups for role, cut in self._of_one_case(group).items()}

    def _of_one_case(self, group: tuple[str, ...]) -> dict[str, Cut]:
        """Patches at one place of one random case that has the group's roles, and its `fold` where there are folds."""
        having = self.groups[group]
        case = having[self.random.integers(len(having))]
        chosen = {role: tensor for role, tensor in case.tensors.items() if role in group}
        if self.system.task == "register":
            # Whole working grids; the system simulates misalignment itself.
            return {role: Cut(role, tensor) for role, tensor in chosen.items()}
        first = next(role for role in chosen if not role.endswith("labels"))
        points = self._random_points(case.boxes[first], chosen[first].shape[1:])
        cuts = {role: Cut(role, tensor, points, self._contrast(role)) for role, tensor in chosen.items()}
        cuts |= {role: Cut(role, number) for role, number in _condition_tensors(case).items() if role in group}
        return cuts | ({"fold": Cut("fold", torch.tensor(self.folds[case.subject]))} if self.folds else {})

    def _random_points(self, box, shape) -> torch.Tensor:
        """Voxel coordinates (D, H, W, 3) of a randomly placed, turned and scaled patch, in the order x, y, z."""
        depth, rows, columns = self.window
        strength, random = self.settings.augment, self.random
        low, high = box
        center = np.array([random.uniform(a, b) for a, b in zip(low, high, strict=True)])
        for axis, size in enumerate(self.window):
            if size >= high[axis] - low[axis]:
                center[axis] = (low[axis] + high[axis]) / 2 + random.uniform(-4, 4) * strength * (shape[axis] > 1)
        # Interpolation blurs: only some patches are turned and scaled, the others are exact copies of voxels. Slabs
        # hold the image's own slices in any case.
        turned = random.random() < TURNED * strength
        for axis, size in enumerate(self.window):
            if not turned or (axis == 0 and self.settings.context != "3D"):
                center[axis] = round(center[axis] - (size - 1) / 2) + (size - 1) / 2
        angle = math.radians(random.uniform(-TURN, TURN)) * strength if turned else 0.0
        scale = math.exp(random.uniform(-SCALE, SCALE) * strength) if turned else 1.0
        # Left-right flips only: patches are in canonical axes, so columns run to the patient's right.
        flip = -1 if strength > 0 and random.random() < 0.5 else 1
        z = torch.arange(depth) - (depth - 1) / 2
        y = (torch.arange(rows) - (rows - 1) / 2) * scale
        x = (torch.arange(columns) - (columns - 1) / 2) * scale * flip
        z, y, x = torch.meshgrid(z, y, x, indexing="ij")
        turned_x = math.cos(angle) * x - math.sin(angle) * y + center[2]
        turned_y = math.sin(angle) * x + math.cos(angle) * y + center[1]
        return torch.stack([turned_x, turned_y, z + center[0]], -1)

    def _contrast(self, role: str) -> Contrast | None:
        """Gamma and contrast change of input images; targets and labels stay as they are."""
        strength = self.settings.augment_intensity
        if strength == 0 or role in ("target", "labels") or (role == "image" and self.system.task != "classify"):
            return None
        if self.system.paired is False:
            return None  # the discriminators judge these intensities
        exponent = math.exp(self.random.uniform(-GAMMA, GAMMA) * strength)
        return exponent, 1 + self.random.uniform(-LEVEL, LEVEL) * strength

    def validation_batches(self, device, per_case: int = 6) -> list[Batch]:
        """Fixed patches of batch size 1, evenly spread over the foreground of every case, or of some of very many."""
        batches = []
        targets = [case for case in self.cases if "target" in case.tensors]
        usable = [each for each in enumerate(self.cases) if self.system.paired or "source" in each[1].tensors]
        flat = all(tensor.shape[1] == 1 for case in self.cases for tensor in case.tensors.values())
        if flat:  # all patches of a single slice would be the same: rather more cases
            per_case, most = 1, MOST_VALIDATED * per_case
        else:
            most = MOST_VALIDATED
        for number, case in usable[:: math.ceil(len(usable) / most)]:
            if self.system.task == "register":
                batches.append({role: tensor[None].to(device) for role, tensor in case.tensors.items()})
                continue
            role = "any" if self.system.paired else "source"
            for part in range(per_case):
                batch = self._fixed_patch(case, role, (part + 0.5) / per_case)
                if not self.system.paired:
                    other = targets[number % len(targets)] if targets else None
                    if other is None:
                        continue
                    batch |= self._fixed_patch(other, "target", (part + 0.5) / per_case)
                batches.append({name: patch[None].to(device) for name, patch in batch.items()})
        return batches

    def _fixed_patch(self, case: LoadedCase, role: str, share: float) -> dict[str, torch.Tensor]:
        low, high = case.boxes[role]
        center = [low[0] + share * (high[0] - low[0]), (low[1] + high[1]) / 2, (low[2] + high[2]) / 2]
        axes = [
            torch.arange(size) + round(middle - (size - 1) / 2)
            for middle, size in zip(center, self.window, strict=True)
        ]
        z, y, x = torch.meshgrid(*axes, indexing="ij")
        points = torch.stack([x, y, z], -1).float()
        names = [name for name in case.tensors if role == "any" or (name in ON_TARGET) == (role in ON_TARGET)]
        patches = {name: Cut(name, case.tensors[name], points).patch() for name in names}
        return patches | _condition_tensors(case)


def _condition_tensors(case: LoadedCase) -> dict[str, torch.Tensor]:
    """`class` (), a whole number, and `value` (), as far as the case has them."""
    kinds = {"class": torch.int64, "value": torch.float32}
    return {role: torch.tensor(number, dtype=kinds[role]) for role, number in case.conditions.items()}


def _single_core_thread() -> ThreadPoolExecutor:
    """A thread whose own work torch does not spread over cores.

    With more threads than cores OpenMP puts all of them to sleep between any two operations, those of the steps too.
    """
    cores = torch.get_num_threads()
    thread = ThreadPoolExecutor(1, "cutting")
    thread.submit(torch.get_num_threads).result()  # the first question in a thread sets its number
    thread.submit(torch.set_num_threads, 1).result()
    torch.set_num_threads(cores)  # of this thread, and of those to come
    return thread


def drawn_cases(cases: list[LoadedCase], system: System, group: tuple[str, ...]) -> list[LoadedCase]:
    """The cases that a group of roles is drawn from: those that have all of them, as far as the system takes them."""
    needed = {role for role in group if role in system.roles or role not in system.optional_roles}
    having = [case for case in cases if needed <= case.roles]
    names = set(system.drawn_from(group, [case.name for case in having]))
    return [case for case in having if case.name in names]


def deal_folds(cases: list[LoadedCase], count: int) -> dict[str, int]:
    """Subject -> fold, 0 to count − 1, in turn; nothing where the system asks for no folds."""
    subjects = sorted({case.subject for case in cases})
    return {subject: number % count for number, subject in enumerate(subjects)} if count else {}


def check_roles(cases: list[LoadedCase], system: System) -> None:
    """Every role that the system needs is there in at least one case, and so is every group of roles that it draws
    together; folds have subjects. Raises DataError."""
    for role in system.roles:
        if not any(role in case.roles for case in cases):
            raise DataError(
                f"No training case has the role '{role}', which {system.name} needs with these settings: add files, "
                "or set validation_fraction=0 where the only such case was kept for validation."
            )
    for group in system.drawn_together():
        if not drawn_cases(cases, system, group):
            roles = " and ".join(role.removeprefix("paired_") for role in group)
            raise DataError(
                f"No training case has {roles} together, which {system.name} needs with these settings: files that "
                f"belong together need the same name in every folder and must overlap{'; or ' * bool(system.advice)}"
                f"{system.advice}."
            )
    found = len({case.subject for case in cases})
    if found < system.folds:
        raise DataError(
            f"{system.name} needs training cases of at least {system.folds} subjects, one for each fold, and there "
            f"{'is' if found == 1 else 'are'} {found}: give more, or set fewer folds."
        )
