"""The engine: plays the turns of any system. It owns players, optimizers, precision, averages and checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from GANSynthesisLib.progress import Cancelled
from GANSynthesisLib.systems.base import Batch, System
from GANSynthesisLib.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from GANSynthesisLib.training.curves import write_history, write_preview
from GANSynthesisLib.training.losses import LossesFile
from GANSynthesisLib.training.patches import PatchSampler
from GANSynthesisLib.training.stability import (
    ADVERSARIES,
    Average,
    ImagePool,
    diversity_ratio,
    find_trouble,
    learning_rate_factor,
)

LOG_EVERY = 20
MOST_ROLLBACKS = 3
LOOKED_AT = 4  # validation batches whose previews are compared with each other


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
        self.settings, self.step, self.history, self.alerts = settings, 0, [], []
        self.losses = LossesFile(run.folder / "losses.csv")
        self.pool = ImagePool(settings.pool)
        system.use_pool(self.pool)
        optimizers = {turn: self._optimizer(turn) for turn in dict.fromkeys(system.turns)}
        wrapped = fabric.setup(system, *optimizers.values())
        self.system = wrapped[0]
        self.optimizers = dict(zip(optimizers, wrapped[1:], strict=True))
        for turn in optimizers:
            self.system.mark_forward_method(f"{turn}_turn")
        self.average = Average(system, settings.ema)
        self.best: dict | None = None
        self.stale = 0
        self.slowdown = 1.0

    def _optimizer(self, turn: str) -> torch.optim.Optimizer:
        settings, weights = self.settings, list(self._weights(turn))
        rate = settings.learning_rate
        if turn in ADVERSARIES and settings.discriminator_learning_rate > 0:
            rate = settings.discriminator_learning_rate
        if settings.optimizer == "rmsprop":
            return torch.optim.RMSprop(weights, lr=rate, weight_decay=settings.weight_decay)
        return torch.optim.AdamW(
            weights, lr=rate, betas=(settings.beta1, settings.beta2), weight_decay=settings.weight_decay
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
            if self.run.cancelled():
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
            self._alert("early-stop", f"no better validation for {self.stale} validations")
        return self.best["weights"] if self.best else self.average.values

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.run.steps

    def _weights_are_finite(self) -> bool:
        """A step can overflow where its loss did not: such weights must reach neither a checkpoint nor a model."""
        norms = [value.norm() for value in self.raw.state_dict().values() if value.is_floating_point()]
        return math.isfinite(float(torch.stack(norms).sum()))

    def _round(self) -> dict[str, float] | None:
        """All turns once; None when a loss or a weight update was not finite."""
        factor = self.slowdown * learning_rate_factor(
            self.step, self.run.steps, self.settings.warmup, self.settings.decay_from
        )
        numbers, batch, seen = {}, None, set()
        for turn in self.raw.turns:
            if batch is None or turn in seen:  # the same turn again gets new data; another turn shares it
                batch, seen = self.sampler.batch(self.fabric.device), set()
            seen.add(turn)
            if not self._turn(turn, batch, factor, numbers):
                return None
        return numbers

    def _turn(self, turn: str, batch: Batch, factor: float, numbers: dict[str, float]) -> bool:
        for name in dict.fromkeys(name for names in self.raw.players.values() for name in names):
            getattr(self.raw, name).requires_grad_(name in self.raw.players[turn])
        optimizer = self.optimizers[turn]
        optimizer.zero_grad(set_to_none=True)
        losses = getattr(self.system, f"{turn}_turn")(batch)
        if not losses:  # the player passes
            return True
        total = sum(self.raw.weight(term) * loss for term, loss in losses.items())
        numbers |= {f"{turn}/{term}": float(loss.detach()) for term, loss in losses.items()}
        if not math.isfinite(float(total.detach())):
            return False
        self.fabric.backward(total)
        norm = torch.nn.utils.clip_grad_norm_(
            list(self._weights(turn)), self.settings.clip_gradient or math.inf, error_if_nonfinite=False
        )
        numbers[f"gradient norm/{turn}"] = float(norm)
        if not math.isfinite(float(norm)):
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
        self._alert("not-finite", f"NaN at step {step + 1}: back to step {self.step} at half the learning rate")
        self.sampler.random = np.random.default_rng((self.run.seed, rollbacks))
        torch.manual_seed(self.run.seed + 1000 * rollbacks)
        self.save()

    def _alert(self, name: str, text: str) -> None:
        self.alerts.append({"name": name, "step": self.step, "text": text})
        self.run.report(self.step, f"alert {name}: {text}")
        self.run.log(f"alert {name} at step {self.step}: {text}")

    # --- looking ----------------------------------------------------------------------------------------------------

    def _look_after(self) -> None:
        """What was logged goes to disk, and what it shows of trouble is told, once of each kind."""
        if self.fabric.is_global_zero:
            self.losses.follow(self.history)
        for name, text in find_trouble(self.history).items():
            if name not in [alert["name"] for alert in self.alerts]:
                self._alert(name, text)

    def _validate(self) -> None:
        """Numbers and a preview with the averaged weights; the random state of training is left as it was."""
        if not self.validation:
            return
        own = {name: value.detach().clone() for name, value in self.raw.state_dict().items()}
        self.raw.load_state_dict(self.average.values)
        self.raw.eval()
        device = self.fabric.device
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.no_grad(), self.fabric.autocast():
            rows = []
            for number, batch in enumerate(self.validation):
                torch.manual_seed(number)  # simulated misalignment is the same at every validation
                rows.append(self.raw.validate(batch))
            preview = self.raw.preview(self.validation[len(self.validation) // 2])
            spaced = self.validation[:: max(1, len(self.validation) // LOOKED_AT)][:LOOKED_AT]
            diversity = diversity_ratio([self.raw.preview(batch) for batch in spaced])
        self.raw.train()
        self.raw.load_state_dict(own)
        found = {}
        for name in dict.fromkeys(name for row in rows for name in row):
            values = [row[name] for row in rows if math.isfinite(row.get(name, math.nan))]
            if values:
                found[name] = sum(values) / len(values)
        entry = {f"validation/{name}": value for name, value in found.items()}
        if diversity is not None:
            entry["diversity/made over real"] = diversity
        if self.history and self.history[-1]["step"] == self.step:
            self.history[-1].update(entry)
        else:
            self.history.append({"step": self.step, **entry})
        if self.fabric.is_global_zero:
            (self.run.folder / "previews").mkdir(parents=True, exist_ok=True)
            write_preview(self.run.folder / "previews" / f"step_{self.step:06d}.png", preview)
        self._keep_best(found)

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
        terms = [f"{name.split('/')[1]} {value:.4g}" for name, value in numbers.items() if not name.startswith("grad")]
        checked = [row for row in self.history if any(name.startswith("validation/") for name in row)]
        if checked and self.raw.criterion:
            value = checked[-1].get(f"validation/{self.raw.criterion}")
            terms += [f"validation {self.raw.criterion} {value:.4g}"] if value is not None else []
        return ", ".join(terms)

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def save(self) -> None:
        if not self.fabric.is_global_zero:
            return
        content = {
            "system": self.raw.name, "settings": self.settings.as_dict(), "steps": self.run.steps,
            "seed": self.run.seed, "step": self.step, "weights": self.raw.state_dict(), "average": self.average.values,
            "optimizers": {turn: optimizer.state_dict() for turn, optimizer in self.optimizers.items()},
            "pool": self.pool.images, "sampler": self.sampler.state(), "torch": torch.get_rng_state(),
            "best": self.best, "stale": self.stale, "slowdown": self.slowdown, "history": self.history,
            "alerts": self.alerts,
        }
        if self.fabric.device.type == "cuda":
            content["cuda"] = torch.cuda.get_rng_state(self.fabric.device)
        save_checkpoint(self.run.folder / "checkpoint.pt", content)
        write_history(self.run.folder, self.history, self.losses)

    def load(self, content: dict) -> None:
        """Take up a checkpoint. Raises CheckpointError when it belongs to another run."""
        mine = {"system": self.raw.name, "settings": self.settings.as_dict(), "steps": self.run.steps,
                "seed": self.run.seed}
        for name, value in mine.items():
            then = content.get(name)
            if then != value:
                if isinstance(then, dict):
                    changed = sorted(key for key in {**then, **value} if then.get(key) != value.get(key))
                    name, then, value = (", ".join(part) for part in (
                        changed, [str(then.get(key)) for key in changed], [str(value.get(key)) for key in changed]))
                raise CheckpointError(
                    f"The checkpoint in {self.run.folder} was made with other {name} ({then}, not {value}): give the "
                    "same as then, or start without --resume."
                )
        self.raw.load_state_dict(content["weights"])
        self.average.values = content["average"]
        for name, value in self.raw.state_dict().items():
            self.average.values[name] = self.average.values[name].to(value.device)
        for turn, optimizer in self.optimizers.items():
            optimizer.load_state_dict(content["optimizers"][turn])
        self.pool.images = {
            name: [image.to(self.fabric.device) for image in images] for name, images in content["pool"].items()
        }
        self.sampler.restore(content["sampler"])
        torch.set_rng_state(content["torch"])
        if "cuda" in content and self.fabric.device.type == "cuda":
            torch.cuda.set_rng_state(content["cuda"], self.fabric.device)
        for name in ("step", "best", "stale", "slowdown", "history", "alerts"):
            setattr(self, name, content[name])
        self.losses.start_over()
