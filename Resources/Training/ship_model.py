"""Put a trained model among the shipped ones, with the scores of the benchmarks on its card.

    python Resources/Training/ship_model.py runs/brain-t1-to-t2.safetensors --bench bench.json
    python Resources/Training/ship_model.py Resources/Models/brain-t1-to-t2.safetensors --statistics brain-t1-to-t2.csv

bench.json is what `make bench` writes; the numbers that name the model go onto its card, each beside the peer's.
--statistics measures again what the images of the inputs look like, from the manifest that the model was trained on
(`--column source=target` where an input has another name there); a new training run puts that on the card by itself.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from training_script import MODELS

from GANSynthesisLib.models import Card, Model, load_model, save_model
from GANSynthesisLib.training.statistics import input_statistics

MOST_BYTES = 20_000_000
TEST_CASES = {
    "mr-trus-prostate": "pairs obs072 to obs083: never trained on, but looked at while earlier settings were chosen",
    "brain-thin-slices": "ms_patient26, glioma_brats, glioma_aurora (T1, T2, FLAIR): never trained on; an earlier run "
                         "failed on them, and why was found on the training patients",
}
TEST_PATIENT = "ms_patient26: never trained on, but looked at while settings were chosen, so the scores are optimistic"


def test_scores(name: str, entries: list[dict]) -> dict:
    """The numbers of bench.json that say how well the model of that name does its task."""
    return {
        entry["name"].replace(f", {name}", "").replace(f" {name}", ""):
            {"model": entry["ours"], "peer": entry["peer"], "unit": entry["unit"], "note": entry["note"]}
        for entry in entries
        if name in f"{entry['name']} {entry['note']}".replace(",", " ").replace(";", " ").split()
        and "axis orders" not in entry["note"]  # says how the program handles geometry, not how good a model is
    }


def with_scores(card: Card, scores: dict) -> Card:
    """The card with the scores of the tests, and on whom they were measured."""
    where = TEST_CASES.get(card.name, TEST_PATIENT)
    return dataclasses.replace(card, metrics={**card.metrics, "test": scores, "test_cases": where})


def with_statistics(card: Card, manifest: Path, columns: dict[str, str]) -> Card:
    """The card with what the training images of its inputs look like."""
    inputs = input_statistics(card, manifest, columns)
    return dataclasses.replace(card, training={**card.training, "inputs": inputs})


def ship(model: Model, card: Card) -> Path:
    """Write the model with that card among the shipped ones, without the players that only served in training."""
    output = MODELS / f"{card.name}.safetensors"
    same = save_model(output, model.build().deployed_state(), card) == model.sha256
    size = output.stat().st_size
    print(f"{output.name}: {size / 1e6:.1f} MB, {'the same weights' if same else 'fewer weights'} as {model.path}")
    if size > MOST_BYTES:
        raise SystemExit(f"{output} is larger than {MOST_BYTES / 1e6:.0f} MB: train a smaller network")
    return output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--bench", type=Path)
    parser.add_argument("--statistics", type=Path, metavar="MANIFEST.csv")
    parser.add_argument("--column", action="append", default=[], metavar="INPUT=COLUMN")
    arguments = parser.parse_args()
    if not (arguments.bench or arguments.statistics):
        parser.error("nothing to put onto the card: give --bench, --statistics, or both")
    model = load_model(arguments.model)
    card = model.card
    if arguments.bench:
        scores = test_scores(card.name, json.loads(arguments.bench.read_text(encoding="utf-8")))
        if not scores:
            parser.error(f"{arguments.bench} has no number about {card.name}: a shipped model needs a test")
        card = with_scores(card, scores)
    if arguments.statistics:
        card = with_statistics(card, arguments.statistics, dict(each.split("=", 1) for each in arguments.column))
    ship(model, card)


if __name__ == "__main__":
    main()
