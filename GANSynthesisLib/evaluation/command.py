"""`python -m GANSynthesisLib evaluate`: models on cases whose answer is known."""

from __future__ import annotations

import argparse
from pathlib import Path

from GANSynthesisLib.options import UsageError

HELP = """\
How well models do on cases whose answer is known. --data is a folder with one subfolder per role, or a CSV manifest:

  registration   fixed, moving, fixed_labels, moving_labels (label files are 4D: the structure, then a landmark each)
  translation    the inputs of the model, target, and optionally mask; several models are held side by side
  segmentation   the inputs of the model and labels
  classification image, one folder per class, or a manifest with a column class
  generation     image, likewise: what the model was trained on, and more of the same

Images: SynthRAD2025's MAE, PSNR and MS-SSIM over the mask (without one, over the body), in HU or in percent of the
range of the mask (percentiles 0.5 to 99.5). Registrations: overlap, landmark errors, folding. Means come with 95 %
bootstrap intervals over subjects. Classes: accuracy, sensitivity, specificity. Generated images: kernel and Fréchet
distance, precision, recall, density and coverage of the features that --encoder sees, diversity, and likeness to the
nearest training image. Cases that a model was trained on are left out."""


def register(commands) -> None:
    """Add the command to the subparsers of the command line."""
    command = commands.add_parser(
        "evaluate", help="how well models do on cases whose answer is known", description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("model", nargs="+", metavar="MODEL", help="names of models, or model files")
    command.add_argument("--data", type=Path, required=True, metavar="DIR")
    command.add_argument("--all", action="store_true", dest="everything", help="also cases seen in training")
    command.add_argument("--output", type=Path, metavar="FILE.json", help="the numbers as JSON")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    images = command.add_argument_group("translation")
    images.add_argument("--segmentor", metavar="MODEL",
                        help="also the overlap of what this model finds in the result and in the reference")
    images.add_argument("--residual", action="store_true",
                        help="also how far a rigid registration of the result to its source moves it")
    images.add_argument("--page", type=Path, metavar="DIR", help="index.html with the same slices side by side")
    pairs = command.add_argument_group("registration")
    pairs.add_argument("--starts", nargs=2, type=float, default=(0.0, 0.0), metavar=("MM", "DEGREES"),
                       help="move every moving image at random by up to this much first")
    pairs.add_argument("--perturbations", type=int, default=0, metavar="N",
                       help="hold the quality score against the error of N perturbed copies of each result")
    pairs.add_argument("--calibrate", action="store_true",
                       help="write the error that goes with a score into the model file")
    pairs.add_argument("--optimize", type=int, default=0, metavar="STEPS",
                       help="improve every result for its very pair by so many steps")
    pairs.add_argument("--figures", type=Path, metavar="DIR", help="one picture per case")
    pairs.add_argument("--seed", type=int, default=0)
    made = command.add_argument_group("generation")
    made.add_argument("--encoder", metavar="MODEL", help="what describes images: a classifier, or VGG weights (.pth)")
    made.add_argument("--count", type=int, default=0, metavar="N", help="images to make, 500 by default")
    command.set_defaults(run=_run)


def _run(arguments) -> int:
    from GANSynthesisLib.models import load_model

    if min(*arguments.starts, arguments.perturbations, arguments.optimize) < 0:
        raise UsageError("--starts, --perturbations and --optimize take numbers of at least 0.")
    models = [load_model(each) for each in arguments.model]
    common = {"everything": arguments.everything, "output": arguments.output, "device": arguments.device}
    if models[0].card.task == "register":
        from GANSynthesisLib.evaluation.evaluate_registration import evaluate_registration

        if len(models) > 1:
            raise UsageError("Registration models are evaluated one at a time: name one.")
        _refuse(arguments, ("segmentor", "residual", "page", "encoder", "count"), "registration")
        evaluate_registration(
            models[0], arguments.data, starts=tuple(arguments.starts), perturbations=arguments.perturbations,
            optimize=arguments.optimize, calibrate=arguments.calibrate, figures=arguments.figures,
            seed=arguments.seed, **common,
        )
        return 0
    _refuse(arguments, ("perturbations", "calibrate", "optimize", "figures"), models[0].card.task)
    if models[0].card.task == "classify":
        from GANSynthesisLib.evaluation.evaluate_classification import evaluate_classification

        _refuse(arguments, ("segmentor", "residual", "page", "encoder", "count"), "classify")
        evaluate_classification(models, arguments.data, **common)
        return 0
    if models[0].card.task == "generate":
        from GANSynthesisLib.evaluation.evaluate_generation import COUNT, evaluate_generation

        _refuse(arguments, ("segmentor", "residual", "page"), "generate")
        if not arguments.encoder:
            raise UsageError("Generated images are compared as an encoder sees them: add --encoder CLASSIFIER, a "
                             "model of the system classifier, or VGG weights.")
        evaluate_generation(models, arguments.data, arguments.encoder, count=arguments.count or COUNT,
                            seed=arguments.seed, **common)
        return 0
    from GANSynthesisLib.evaluation.evaluate_synthesis import evaluate_synthesis

    _refuse(arguments, ("encoder", "count"), models[0].card.task)
    segmentor = load_model(arguments.segmentor) if arguments.segmentor else None
    evaluate_synthesis(
        models, arguments.data, segmentor=segmentor, residual=arguments.residual, page=arguments.page, **common
    )
    return 0


def _refuse(arguments, names: tuple[str, ...], task: str) -> None:
    for name in names:
        if getattr(arguments, name):
            raise UsageError(f"--{name} has no meaning for models of the task {task}: leave it out.")
