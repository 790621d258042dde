"""Make the cases of `chest_xray_lungs.py` and the benchmark `radiographs.py`: DRRs of a CT, real chest radiographs.

    python Resources/Training/chest_xray_cases.py --data DIR --output runs/chest-xray-lungs [--cases N]

DIR holds organs_ct_mr/chest_ct (ct.nii.gz, labels_117.nii.gz) and chest_xray_lungs (a zip of NAME.jpg and NAME@.png).
Written are `drr/source`, `drr/labels` and `drr/target` (bones alone) of the CT in random poses, and of the radiographs
`train/images`, `train/labels`, `test/images`, `test/labels`: every third by name is for the test. The radiographs come
without pixel sizes; their longer side is taken to be 430 mm, as that of the detectors of such images is.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from GANSynthesisLib.files import read_volume, write_volume  # noqa: E402
from GANSynthesisLib.radiographs.cases import make_cases  # noqa: E402
from GANSynthesisLib.radiographs.drr import Patient  # noqa: E402
from GANSynthesisLib.radiographs.projection import Projection  # noqa: E402
from GANSynthesisLib.volumes import Volume  # noqa: E402

LONGER_SIDE = 430.0  # mm
# Values of the label map. The lungs are hidden from a reader by liver, spleen, stomach, colon, esophagus, trachea,
# heart, great vessels and spine.
STRUCTURES = {"lungs": tuple(range(10, 15)), "heart and abdomen": (1, 5, 6, 15, 16, 20, *range(25, 54), 62, 63)}
BONES = (*range(25, 51), *range(69, 75), *range(92, 117))  # spine, humeri, scapulae, clavicles, ribs, sternum
DETECTOR = Projection(rows=110, columns=120, pixel=3.0, step=2.0)


def radiographs_in(archive: Path) -> dict[str, tuple[Volume, Volume]]:
    """Name -> radiograph and its lung mask (0 and 1), as volumes of one slice with spacing."""
    found = {}
    with zipfile.ZipFile(archive) as packed:
        names = {Path(name).name: name for name in packed.namelist()}
        for file, inside in sorted(names.items()):
            mask = names.get(f"{Path(file).stem}@.png")
            if file.endswith(".jpg") and mask:
                pixels, lungs = (np.array(Image.open(io.BytesIO(packed.read(each)))) for each in (inside, mask))
                spacing = LONGER_SIDE / max(pixels.shape)
                matrix = np.diag([-spacing, -spacing, 1.0, 1.0])
                name = Path(file).stem
                found[name] = (Volume(pixels[None], matrix, "", name),
                               Volume((lungs[None] > 127).astype(np.uint8), matrix, "", name))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=160, help="DRRs")
    arguments = parser.parse_args()
    if arguments.output.exists():
        shutil.rmtree(arguments.output)
    (archive,) = (arguments.data / "chest_xray_lungs").glob("*.zip")
    for number, (name, pair) in enumerate(radiographs_in(archive).items()):
        part = arguments.output / ("test" if number % 3 == 0 else "train")
        for role, volume in zip(("images", "labels"), pair, strict=True):
            write_volume(volume, part / role / f"{name}.nrrd")
    chest = arguments.data / "organs_ct_mr" / "chest_ct"
    patient = Patient.of(
        read_volume(chest / "ct.nii.gz"), read_volume(chest / "labels_117.nii.gz"), STRUCTURES, bones=True,
        bone_threshold=150, bone_values=BONES)
    make_cases([patient], arguments.output / "drr", arguments.cases, DETECTOR)
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
