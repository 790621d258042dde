"""Each of T1, T1c, T2 and FLAIR made from the three others by one network, on a patient that it has not seen.

    python Testing/Benchmarks/any_contrast.py [--data DIR] [--model MODEL]

Mean absolute error in percent of the range and structural similarity over the brain, in the two normalizations of
`synthesis.py`; each image takes its own statistics. Peers: the mean of the three others, and the linear regression on
them that fits the voxels of the model's own training patients best, contrast by contrast.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from brain_patients import FOLDER, NORMALIZATIONS, TEST_PATIENT
from command import Entry, LeftOut, existing_folder, parser, print_table, refuse_test_subjects, run, trained_models

from GANSynthesisLib.evaluation import masked_mae, masked_ssim
from GANSynthesisLib.files import read_volume
from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.models import Model, load_model
from GANSynthesisLib.volumes import Volume, resample

PEERS = ("mean of others", "linear regression")
HEADER = ("missing", "normalization", "MAE %", *PEERS, "SSIM", *PEERS)


def find_model() -> Model:
    for model in trained_models():
        if model.card.system == "collagan":
            return model
    raise LeftOut("no model of the system collagan is shipped or in runs/: name one with --model FILE")


def read_contrasts(folder: Path, name: str, contrasts: tuple[str, ...]) -> tuple[dict[str, Volume], np.ndarray]:
    """The contrasts on the grid of the first, and where all of them show the brain."""
    files = {contrast: folder / name / f"{contrast}.nii.gz" for contrast in contrasts}
    missing = [path for path in files.values() if not path.is_file()]
    if missing:
        raise LeftOut(f"the image {missing[0]} is missing")
    volumes = {contrast: read_volume(path) for contrast, path in files.items()}
    grid = volumes[contrasts[0]].grid
    volumes = {contrast: resample(volume, grid) for contrast, volume in volumes.items()}
    return volumes, np.logical_and.reduce([volume.voxels > 0 for volume in volumes.values()])


def scaled(volumes: dict[str, Volume], brain: np.ndarray, normalization: str) -> dict[str, np.ndarray]:
    return {contrast: NORMALIZATIONS[normalization](volume.voxels, brain) for contrast, volume in volumes.items()}


def regressions(patients: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Contrast -> weights of the others and a constant, fitted on the voxels (N,) by contrast of all patients."""
    values = {contrast: np.concatenate([each[contrast] for each in patients]) for contrast in patients[0]}
    return {
        missing: np.linalg.lstsq(_others(values, missing), values[missing], rcond=None)[0] for missing in values
    }


def _others(values: dict[str, np.ndarray], missing: str) -> np.ndarray:
    others = [each for contrast, each in values.items() if contrast != missing]
    return np.stack([*others, np.ones_like(others[0])], -1)


def measure(data: Path | None, model: str | Path | None = None, device: str = "auto") -> list[Entry]:
    folder = existing_folder(data, FOLDER)
    chosen = load_model(model) if model else find_model()
    refuse_test_subjects(chosen, (TEST_PATIENT,))
    contrasts = tuple(port.name for port in chosen.card.inputs)
    training = [read_contrasts(folder, name, contrasts) for name in chosen.card.training["subjects"]]
    volumes, brain = read_contrasts(folder, TEST_PATIENT, contrasts)
    made = {}
    for missing in contrasts:
        given = {contrast: volume for contrast, volume in volumes.items() if contrast != missing}
        (made[missing],) = apply_model(chosen, given, device=device).outputs.values()
    rows, entries = [], []
    for normalization in NORMALIZATIONS:
        fitted = regressions([
            {contrast: image[where] for contrast, image in scaled(theirs, where, normalization).items()}
            for theirs, where in training
        ])
        real, ours = scaled(volumes, brain, normalization), scaled(made, brain, normalization)
        for missing in contrasts:
            linear = np.clip(_others(real, missing) @ fitted[missing], 0, 1)
            answers = {
                "model": ours[missing],
                "mean of others": np.mean([real[contrast] for contrast in contrasts if contrast != missing], 0),
                "linear regression": np.where(brain, linear, 0),
            }
            errors = {name: 100 * masked_mae(answer, real[missing], brain) for name, answer in answers.items()}
            alike = [masked_ssim(answer, real[missing], brain, 1.0) for answer in answers.values()]
            rows.append((missing, normalization, *(f"{error:.2f}" for error in errors.values()),
                         *(f"{each:.3f}" for each in alike)))
            for peer in PEERS:
                name = f"missing {missing} by {normalization}, MAE against the {peer}"
                entries.append(Entry(name, errors["model"], errors[peer], "%",
                                     f"{chosen.card.name}; peer: {peer}; 1 patient; lower; goal: below 1"))
    print_table(f"{chosen.card.name} on {TEST_PATIENT}, over the brain", HEADER, rows)
    return entries


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--model", metavar="MODEL", help="name or file (default: the one shipped or in runs/)")
    chosen = arguments.parse_args()
    return run(lambda: measure(chosen.data, chosen.model, chosen.device))


if __name__ == "__main__":
    sys.exit(main())
