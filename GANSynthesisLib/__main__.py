"""The command line: python -m GANSynthesisLib systems | models | train | apply | batch | drr | evaluate | generate."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path

from GANSynthesisLib import generate_command as generation
from GANSynthesisLib import shapes_command as shapes
from GANSynthesisLib.evaluation import command as evaluation
from GANSynthesisLib.files import read_volume, write_json
from GANSynthesisLib.options import UsageError, certain, result_port, uncertainty_of
from GANSynthesisLib.radiographs import command as radiographs
from GANSynthesisLib.result import endings_of, write_output
from GANSynthesisLib.training import lesions_command as lesions

GOING_ON = {
    "train": "; --resume goes on from the last checkpoint", "batch": "; the same command goes on with what is left",
}

BATCH_HELP = """\
Apply a model to every case of a folder. A case is

  for a model with one input: a NIfTI, NRRD or MetaImage file, or a subfolder with one DICOM series, in the folder or
  in its subfolder named after the input;
  for a model with several inputs: images of the same name in one subfolder per input (fixed/a.nii.gz with
  moving/a.nii.gz), or a subfolder with one image named after each input (a/fixed.nii.gz with a/moving.nii.gz).

Each case gives CASE_OUTPUT.nii.gz (segmentations: .seg.nrrd, transforms: .h5) and a report, CASE.json. batch.json in
the output folder records what became of every case. The same command run again goes on: cases whose results are there
and whose images have not changed are left alone, failed ones are tried again.

Exit status: 0 all cases are done, 1 some failed, 2 the batch could not be started."""


def main(words: list[str] | None = None) -> int:
    """Run one command; errors of the user's making end in one sentence on stderr and exit status 2."""
    arguments = _parser().parse_args(words)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return arguments.run(arguments)
    except KeyboardInterrupt:
        print(f"stopped{GOING_ON.get(arguments.command, '')}", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError, OSError) as error:
        if isinstance(error, RuntimeError) and not type(error).__module__.startswith("GANSynthesisLib."):
            raise  # a fault of ours: the traceback is what helps
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m GANSynthesisLib", description="GAN-based synthesis, segmentation and registration of volumes. "
        "Research software: results are synthetic and not for diagnosis.",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("systems", help="methods that can be trained, with their settings")
    command.add_argument("--json", action="store_true", help="everything, as JSON")
    command.set_defaults(run=_systems)

    command = commands.add_parser("models", help="trained models that can be applied: shipped ones and your own")
    command.add_argument("--json", action="store_true", help="everything, as JSON")
    command.set_defaults(run=_models)

    command = commands.add_parser("train", help="train a system on a folder of cases")
    command.add_argument("system", metavar="SYSTEM")
    command.add_argument("--data", type=Path, required=True,
                         help="folder with one subfolder per role, or a CSV manifest")
    command.add_argument("--output", type=Path, required=True, metavar="MODEL.safetensors")
    command.add_argument("--settings", nargs="*", action="extend", default=[], metavar="NAME=VALUE")
    command.add_argument("--steps", type=int, default=2000)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    command.add_argument("--precision", default="32", choices=("32", "bf16"))
    command.add_argument("--initial", metavar="MODEL", help="start from the weights of this model")
    command.add_argument("--resume", action="store_true", help="go on from the last checkpoint, if there is one")
    command.set_defaults(run=_train)

    command = commands.add_parser("apply", help="apply a model to images")
    command.add_argument("model", metavar="MODEL", help="name of a model, or a model file")
    command.add_argument("--input", nargs="*", action="extend", default=[], metavar="ROLE=FILE",
                         help="image file or DICOM folder for each input of the model")
    command.add_argument("--output", nargs="+", action="extend", required=True, metavar="NAME=FILE")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    command.add_argument("--precision", default="32", choices=("32", "bf16"))
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--optimize", type=int, default=0, metavar="STEPS",
                         help="improve a registration for this very pair by so many steps")
    command.add_argument("--samples", type=int, default=0, metavar="N",
                         help="also tell how sure the model is, by N varied copies of the input: the output "
                              "NAME_uncertainty")
    command.add_argument("--refine", default="", metavar="crf|shape=FILE",
                         help="last step of a segmentation: a dense random field, or a model of shapes (see `shapes`)")
    command.add_argument("--report", type=Path, metavar="FILE.json")
    command.set_defaults(run=_apply)

    command = commands.add_parser(
        "batch", help="apply a model to every case of a folder", formatter_class=argparse.RawDescriptionHelpFormatter,
        description=BATCH_HELP)
    command.add_argument("model", metavar="MODEL", help="name of a model, or a model file")
    command.add_argument("--input-folder", type=Path, required=True, metavar="DIR", help="where the cases are")
    command.add_argument("--output-folder", type=Path, required=True, metavar="DIR",
                         help="where the results go; outside of the input folder")
    command.add_argument("--outputs", nargs="+", action="extend", metavar="NAME",
                         help="outputs to make, by default those of the model's task (`models` lists them)")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    command.add_argument("--precision", default="32", choices=("32", "bf16"))
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--optimize", type=int, default=0, metavar="STEPS",
                         help="improve every registration for its very pair by so many steps")
    command.add_argument("--restart", action="store_true", help="do all cases anew, whatever the output folder holds")
    command.set_defaults(run=_batch)

    radiographs.register(commands)
    shapes.register(commands)
    evaluation.register(commands)
    lesions.register(commands)
    generation.register(commands, _show_progress)
    return parser


def _systems(arguments) -> int:
    from GANSynthesisLib.systems import describe_systems

    described = describe_systems()
    if arguments.json:
        print(json.dumps(described, indent=1, ensure_ascii=False))
        return 0
    for system in described:
        print(f"{system['name']:25} {system['task']:11} {', '.join(system['roles']):28} {system['title']}")
    return 0


