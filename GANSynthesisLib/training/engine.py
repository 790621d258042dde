"""The engine: plays the turns of any system. It owns players, optimizers, precision, averages and checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from GANSynthesisLib.objectives.adversarial import watched
from GANSynthesisLib.objectives.divergence import equilibrium
from GANSynthesisLib.progress import Cancelled
from GANSynthesisLib.systems.base import Batch, System
from GANSynthesisLib.training.checkpoint import check_same_run, load_checkpoint, save_checkpoint
from GANSynthesisLib.training.curves import write_history, write_preview
from GANSynthesisLib.training.losses import LossesFile
from GANSynthesisLib.training.monitors import find_trouble
from GANSynthesisLib.training.patches import PatchSampler
from GANSynthesisLib.training.processes import Processes
from GANSynthesisLib.training.stability import ADVERSARIES, Average, ImagePool, learning_rate_factor
from GANSynthesisLib.training.validation import validated

LOG_EVERY = 20
MOST_ROLLBACKS = 3


class Alert(RuntimeError):
    """Training cannot go on; the message names the alert and gives advice."""


@dataclass
class Run:
    """Where and how long: `folder` holds checkpoint, curves and previews; `log` gets every alert, in one line."""

    folder: Path
    steps: int
    seed: int
    report: Callable[[int, str], None]
    cancelled: Callable[[], bool]
    log: Callable[[str], None]


class Engine:
    """Trains one system on the batches of a sampler; `fabric` decides device, precision and processes."""

    def __init__(self, system: System, sampler: PatchSampler, validation: list[Batch], fabric, run: Run):
        settings = system.settings
        self.raw, self.sampler, self.validation, self.fabric, self.run = system, sampler, validation, fabric, run
        self.processes = Processes(fabric)
        self.settings, self.step, self.history, self.alerts = settings, 0, [], []
        self.losses = LossesFile(run.folder / "losses.csv")
        self.pool = ImagePool(settings.pool)
        system.use_pool(self.pool)
        system.use_rounds(run.steps)
        optimizers = {turn: self._optimizer(turn) for turn in dict.fromkeys(system.turns)}
        wrapped = fabric.setup(system, *optimizers.values())
        self.system = wrapped[0]
        self.optimizers = dict(zip(optimizers, wrapped[1:], strict=True))
        for turn in optimizers:
            self.system.mark_forward_method(f"{turn}_turn")
        self.average = Average(system, settings.ema)
        self.best: dict | None = None
        self.found: dict[str, float] = {}  # at the last validation
        self.stale = 0
        self.slowdown = 1.0
        self._seed(run.seed)

    def _seed(self, seed: int) -> None:
        """Noise and simulated misalignment are other ones in every process."""
        if self.processes.share.rank > 0:
            torch.manual_seed(seed + 7919 * self.processes.share.rank)

    def _optimizer(self, turn: str) -> torch.optim.Optimizer:
        settings, weights = self.settings, list(self._weights(turn))
        rate = settings.learning_rate
        if turn in ADVERSARIES and settings.discriminator_learning_rate > 0:
            rate = settings.discriminator_learning_rate
        if settings.optimizer == "rmsprop":
            return torch.optim.RMSprop(weights, lr=rate, weight_decay=settings.weight_decay)
        return torch.optim.AdamW(
            weights, lr=rate, betas=(settings.beta1, settings.beta2), weight_decay=settings.weight_decay, fused=True
        )

    def _weights(self, turn: str):
        for name in self.raw.players[turn]:
            yield from getattr(self.raw, name).parameters()

    # --- the game ---------------------------------------------------------------------------------------------------

    def train(self) -> dict[str, torch.Tensor]:
        """Play until the last step; -> the averaged weights, the best validated ones where the system has a criterion.

        Raises Alert when losses stay not finite after going back, Cancelled when asked to stop.
        """
        while self.step < self.run.steps and not self._stale():
            if self.processes.any(self.run.cancelled()):
                self.save()
                raise Cancelled(f"Training stopped at step {self.step}; --resume goes on from there.")
            numbers = self._round()
            if numbers is None or not self._weights_are_finite():
                self._go_back()
                continue
            self.step += 1
            self.average.update(self.raw, self.step)
            if self._due(LOG_EVERY):
                self.history.append({"step": self.step, **numbers})
            if self._due(self.settings.validate_every):
                self._validate()
            if self._due(LOG_EVERY) or self._due(self.settings.validate_every):
                self._look_after()
            if self._due(self.settings.checkpoint_every) or self._stale():
                self.save()
            self.run.report(self.step, self._status(numbers))
        if self._stale():
            self.alert("early-stop", f"no better validation for {self.stale} validations")
        return self.best["weights"] if self.best else self.average.values

    def _due(self, every: int, step: int | None = None) -> bool:
        step = self.step if step is None else step
        return step % every == 0 or step == self.run.steps

    def _weights_are_finite(self) -> bool:
        """A step can overflow where its loss did not: such weights must reach neither a checkpoint nor a model."""
        values = [value for value in self.raw.state_dict().values() if value.is_floating_point()]
        return math.isfinite(float(torch.nn.utils.get_total_norm(values)))

    def _round(self) -> dict[str, float] | None:
        """All turns once; None when a loss or a weight update was not finite."""
        factor = self.slowdown * learning_rate_factor(
            self.step, self.run.steps, self.settings.warmup, self.settings.decay_from
        )
        numbers, batch, seen = {}, None, set()
        with watched() as judged:
            for turn in self.raw.turns:
                if batch is None or turn in seen:  # the same turn again gets new data; another turn shares it
                    batch, seen = self.sampler.batch(self.fabric.device), set()
                seen.add(turn)
                if not self._turn(turn, batch, factor, numbers):
                    return None
        if self._due(LOG_EVERY, self.step + 1):
            stands = equilibrium(judged)
            numbers |= zip(stands, self.processes.mean([*stands.values()]) if stands else (), strict=True)
        return numbers

    def _turn(self, turn: str, batch: Batch, factor: float, numbers: dict[str, float]) -> bool:
        for name in dict.fromkeys(name for names in self.raw.players.values() for name in names):
            getattr(self.raw, name).requires_grad_(name in self.raw.players[turn])
        optimizer = self.optimizers[turn]
        optimizer.zero_grad(set_to_none=True)
        with self.fabric.autocast():  # a wrapped module has it, but a single process is not wrapped
            losses = getattr(self.system, f"{turn}_turn")(batch)
        if not losses:  # the player passes
            return True
        self.fabric.backward(sum(self.raw.weight(term) * loss for term, loss in losses.items()))
        norm = torch.nn.utils.clip_grad_norm_(
            list(self._weights(turn)), self.settings.clip_gradient or math.inf, error_if_nonfinite=False
        )
        # All at once, after the work of the turn is on its way: each look waits for the device.
        values = self.processes.mean([*losses.values(), norm])
        numbers |= zip([*(f"{turn}/{term}" for term in losses), f"gradient norm/{turn}"], values, strict=True)
        if not all(math.isfinite(value) for value in values):
            return False
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * factor
        optimizer.step()
        self.raw.after_turn(turn)
        return True

    def _go_back(self) -> None:
        """Not finite: the last checkpoint, half the learning rate, other random numbers."""
        rollbacks = 1 + sum(alert["name"] == "not-finite" for alert in self.alerts)
        path = self.run.folder / "checkpoint.pt"
        if rollbacks > MOST_ROLLBACKS or not path.exists():
            raise Alert(
                f"Alert not-finite: a loss of {self.raw.name} became NaN or infinite at step {self.step + 1} and did "
                "not recover; lower learning_rate, set clip_gradient=1, or look for NaN in the training images."
            )
        step, alerts, slowdown = self.step, self.alerts, self.slowdown
        self.load(load_checkpoint(path))
        self.alerts, self.slowdown = alerts, slowdown / 2
        self.alert("not-finite", f"NaN at step {step + 1}: back to step {self.step} at half the learning rate")
        self.sampler.reseed((self.run.seed, rollbacks))
        torch.manual_seed(self.run.seed + 1000 * rollbacks)
        self._seed(self.run.seed + 1000 * rollbacks)
        self.save()

    def alert(self, name: str, text: str) -> None:
        self.alerts.append({"name": name, "step": self.step, "text": text})
        self.run.report(self.step, f"alert {name}: {text}")
        self.run.log(f"alert {name} at step {self.step}: {text}")

    # --- looking ----------------------------------------------------------------------------------------------------

    def _look_after(self) -> None:
        """What was logged goes to disk, and what it shows of trouble is told, once of each kind."""
        if self.processes.first:
            self.losses.follow(self.history)
        for name, text in find_trouble(self.history).items():
            if name not in [alert["name"] for alert in self.alerts]:
                self.alert(name, text)

    def _validate(self) -> None:
        """Numbers and a preview with the averaged weights."""
        if not self.validation:
            return
        entry, preview = validated(self.raw, self.average.values, self.validation, self.processes)
        if self.history and self.history[-1]["step"] == self.step:
            self.history[-1].update(entry)
        else:
            self.history.append({"step": self.step, **entry})
        if self.processes.first:
            (self.run.folder / "previews").mkdir(parents=True, exist_ok=True)
            write_preview(self.run.folder / "previews" / f"step_{self.step:06d}.png", preview)
        self.found = _validation_numbers(entry)
        self._keep_best(self.found)

    def _keep_best(self, found: dict[str, float]) -> None:
        score = found.get(self.raw.criterion)
        if score is None:
            return
        if self.best is None or score < self.best["score"]:
            weights = {name: value.clone() for name, value in self.average.values.items()}
            self.best = {"score": score, "step": self.step, "numbers": found, "weights": weights}
            self.stale = 0
        else:
            self.stale += 1

    def _stale(self) -> bool:
        return 0 < self.settings.patience <= self.stale

    def _status(self, numbers: dict[str, float]) -> str:
        terms = [f"{name.split('/')[1]} {value:.4g}" for name, value in numbers.items()
                 if name.split("/")[0] in self.raw.turns]
        if self.raw.criterion in self.found:
            terms.append(f"validation {self.raw.criterion} {self.found[self.raw.criterion]:.4g}")
        return ", ".join(terms)

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def save(self) -> None:
        others = self.processes.gathered(self._own_state())
        if not self.processes.first:
            return
        content = {
            **self._identity(), "step": self.step, "weights": self.raw.state_dict(), "average": self.average.values,
            "optimizers": {turn: optimizer.state_dict() for turn, optimizer in self.optimizers.items()},
            "sampler": self.sampler.state(), "best": self.best, "stale": self.stale, "slowdown": self.slowdown,
            "history": self.history, "alerts": self.alerts, **others[0], "others": others[1:],
        }
        save_checkpoint(self.run.folder / "checkpoint.pt", content)
        write_history(self.run.folder, self.history, self.losses)

    def _identity(self) -> dict:
        return {"system": self.raw.name, "settings": self.settings.as_dict(), "steps": self.run.steps,
                "seed": self.run.seed}

    def _own_state(self) -> dict:
        """What is another in every process: past fakes and random numbers."""
        state = {"pool": self.pool.images, "torch": torch.get_rng_state()}
        if self.fabric.device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self.fabric.device)
        if self.processes.alone:
            return state
        return state | {"pool": {name: [image.cpu() for image in images] for name, images in self.pool.images.items()}}

    def load(self, content: dict) -> None:
        """Take up a checkpoint. Raises CheckpointError when it belongs to another run."""
        check_same_run(self.run.folder, content, self._identity())
        self.raw.load_state_dict(content["weights"])
        self.average.values = content["average"]
        for name, value in self.raw.state_dict().items():
            self.average.values[name] = self.average.values[name].to(value.device)
        for turn, optimizer in self.optimizers.items():
            optimizer.load_state_dict(content["optimizers"][turn])
        self.sampler.restore(content["sampler"])
        for name in ("step", "best", "stale", "slowdown", "history", "alerts"):
            setattr(self, name, content[name])
        self._load_own_state([content, *content.get("others", ())])
        validations = [row for row in self.history if any(name.startswith("validation/") for name in row)]
        self.found = _validation_numbers(validations[-1]) if validations else {}
        self.losses.start_over()

    def _load_own_state(self, states: list[dict]) -> None:
        """Of this process; where there were fewer then, it starts without past fakes and with new random numbers."""
        rank = self.processes.share.rank
        if rank >= len(states):
            self.pool.images = {}
            self._seed(self.run.seed + self.step)
            return
        own = states[rank]
        self.pool.images = {
            name: [image.to(self.fabric.device) for image in images] for name, images in own["pool"].items()
        }
        torch.set_rng_state(own["torch"])
        if "cuda" in own and self.fabric.device.type == "cuda":
            torch.cuda.set_rng_state(own["cuda"], self.fabric.device)


def _validation_numbers(row: dict[str, float]) -> dict[str, float]:
    """Those of a row of the history that `validated` has measured, without the family's name."""
    return {name.split("/", 1)[1]: value for name, value in row.items() if name.startswith("validation/")}
