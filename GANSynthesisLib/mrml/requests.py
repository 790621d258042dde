"""What is asked of a model, in nodes: checked before any work, and answered with nodes once all results are whole."""

import logging
from collections.abc import Generator
from dataclasses import dataclass, replace

import slicer

from GANSynthesisLib.models import Model, ModelError, list_models, load_model
from GANSynthesisLib.mrml.contents import GRID_TRANSFORM, content_of
from GANSynthesisLib.mrml.generation import asked_attributes, image_name
from GANSynthesisLib.mrml.inputs import frame_count, grid_from_node, is_sequence, reading_volume
from GANSynthesisLib.mrml.outputs import (
    LINEAR_TRANSFORM,
    SEGMENTATION,
    SEQUENCE,
    TRANSFORM,
    VOLUME,
    check_output_node,
    segmentation_to_node,
    show_like,
    transform_to_node,
    volume_to_node,
    whole_or_nothing,
)
from GANSynthesisLib.mrml.provenance import provenance, write_provenance
from GANSynthesisLib.mrml.sequences import class_of, results_to_sequence, sequence_nodes
from GANSynthesisLib.options import result_port
from GANSynthesisLib.steps import run_through
from GANSynthesisLib.transforms import SpatialTransform
from GANSynthesisLib.volumes import Volume, VolumeError

_VERBS = {
    "synthesize": "synthesizes",
    "segment": "segments",
    "register": "registers",
    "reconstruct": "reconstructs",
    "generate": "generates",
    "classify": "classifies",
}


