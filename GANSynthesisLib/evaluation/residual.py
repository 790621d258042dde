"""Whether a translation left the anatomy in its place: what a registration of the result to its source still moves."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from GANSynthesisLib.files import sitk_image
from GANSynthesisLib.volumes import Volume

BINS = 32
SAMPLES = 200_000  # voxels whose mutual information is measured, about
SHRINK, SMOOTH_MM = (2, 1), (2, 0)
THINNEST = 4  # slices that a rigid registration in three dimensions needs


def registration_residual_mm(result: Volume, source: Volume, mask: np.ndarray) -> float:
    """Mean distance in mm by which a rigid registration moves the voxels of a mask.

    result and source lie on one grid, mask is bool (K, J, I) on it. Mattes' mutual information (2001), from the
    identity, so that two contrasts of one anatomy can be held against each other. Tanner (2018): a discriminator that
    sees much of the image makes the generator move organs to where the training patients have them; the residual of a
    faithful translation is near 0. NaN for images of fewer than four slices.
    """
    if min(result.shape) < THINNEST:
        return float("nan")
    fixed, moving = (sitk.Cast(sitk_image(each), sitk.sitkFloat32) for each in (source, result))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(min(1.0, SAMPLES / mask.size), 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(SHRINK)
    method.SetSmoothingSigmasPerLevel(SMOOTH_MM)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 100, 0.5)
    method.SetOptimizerScalesFromPhysicalShift()
    start = sitk.CenteredTransformInitializer(fixed, fixed, sitk.Euler3DTransform())
    method.SetInitialTransform(start, inPlace=False)
    found = sitk.Euler3DTransform(method.Execute(fixed, moving).GetBackTransform())
    points = source.grid.points()[mask] * (-1, -1, 1)
    turn, center = np.reshape(found.GetMatrix(), (3, 3)), np.array(found.GetCenter())
    moved = (points - center) @ turn.T + center + found.GetTranslation()
    return float(np.linalg.norm(moved - points, axis=1).mean())
