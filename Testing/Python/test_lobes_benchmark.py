"""The benchmark of lobes without labels: its images stand and are labeled as it says."""

import sys
from pathlib import Path

import numpy as np

from GANSynthesisLib.files import write_volume
from GANSynthesisLib.volumes import Volume

sys.path.append(str(Path(__file__).resolve().parents[1] / "Benchmarks"))

from lobes_without_labels import CT_VALUES, MR_VALUES, SPACING, read_chest  # noqa: E402

RIGHT_UPPER = 3  # of 1 to 5, as the benchmark numbers the lobes


def test_lobes_of_ct_and_mr_stand_in_coronal_slices_on_their_side(tmp_path):
    shape = (40, 30, 36)  # S, A, R
    body, lobe = np.zeros(shape, np.int16), np.zeros(shape, np.uint8)
    body[2:-2, 2:-2, 2:-2] = 100
    lobe[25:35, 10:20, 22:30] = 1  # above, and on the right
    body[lobe > 0] = 20
    from_left = np.diag([SPACING, SPACING, SPACING, 1])
    mirrored = np.diag([-SPACING, SPACING, SPACING, 1])  # columns run to the left, as in the MR of the benchmark
    for name, matrix, flip, value in (("ct", from_left, 1, CT_VALUES[2]), ("mr", mirrored, -1, MR_VALUES[2])):
        image, labels = tmp_path / f"{name}.nii.gz", tmp_path / f"{name}_labels.nii.gz"
        write_volume(Volume(body[..., ::flip].copy(), matrix), image)
        write_volume(Volume((lobe * np.uint8(value))[..., ::flip].copy(), matrix), labels)
        values = CT_VALUES if name == "ct" else MR_VALUES
        chest = read_chest(image, labels, values, 0, None, slice(5, 40))
        assert chest.image.shape == (30, 35, 36)  # A, S and R
        assert np.array_equal(chest.lobes.voxels == RIGHT_UPPER, lobe[5:].transpose(1, 0, 2) > 0)
        assert np.unique(chest.lobes.voxels).tolist() == [0, RIGHT_UPPER]
        assert chest.image.voxels.min() == 0 and chest.image.voxels.max() == 100