@dataclass(frozen=True)
class Request:
    """One task for one model. Make it with `Request.of`, which raises before any work when something does not fit.

    nodes: role -> input node. outputs: names of the outputs wanted. given: output name -> node to fill (others are
    added). region: markups ROI that the inputs are restricted to, or None.
    """

    task: str
    model: Model
    nodes: dict
    outputs: tuple[str, ...]
    given: dict
    region: object = None

    @staticmethod
    def of(
        task: str, model, main=None, more: dict | None = None, given: dict | None = None, output: str | None = None,
        details: bool = False, region=None, voxels: bool = True,
    ):  # fmt: skip
        """Request with every node checked, each item of a sequence included.

        model: a name, a file or a `Model`. main: the input node, for the role that `more` (role -> node) leaves open.
        given: output name -> node to fill, the name None standing for the first output. output: name of the wanted
        output; the task's first one otherwise. details: of a registration, everything that the model gives. region:
        markups ROI node, around which the inputs are cropped, and with them the results. voxels: whether they are
        looked at, too, which takes long; else that is left to those who read them. Raises `ModelError` (no such model,
        another task, wrong or missing roles) or `VolumeError` (a node cannot be used).
        """
        model = _model_for(task, model)
        outputs = _outputs(task, model.card, output, details)
        nodes = _nodes(task, model.card, outputs, main, more or {})
        given = {name or outputs[0]: node for name, node in (given or {}).items() if node is not None}
        request = Request(task, model, nodes, outputs, given, region)
        request._check(voxels)
        return request

    def _check(self, voxels: bool) -> None:
        for role, node in self.nodes.items():
            for item in range(frame_count(node)) if is_sequence(node) else (None,):
                grid_from_node(node, item, role, self.region)
                if voxels:
                    run_through(self.reading(role, item))
            twice = [other for other, each in self.nodes.items() if each is node and other != role]
            if twice:
                raise VolumeError(f"'{node.GetName()}' is both {role} and {twice[0]}: choose two different volumes.")
        counts = [(node.GetName(), frame_count(node)) for node in self.nodes.values() if is_sequence(node)]
        for name, count in counts:
            if count == 0:
                raise VolumeError(f"Sequence '{name}' is empty: load its items first.")
        if len({count for _, count in counts}) > 1:
            sizes = ", ".join(f"'{name}' {count}" for name, count in counts)
            raise VolumeError(
                f"The sequences have different numbers of items ({sizes}): choose sequences of the same length."
            )
        for name, node in self.given.items():
            check_output_node(node, (SEQUENCE,) if counts else self._node_classes(name), self.nodes)
        nodes = list(self.given.values())
        if len(nodes) != len({id(node) for node in nodes}):
            raise VolumeError(f"'{nodes[0].GetName()}' is chosen for two outputs: choose two different nodes.")

    def _node_classes(self, output: str) -> tuple[str, ...]:
        port = self._port(output)
        if port.is_transform:
            return (TRANSFORM, LINEAR_TRANSFORM, GRID_TRANSFORM)
        return (SEGMENTATION,) if port.is_segmentation else (VOLUME,)

    def _port(self, output: str):
        numbered = self.task == "generate"  # image_2 is another `image`
        return result_port(self.model.card, self.outputs[0] if numbered else output)

    @property
    def frames(self) -> tuple[int | None, ...]:
        """Items to be worked on one by one: their numbers where an input is a sequence, else a single None."""
        counts = [frame_count(node) for node in self.nodes.values() if is_sequence(node)]
        return tuple(range(counts[0])) if counts else (None,)

    def volumes(self, frame: int | None = None) -> dict[str, Volume]:
        """Role -> volume, of that item where the role's node is a sequence."""
        return {role: run_through(self.reading(role, frame)) for role in self.nodes}

    def reading(self, role: str, frame: int | None = None) -> Generator[None, None, Volume]:
        """In steps, the volume of one role."""
        node = self.nodes[role]
        return (yield from reading_volume(node, frame if is_sequence(node) else None, role, self.region))

    def write(self, results: list) -> dict:
        """Output name -> node, from one `inference.Result` per frame; the scene is as before if this fails."""
        return run_through(self.writing(results))

    def writing(self, results: list) -> Generator[None, None, dict]:
        """The same in steps, of which only the last one changes the scene."""
        contents = {}
        for output in results[0].outputs:
            contents[output] = yield from self._contents(output, results)
        reports = [each.report for each in results]
        warnings = list(dict.fromkeys(str(text) for each in reports for text in each.get("warnings", [])))
        given = self._usable_nodes(results, warnings)
        attributes = provenance(self.task, self.model, reports, warnings, self.nodes)
        written = {}
        with whole_or_nothing(slicer.mrmlScene):
            for output in results[0].outputs:
                node = self._write(output, results, given.get(output), contents[output])
                own = asked_attributes(results[0], output)
                for each in sequence_nodes(node) if is_sequence(node) else [node]:
                    write_provenance(each, attributes | own)
                written[output] = node
        return written

    def _usable_nodes(self, results: list, warnings: list[str]) -> dict:
        """The given nodes, less those removed meanwhile and a linear transform that cannot hold the result.

        What took long to compute is written into a new node rather than lost.
        """
        given = {name: node for name, node in self.given.items() if node.GetScene() is not None}
        node = given.get("transform")
        if node is not None and node.GetClassName() == LINEAR_TRANSFORM:
            if results[0].outputs["transform"].displacement is not None:
                del given["transform"]
                warnings.append(f"'{node.GetName()}' can only hold a linear transform: the result is in a new node.")
                logging.warning(warnings[-1])
        return given

    def _contents(self, output: str, results: list) -> Generator[None, None, list]:
        """In steps, what the nodes of an output are to hold, one for each frame."""
        values, node, contents = [each.outputs[output] for each in results], self.given.get(output), []
        class_name = class_of(values) if self.frames != (None,) else node.GetClassName() if node else ""
        for value in values:
            content = yield from content_of(value, labels=self._port(output).is_segmentation, class_name=class_name,
                                            grid=_fixed_grid(results))
            contents.append(content)
        return contents

    def _write(self, output: str, results: list, node, contents: list):
        port, card = self._port(output), self.model.card
        name = image_name(card, results[0], output) if self.task == "generate" else self._name(output)
        role = "fixed" if port.is_segmentation else "moving"  # whose grid a segmentation lies on
        like = self.nodes.get(role) or next(iter(self.nodes.values()), None)
        values = [each.outputs[output] for each in results]
        values = [replace(value, name=name) if isinstance(value, Volume) else value for value in values]
        if port not in card.outputs:  # without its unit: Slicer would show an uncertainty in HU as it shows a CT
            values = [replace(value, unit="") for value in values]
        display = {"intensity": port.intensity, "anatomy": card.anatomy}
        if self.frames != (None,):
            source = next(each for each in self.nodes.values() if is_sequence(each))
            return results_to_sequence(
                values, source, node, name=name, labels=port.is_segmentation, contents=contents, **display
            )
        if isinstance(values[0], SpatialTransform):
            return transform_to_node(values[0], node, name=name, like=like, content=contents[0])
        if port.is_segmentation:
            return segmentation_to_node(values[0], node, like=like, content=contents[0])
        result = volume_to_node(values[0], node, like=like, content=contents[0], **display)
        if output == "warped" or self.task == "reconstruct":  # the input's own values
            show_like(result, like)
        return result

    def _name(self, output: str) -> str:
        card, port = self.model.card, self._port(output)
        modality = port.modality or "volume"
        if self.task == "register":
            shown = {"segmentation": "segmentation of fixed", "warped_segmentation": "segmentation of moving"}
            return f"{self.nodes['moving'].GetName()} to {self.nodes['fixed'].GetName()} [{shown.get(output, output)}]"
        main = next(iter(self.nodes.values())).GetName()
        if port not in card.outputs:
            return f"{main} [{modality}]"
        made = "reconstructed" if self.task == "reconstruct" else "synthetic"
        return f"{main} [segmentation {card.name}]" if port.is_segmentation else f"{main} [{made} {modality}]"


