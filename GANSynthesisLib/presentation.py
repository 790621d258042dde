"""What a panel says of models and choices, in the user's language: words and checks, no widgets.

Runs without Slicer, where the words stay English. Light: nothing here needs torch or SimpleITK.
"""

import html
import re
from collections.abc import Sequence

from GANSynthesisLib.card import Card, Port

try:
    from slicer.i18n import tr as _
except ImportError:  # outside Slicer

    def _(text: str) -> str:
        return text


def task_titles() -> dict[str, str]:
    """The tasks that a panel offers, in its order, with the words for them."""
    return {
        "synthesize": _("Synthesize"),
        "segment": _("Segment"),
        "register": _("Register"),
        "reconstruct": _("Reconstruct"),
        "generate": _("Generate"),
    }


def task_tip(task: str, possible: bool) -> str:
    """What a task is, or why it cannot be chosen."""
    if not possible:
        return _("No installed model does this: train one, or put a model file into the folder of your models.")
    return {
        "synthesize": _("Make an image of another kind from one or several images."),
        "segment": _("Find structures in an image."),
        "register": _("Align a moving image to a fixed one."),
        "reconstruct": _("Make a volume of finer voxels: thin slices of thick ones, high of low resolution."),
        "generate": _("Make new images that show no patient."),
    }[task]


def matches(card: Card, words: str) -> bool:
    """Whether every word of a search is on the card: name, title, description, anatomy, modality, license."""
    ports = [text for port in (*card.inputs, *card.outputs) for text in (port.modality, port.description)]
    structures = [name for port in card.outputs for name in port.label_names.values()]
    texts = (card.name, card.title, card.description, card.anatomy, card.licence, card.system, *ports, *structures)
    content = " ".join(texts).lower()
    return all(word in content for word in words.lower().split())


def model_lines(card: Card, task: str) -> str:
    """A model in a list: its title, and below it what it takes and gives, its anatomy, license and first score."""
    takes = ", ".join(port.modality or port.name for port in input_ports(card, task)) or _("noise")
    gives = ", ".join(dict.fromkeys(_given(port) for port in output_ports(card, task)[:2]))
    licence = re.split(r"[.;:,(]\s", card.licence)[0].strip() or _("license not stated")
    score = next(iter(_scores(card.metrics)), _("not measured")).split(" (")[0]
    about = (f"{takes} → {gives}", card.anatomy, licence, score)
    return f"{card.title}\n" + " · ".join(text for text in about if text)


def output_ports(card: Card, task: str) -> list[Port]:
    """The outputs of a model that belong to a task: for `segment` its segmentations, else all the others."""
    return [port for port in card.outputs if port.is_segmentation == (task == "segment")]


def input_ports(card: Card, task: str) -> list[Port]:
    """The inputs that a model needs for a task, in the card's order."""
    needed = {role for port in output_ports(card, task) for role in port.needs}
    return [port for port in card.inputs if port.name in needed or not needed]


def port_title(port: Port) -> str:
    """How an input is called: "Input (T1)", "Fixed (MR)"."""
    roles = {"source": _("Input"), "target": _("Input"), "fixed": _("Fixed"), "moving": _("Moving"),
             "thick": _("Thick slices"), "second": _("Second stack"), "low": _("Low resolution")}
    title = roles.get(port.name, port.name)
    return f"{title} ({port.modality})" if port.modality and port.modality != title else title


def card_summary(card: Card, task: str) -> str:
    """What a user must know of a model before applying it to a task, as rich text."""
    takes = ", ".join(port.modality or port.name for port in input_ports(card, task))
    gives = ", ".join(_given(port) for port in output_ports(card, task))
    rows = [
        (_("Takes"), takes),
        (_("Gives"), gives),
        (_("Anatomy"), card.anatomy),
        (_("Scores"), "; ".join(_scores(card.metrics)) or _("not measured")),
        (_("License"), card.licence or _("not stated")),
    ]
    cells = "".join(f"<tr><td>{title}:&nbsp;</td><td>{html.escape(text)}</td></tr>" for title, text in rows if text)
    warning = _("For research only, not for diagnosis.")
    return f"<p>{html.escape(card.description)}</p><table>{cells}</table><p><b>{warning}</b></p>"


def _given(port: Port) -> str:
    """What an output is, in a few words: "T2", "aligned MR", "gland, bladder"."""
    if port.name == "warped":
        return _("aligned {modality}").format(modality=port.modality).strip()
    if port.name == "thin":
        return _("{modality} of thin slices").format(modality=port.modality).strip()
    if port.name == "high":
        return _("{modality} of high resolution").format(modality=port.modality).strip()
    if port.is_segmentation and port.label_names:
        names = list(port.label_names.values())
        return ", ".join(names[:6]) + (", …" if len(names) > 6 else "")
    return port.modality or port.name


