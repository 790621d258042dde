"""What to try when training goes wrong: alert -> advice in plain words. Light: nothing here needs torch."""

import re

from GANSynthesisLib.presentation import _, sentence


def advice(name: str) -> str:
    """What to do about an alert of that name (see `training.stability`); empty where nothing is known."""
    return {
        "not-finite": _(
            "Numbers overflowed. Training goes on from the last checkpoint at half the learning rate. If it happens "
            "again: lower the learning rate, set clip_gradient to 1, use precision 32, and look for NaN in the images."
        ),
        "vanishing-gradient": _(
            "The generator no longer learns: no gradient reaches it. Choose non-saturating, least-squares or a critic "
            "with gradient penalty as the adversarial objective, raise the weight of the other losses, or lower the "
            "learning rate."
        ),
        "discriminator-wins": _(
            "The discriminator has won, so the generator no longer learns from it. Lower discriminator_learning_rate "
            "to a quarter of learning_rate, make the discriminator smaller, choose a critic with gradient penalty, or "
            "give more training cases."
        ),
        "discriminator-fails": _(
            "The discriminator does worse than guessing, so what the generator learns from it is noise. Raise "
            "discriminator_learning_rate (0 means the same as the generator's), give a critic more turns, or make it "
            "larger."
        ),
        "oscillation": _(
            "The two players chase each other without coming closer. Lower both learning rates to a tenth, raise "
            "batch, and give the discriminator a smaller rate or a larger gradient_penalty_weight."
        ),
        "memorization": _(
            "The model gives its training images back: it adds nothing to them, and sharing it shares patients' "
            "images. Give more and more varied cases, augment them, or stop earlier."
        ),
        "collapse": _(
            "The generator makes almost the same image every time. Raise batch, lower the learning rate, raise the "
            "weight of the image or cycle loss against the adversarial one, raise gradient_penalty_weight where there "
            "is a critic, or give more and more varied cases."
        ),
        "early-stop": _(
            "Validation no longer improves: the model keeps its best weights. More cases or stronger augmentation "
            "help further than more steps."
        ),
        "out-of-memory": _(
            "The device ran out of memory. Lower batch first, then patch or width; choose precision bf16 on a GPU, or "
            "close other programs that use it. Then go on with Resume, or start again where settings were changed."
        ),
    }.get(name, "")


def alert_name(text: str) -> str:
    """The name of the alert that a line of the log, or an error, tells of; empty where it tells of none."""
    found = re.match(r"alert ([a-z-]+)", text, re.IGNORECASE)
    if found:
        return found.group(1)
    return "out-of-memory" if "out of memory" in text.lower() else ""


def advised(text: str) -> str:
    """An alert or error with what to do about it."""
    return " ".join(part for part in (sentence(text), advice(alert_name(text))) if part) if text else ""