def _models(arguments) -> int:
    from GANSynthesisLib.models import list_models

    models = list_models()
    if arguments.json:
        rows = [{**json.loads(model.card.to_json()), "tasks": list(model.card.tasks), "hash": model.sha256,
                 "file": str(model.path)} for model in models]
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return 0
    for model in models:
        card = model.card
        inputs = ", ".join(f"{port.name} ({port.modality})" for port in card.inputs) or "noise"
        outputs = ", ".join(port.name for port in card.outputs)
        print(f"{card.name:26} {card.task:11} {inputs} -> {outputs}   {model.sha256[:12]}")
    if not models:
        print("no models are installed")
    return 0


def _train(arguments) -> int:
    from GANSynthesisLib.training import train

    train(
        arguments.system, arguments.data, arguments.output, settings=_pairs(arguments.settings, "--settings"),
        steps=arguments.steps, seed=arguments.seed, device=arguments.device, precision=arguments.precision,
        resume=arguments.resume, initial=arguments.initial, progress=_show_progress,
    )
    return 0


def _apply(arguments) -> int:
    from GANSynthesisLib.inference import apply_model, generate
    from GANSynthesisLib.models import load_model

    model = load_model(arguments.model)
    outputs = {name: Path(path) for name, path in _pairs(arguments.output, "--output").items()}
    inputs = _pairs(arguments.input, "--input")
    _check_outputs(model.card, outputs, arguments.samples)
    volumes = {role: read_volume(path) for role, path in inputs.items()}
    if model.card.task == "generate":
        if volumes:
            raise UsageError(f"The model '{model.card.name}' takes no input: leave --input out.")
        result = generate(model, 1, seed=arguments.seed, device=arguments.device, progress=_show_progress)
    else:
        result = apply_model(
            model, volumes, outputs=list(dict.fromkeys(map(certain, outputs))), device=arguments.device,
            precision=arguments.precision, seed=arguments.seed, optimize=arguments.optimize,
            samples=arguments.samples, refine=arguments.refine, progress=_show_progress,
        )
    for name, path in outputs.items():
        write_output(result.outputs[name], path)
        if model.card.task == "classify":
            print(f"{name}: {result.outputs[name]}")
        print(f"wrote {path}")
    for warning in result.report["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    if arguments.report:
        report = {**result.report, "outputs": {name: str(path) for name, path in outputs.items()}}
        write_json(report, arguments.report)
    return 0


def _batch(arguments) -> int:
    from GANSynthesisLib.batch import plan_batch
    from GANSynthesisLib.models import load_model

    plan = plan_batch(
        load_model(arguments.model), arguments.input_folder, arguments.output_folder, outputs=arguments.outputs,
        precision=arguments.precision, seed=arguments.seed, optimize=arguments.optimize, restart=arguments.restart,
    )
    todo = {case.name for case in plan.remaining}
    for case in plan.cases:
        if case.name not in todo:
            print(f"{case.name}: was done before")
    from GANSynthesisLib.batch.run import run_batch  # torch, once it is clear that there is work

    record = run_batch(plan, device=arguments.device, progress=_show_progress, said=_show_case)
    mine = [case.name for case in plan.cases if case.name in record.cases]  # of several processes, each has a share
    new = [record.cases[name].state for name in mine if name in todo]
    failed = new.count("failed")
    print(f"{len(mine)} cases: {len(new) - failed} done, {failed} failed, {len(mine) - len(new)} done before; results "
          f"in {plan.output_folder}")
    return 1 if failed else 0


def _show_case(name: str, case) -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)  # the line of the progress
    if case.state == "failed":
        print(f"{name}: failed: {case.error}", flush=True)
        return
    print(f"{name}: done in {case.seconds:.1f} s", flush=True)
    for warning in case.warnings:
        print(f"warning: {name}: {warning}", file=sys.stderr)


def _check_outputs(card, outputs: dict[str, Path], samples: int) -> None:
    names = [port.name for port in card.outputs]
    for name, path in outputs.items():
        if certain(name) not in names:
            raise UsageError(f"The model '{card.name}' has no output '{name}'; it gives: {', '.join(names)}.")
        endings = endings_of(result_port(card, name))
        if not str(path).lower().endswith(endings):
            raise UsageError(f"The output {name}={path} must end in one of {', '.join(endings)}.")
    uncertain = [name for name in outputs if name != certain(name)]
    if uncertain and samples == 0:
        raise UsageError(f"The output {uncertain[0]} is found by varied copies of the input: add --samples 8, say.")
    if samples and not uncertain:
        example = uncertainty_of(next(iter(outputs)))
        raise UsageError(f"--samples {samples} needs a file for what it gives: add {example}=FILE to --output.")


def _pairs(words: list[str], option: str) -> dict[str, str]:
    pairs = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not (sign and name and value):
            raise UsageError(f"{option} {word}: expected NAME=VALUE.")
        if name in pairs:
            raise UsageError(f"{option} names '{name}' twice.")
        pairs[name] = value
    return pairs


def _show_warning(message, category, *place) -> None:
    """What users should know, on one line; warnings among programmers stay out of their way."""
    if issubclass(category, UserWarning):
        print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


def _show_progress(fraction: float, text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{fraction:6.1%}  {text[:150]}", end="" if fraction < 1 else "\n", file=sys.stderr, flush=True)
    elif _show_progress.last is None or int(fraction * 20) != _show_progress.last or text.startswith("alert"):
        _show_progress.last = int(fraction * 20)
        print(f"{fraction:6.1%}  {text}", file=sys.stderr, flush=True)


_show_progress.last = None


if __name__ == "__main__":
    sys.exit(main())