def _scores(metrics: dict, prefix: str = "") -> list[str]:
    """ "name: value" of every number among the metrics, those of a nested dictionary with its name before theirs.

    Where there are tests, only these: "name: value (peer: its value)".
    """
    if isinstance(metrics.get("test"), dict):
        return _scores(metrics["test"])
    found = []
    for name, value in metrics.items():
        title = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, dict) and {"model", "peer"} <= set(value):
            found += _against_peer(title, value)
        elif isinstance(value, dict):
            found += _scores(value, f"{title} ")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found.append(f"{title}: {value:.4g}")
    return found


def _against_peer(title: str, test: dict) -> list[str]:
    """What a test says; a number that could not be measured (a distance to nothing, say) is None and left out."""
    if test["model"] is None:
        return []
    text = f"{title}: {test['model']:.3g}"
    if test["peer"] is None:
        return [text]
    peer = re.search("peer: ([^;]+)", test.get("note", ""))
    return [f"{text} ({peer.group(1) if peer else 'peer'}: {test['peer']:.3g})"]


def sentence(words: str) -> str:
    """The words with a capital first and a period last."""
    return words[:1].upper() + words[1:] + ("" if words.endswith(".") else ".")


def quality_words(quality: dict) -> list[str]:
    """What a registration's report says of its quality, for the status line."""
    words = []
    if "expected_error_mm" in quality:
        words.append(_("expected landmark error {error:.0f} ± {spread:.0f} mm").format(
            error=quality["expected_error_mm"], spread=quality["expected_error_spread_mm"]))
    if quality.get("folding_voxels"):
        words.append(_("the transform folds at {count} points").format(count=quality["folding_voxels"]))
    return words


def findings_text(findings: list[str]) -> str:
    """What of the inputs does not fit the model, as rich text."""
    if not findings:
        return ""
    items = "".join(f"<li>{html.escape(each)}</li>" for each in findings)
    title, note = _("This may not fit the model:"), _("You can go on; the warning stays with the result.")
    return f"<b>{title}</b><ul style='margin-left: -20px'>{items}</ul>{note}"


def result_summary(names: list[str], words: list[str]) -> str:
    """What a run made and what is to be known of it, as rich text."""
    made = "".join(f"<li>{html.escape(name)}</li>" for name in names)
    known = "".join(f"<p>{html.escape(sentence(each))}</p>" for each in words)
    return f"{_('Made:')}<ul style='margin-left: -20px'>{made}</ul>{known}"


def progress_text(state: str, text: str, remaining: float | None) -> str:
    """One line on where a job is: its state, what it does, and about how long it will go on."""
    if state == "running":
        left = _(" (about {time} left)").format(time=duration(remaining)) if remaining is not None else ""
        return (sentence(text)[:-1] if text else _("Working")) + "…" + left
    return {
        "starting": _("Starting… (the first run takes some seconds longer)"),
        "cancelling": _("Canceling…"),
        "writing": _("Putting the result into the scene…"),
    }.get(state, "")


def duration(seconds: float) -> str:
    """Seconds in words that do not jump about."""
    if seconds < 60:
        return _("{count} s").format(count=max(5 * round(seconds / 5), 1))
    minutes = round(seconds / 60)
    return _("{count} min").format(count=minutes) if minutes < 90 else _("{count:.1f} h").format(count=minutes / 60)


def no_model_sentence(folder) -> str:
    """What to do where not a single model is installed."""
    sentence = _("No model is installed: put a model file (.safetensors) into {folder} and open this module again.")
    return sentence.format(folder=folder)


def what_is_missing(ports: Sequence[Port], nodes: Sequence, output=None) -> str:
    """One sentence on why a model cannot be applied to the chosen nodes; empty where it can.

    nodes: the volume node chosen for each port, or None; fewer nodes than ports means that the panel has no room for
    them all. output: the volume node chosen to take the result, or None.
    """
    if len(ports) > len(nodes):
        return _("This model takes {count} inputs, more than the panel has: run it from the Python console.").format(
            count=len(ports)
        )
    chosen: dict[str, str] = {}
    for port, node in zip(ports, nodes, strict=False):
        title = port_title(port)
        if node is None:
            if port.optional:
                continue
            return _("Select a volume for: {input}.").format(input=title)
        if node.GetImageData() is None or node.GetImageData().GetNumberOfPoints() == 0:
            return _("The volume '{name}' is empty: select another one.").format(name=node.GetName())
        if node.GetID() in chosen:
            return _("'{name}' is selected for both {first} and {second}: select two different volumes.").format(
                name=node.GetName(), first=chosen[node.GetID()], second=title
            )
        chosen[node.GetID()] = title
    if output is not None and output.GetID() in chosen:
        return _("The output '{name}' is also an input: select another one, or create a new one.").format(
            name=output.GetName()
        )
    return ""
