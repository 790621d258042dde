"""Put a trained model among the shipped ones, with the scores of the benchmarks on its card.

    python Resources/Training/ship_model.py runs/brain-t1-to-t2.safetensors --bench bench.json

bench.json is what `make bench` writes; the numbers that name the model go onto its card, each beside the peer's.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from training_script import MODELS

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from GANSynthesisLib.models import load_model, save_model  # noqa: E402

MOST_BYTES = 20_000_000
TEST_CASES = {
    "mr-trus-prostate": "pairs obs072 to obs083: never trained on, but looked at while earlier settings were chosen",
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--bench", type=Path, required=True)
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    scores = test_scores(model.card.name, json.loads(arguments.bench.read_text(encoding="utf-8")))
    if not scores:
        parser.error(f"{arguments.bench} has no number about {model.card.name}: a shipped model needs a test")
    where = TEST_CASES.get(model.card.name, TEST_PATIENT)
    metrics = {**model.card.metrics, "test": scores, "test_cases": where}
    output = MODELS / f"{model.card.name}.safetensors"
    save_model(output, model.build().deployed_state(), dataclasses.replace(model.card, metrics=metrics))
    size = output.stat().st_size
    print(f"{output.name}: {size / 1e6:.1f} MB, {len(scores)} scores")
    if size > MOST_BYTES:
        parser.error(f"{output} is larger than {MOST_BYTES / 1e6:.0f} MB: train a smaller network")


if __name__ == "__main__":
    main()
