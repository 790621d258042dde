"""Model files and the library of models.

A model is one `.safetensors` file: the weights, and in the header's metadata the card (`card.Card`) and a hash of the
weights. To list models only headers are read, with the standard library, so a panel can show them before torch is
installed. A file that cannot be used raises `ModelError` with one sentence.
"""

import hashlib
import json
import os
import pickle
import sys
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from GANSynthesisLib.card import Card, ModelError, Port

if TYPE_CHECKING:
    import torch

    from GANSynthesisLib.systems import System

__all__ = ["Card", "Model", "ModelError", "ModelWarning", "Port", "change_card", "list_models", "load_model",
           "save_model", "shipped_models_folder", "user_models_folder"]

FILE_FORMAT = "GANSynthesis"
SUFFIXES = (".safetensors", ".pt")
HEADER_LIMIT = 100_000_000  # bytes; the limit of the safetensors format itself


class ModelWarning(UserWarning):
    """A model file in one of the folders was left out of the list, or hides another one."""


@dataclass(frozen=True)
class Model:
    """A model that can be built: its card, its file, and the hash of its weights (hexadecimal SHA-256)."""

    card: Card
    path: Path
    sha256: str

    def build(self) -> "System":
        """The trained system on the CPU, in evaluation mode.

        Raises `ModelError` when the weights are damaged, the system is unknown here, or the weights do not fit it.
        """
        state = self._weights()
        system = _build_system(self.card, self.path)
        _check_fit(system, state, self)
        system.load_state_dict(state, strict=False)
        return system.eval()

    def _weights(self) -> "dict[str, torch.Tensor]":
        """The weights, from bytes whose hash is the model's."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        if self.path.suffix == ".pt":
            _, state = _read_pt(self.path)
            data = _serialize(state, self.path)
        else:
            data = _read_bytes(self.path)
        if _hash_tensors(BytesIO(data), self.path) != self.sha256:
            raise _damaged(self.path)
        try:
            return load(data)
        except SafetensorError as error:
            raise _damaged(self.path) from error


def save_model(path: Path | str, state: "Mapping[str, torch.Tensor]", card: Card) -> str:
    """Write a model file and return the hash of its weights; a file of that name is replaced only by a whole one.

    state: parameter name -> tensor, on any device, as of `System.state_dict()`.
    Raises `ModelError` when the name does not end in .safetensors, or the file cannot be written.
    """
    from safetensors.torch import save

    path = Path(path)
    if path.suffix != ".safetensors":
        raise ModelError(f"A model file's name must end in .safetensors, not '{path.name}'.")
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    sha256 = _hash_tensors(BytesIO(_serialize(tensors, path)), path)
    data = save(tensors, metadata={"format": FILE_FORMAT, "card": card.to_json(), "hash": sha256})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, data)
    except OSError as error:
        raise ModelError(f"The model file {path} cannot be written: {error.strerror or error}.") from error
    return sha256


def change_card(path: Path | str, card: Card) -> Model:
    """Give a model file another card; the weights stay as they are, byte for byte.

    Needs no torch. Raises `ModelError` when the file is no model, truncated, or cannot be written; then it is what it
    was. Damage to the weights is found, as ever, when they are loaded: their hash is kept.
    """
    path = Path(path)
    model = _read_model(path)
    data = _read_bytes(path)
    header, start = _read_header(BytesIO(data), path)
    header["__metadata__"] = {**header["__metadata__"], "card": card.to_json()}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format keeps weights aligned
    try:
        _replace(path, len(text).to_bytes(8, "little") + text + data[start:])
    except OSError as error:
        raise ModelError(f"The model file {path} cannot be written: {error.strerror or error}.") from error
    return Model(card, path, model.sha256)


def load_model(name_or_path: str | Path) -> Model:
    """The model of that name (shipped, else the user's) or in that file, its weights checked against their hash.

    Raises `ModelError` when there is no such model, or its file is damaged, truncated, foreign or too new.
    """
    path = Path(name_or_path).expanduser()
    is_path = isinstance(name_or_path, Path) or path.suffix in SUFFIXES or len(path.parts) > 1
    known = {} if is_path else {model.card.name: model for model in list_models()}
    if name_or_path in known:
        return _checked(known[name_or_path])
    if not path.is_file():
        if is_path:
            raise ModelError(f"There is no model file {path}.")
        path = _file_of_name(name_or_path, known)
    return _checked(_read_pt_model(path) if path.suffix == ".pt" else _read_model(path))


def _file_of_name(name: str, known: Mapping[str, Model]) -> Path:
    """The file in the folders that is called so but not listed, for its problem to be told; else `ModelError`."""
    for folder in (shipped_models_folder(), user_models_folder()):
        path = folder / f"{name}.safetensors"
        if path.is_file():
            return path
    names = ", ".join(sorted(known)) or "none"
    raise ModelError(f"There is no model called '{name}' (known models: {names}); name one, or a model file.")


def list_models() -> list[Model]:
    """All models, shipped ones first, then the user's, each by name; only headers are read.

    A file that cannot be read, or whose name is taken by an earlier one, gives a `ModelWarning` instead of an error.
    """
    models: dict[str, Model] = {}
    for folder in (shipped_models_folder(), user_models_folder()):
        found = []
        for path in sorted(folder.glob("*.safetensors")):
            try:
                found.append(_read_model(path))
            except ModelError as error:
                warnings.warn(str(error), ModelWarning, stacklevel=2)
        for model in sorted(found, key=lambda each: each.card.name):
            first = models.setdefault(model.card.name, model)
            if first is not model:
                clash = f"its name '{model.card.name}' is that of {first.path}"
                warnings.warn(f"The model file {model.path} is left out: {clash}.", ModelWarning, stacklevel=2)
    return list(models.values())


def shipped_models_folder() -> Path:
    """Folder of the models that come with the extension.

    In the source tree and in an installed extension alike it is `Resources/Models` beside `GANSynthesisLib`; a wheel
    has it inside the package.
    """
    here = Path(__file__).resolve().parent
    inside = here / "ShippedModels"
    return inside if inside.is_dir() else here.parent / "Resources" / "Models"


def user_models_folder() -> Path:
    """Folder of the user's own models, which need not exist; the variable GANSYNTHESIS_MODELS overrides it."""
    chosen = os.environ.get("GANSYNTHESIS_MODELS")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "GANSynthesis" / "Models"


def _checked(model: Model) -> Model:
    """The model, after its weights' hash has been compared; a `.pt` has none to compare with."""
    if model.path.suffix != ".pt":
        with _open(model.path) as stream:
            if _hash_tensors(stream, model.path) != model.sha256:
                raise _damaged(model.path)
    return model


def _read_model(path: Path) -> Model:
    """The model of a safetensors file, from its header."""
    with _open(path) as stream:
        header, _ = _read_header(stream, path)
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or metadata.get("format") != FILE_FORMAT or "card" not in metadata:
        raise ModelError(f"The file {path} holds weights but no model card: it was not made by GANSynthesis.")
    return Model(_read_card(metadata["card"], path), path, str(metadata.get("hash", "")))


def _read_pt_model(path: Path) -> Model:
    card, state = _read_pt(path)
    return Model(card, path, _hash_tensors(BytesIO(_serialize(state, path)), path))


def _read_pt(path: Path) -> "tuple[Card, dict[str, torch.Tensor]]":
    """Card and weights of a torch file; only plain tensors are unpickled, never code."""
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = "it is damaged, or holds more than plain weights"
        raise ModelError(f"The torch file {path} is not read: {reason}.") from error
    if not isinstance(content, dict) or not {"card", "state"} <= content.keys():
        raise ModelError(f"The torch file {path} has no 'card' and 'state': it was not made by GANSynthesis.")
    state = content["state"]
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise ModelError(f"The torch file {path} has a 'state' that is not names and tensors.")
    return _read_card(content["card"], path), {str(name): tensor.contiguous() for name, tensor in state.items()}


def _read_card(text, path: Path) -> Card:
    try:
        return Card.from_json(text)
    except ModelError as error:
        raise ModelError(f"The model file {path} cannot be used: {error}") from error


def _read_header(stream: BinaryIO, path: Path) -> tuple[dict, int]:
    """(header, position of the first weight) of a safetensors stream, after checking that all weights are there."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    length = int.from_bytes(stream.read(8), "little")
    if size == 0:
        raise _truncated(path)
    if stream.read(1) != b"{" or length > HEADER_LIMIT:
        raise ModelError(f"The file {path} is not a safetensors file.")
    if size < 8 + length:
        raise _truncated(path)
    stream.seek(8)
    try:
        header = json.loads(stream.read(length))
        ends = [8 + length + end for _, (_, end) in _tensor_spans(header)]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(f"The file {path} is not a safetensors file, or its header is damaged.") from error
    if size < max(ends, default=0):
        raise _truncated(path)
    return header, 8 + length


def _tensor_spans(header: dict) -> list[tuple[str, tuple[int, int]]]:
    """(name, (begin, end)) of every tensor, by name; bytes count from the first weight."""
    spans = []
    for name in sorted(header.keys() - {"__metadata__"}):
        begin, end = header[name]["data_offsets"]
        if not 0 <= begin <= end:
            raise ValueError(f"tensor '{name}' spans {begin} to {end}")
        spans.append((name, (begin, end)))
    return spans


def _hash_tensors(stream: BinaryIO, path: Path) -> str:
    """SHA-256 over names, types, shapes and bytes of all tensors, in the order of their names."""
    header, start = _read_header(stream, path)
    digest = hashlib.sha256()
    for name, (begin, end) in _tensor_spans(header):
        digest.update(json.dumps([name, header[name].get("dtype"), header[name].get("shape")]).encode())
        stream.seek(start + begin)
        remaining = end - begin
        while remaining:
            block = stream.read(min(remaining, 1 << 20))
            if not block:
                raise _truncated(path)
            digest.update(block)
            remaining -= len(block)
    return digest.hexdigest()


def _serialize(state: "dict[str, torch.Tensor]", path: Path) -> bytes:
    """The tensors as safetensors bytes without metadata."""
    from safetensors.torch import save

    try:
        return save(state)
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"The weights of {path} cannot be kept as safetensors: {_sentence(error)}") from error


def _replace(path: Path, data: bytes) -> None:
    """Write beside the path, then take its name in one step."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _build_system(card: Card, path: Path) -> "System":
    from GANSynthesisLib.systems import build_system, names

    if card.system not in names():
        known = ", ".join(sorted(names()))
        raise ModelError(
            f"The model file {path} needs the system '{card.system}', which this GANSynthesis does not have "
            f"(it has: {known}): update the extension."
        )
    try:
        return build_system(card.system, card.settings)
    except (ValueError, TypeError, KeyError) as error:
        problem = f"The model file {path} has settings that the system '{card.system}' does not take"
        raise ModelError(f"{problem}: {_sentence(error)}") from error


def _check_fit(system: "System", state: "dict[str, torch.Tensor]", model: Model) -> None:
    """Raise `ModelError` unless every deployed player has its weights, and every weight its place and shape.

    Players that only served in training, such as discriminators, may be absent.
    """
    places = system.state_dict()
    deployed = tuple(f"{player}." for player in system.deployed())
    problem = f"The weights in {model.path} do not fit the system '{model.card.system}' with the card's settings:"
    needed = [name for name in places if name.startswith(deployed) or "." not in name]
    missing = [name for name in needed if name not in state]
    unknown = [name for name in state if name not in places]
    if missing:
        raise ModelError(f"{problem} '{missing[0]}' is missing ({len(missing)} missing, {len(unknown)} unknown).")
    if unknown:
        raise ModelError(f"{problem} '{unknown[0]}' is unknown ({len(unknown)} unknown).")
    for name, tensor in state.items():
        if tensor.shape != places[name].shape:
            raise ModelError(f"{problem} '{name}' is {tuple(tensor.shape)} instead of {tuple(places[name].shape)}.")


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise ModelError(f"The model file {path} cannot be read: {error.strerror or error}.") from error


def _read_bytes(path: Path) -> bytes:
    with _open(path) as stream:
        return stream.read()


def _sentence(error: Exception) -> str:
    """The error's text on one line, closed by one full stop."""
    return " ".join(str(error).split()).rstrip(".") + "."


def _damaged(path: Path) -> ModelError:
    return ModelError(f"The model file {path} is damaged: its weights do not match their hash; copy it again.")


def _truncated(path: Path) -> ModelError:
    return ModelError(f"The model file {path} is truncated: it ends before its weights do; copy it again.")