def _fixed_grid(results: list):
    """The grid of a registration's fixed volume, on which a linear map can be sampled."""
    warped = results[0].outputs.get("warped")
    return warped.grid if warped else None


def _model_for(task: str, model) -> Model:
    if model is None:
        raise ModelError(f"No model is chosen: {_choice(task)}.")
    model = model if isinstance(model, Model) else load_model(model)
    if task not in model.card.tasks:
        does = " and ".join(_VERBS[each] for each in model.card.tasks)
        raise ModelError(f"Model '{model.card.name}' {does}: {_choice(task)}.")
    return model


def _choice(task: str) -> str:
    names = ", ".join(each.card.name for each in list_models() if task in each.card.tasks)
    return f"choose a model that {_VERBS[task]} ({names or 'none is installed'})"


def _outputs(task: str, card, output: str | None, details: bool) -> tuple[str, ...]:
    if task == "register":
        return tuple(port.name for port in card.outputs if details or port.name in ("transform", "warped"))
    segments = task == "segment"
    fitting = tuple(port.name for port in card.outputs if port.is_segmentation == segments)
    if output is None:
        return fitting[:1]
    if output not in fitting:
        raise ModelError(f"Model '{card.name}' has no such output '{output}': choose one of {', '.join(fitting)}.")
    return (output,)


def _nodes(task: str, card, outputs: tuple[str, ...], main, more: dict) -> dict:
    """Role -> node, the main node taking the first needed role that is still open."""
    if task == "generate" and not card.inputs:
        if main is not None:
            raise ModelError(f"Model '{card.name}' takes no mask: leave '{main.GetName()}' out.")
        return {}
    needed = [role for output in outputs for role in card.output(output).needs]
    needed = list(dict.fromkeys(needed)) or [port.name for port in card.inputs if not port.optional]
    for role in more:
        card.input(role)
    is_open = [role for role in needed if role not in more]
    nodes = {**dict.fromkeys(is_open[:1], main), **more}
    nodes = {role: nodes[role] for role in dict.fromkeys((*needed, *nodes)) if role in nodes}
    if not is_open and main is not None:
        raise ModelError(
            f"All inputs of model '{card.name}' are given by role: leave out one role or the input volume."
        )
    missing = [role for role in is_open[1:] if not card.input(role).optional]
    if missing:
        port = card.input(missing[0])
        raise ModelError(
            f"Model '{card.name}' also needs the input '{port.name}' ({port.modality}): give it as "
            f"inputs={{'{port.name}': volume node}}."
        )
    return nodes
