"""``python -m bench.export ROUTE --models NAME --weights FILE --out DIR``: a route as files that run elsewhere."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import models
from bench.core import datasets
from bench.core.errors import InputError, Unsupported
from bench.core.other_work import usable_cores
from bench.core.precisions import MIXED
from bench.core.quality import MOST_DROP
from bench.core.recipes import recipe
from bench.core.records import Case
from bench.core.route_code import RouteName
from bench.core.runtimes import RUNTIMES, why_not
from bench.export.written import Exported

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0; 1 where the written files do not reproduce the route; 2, with one line, where the input or this
    machine does not allow the export."""
    given = _parser().parse_args(arguments)
    try:
        exported = _language(given) if given.models in models.LANGUAGE_MODELS else _classifier(given)
    except (InputError, Unsupported, models.ModelError, MemoryError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    print(exported.summary)
    return 0 if exported.reproduced else 1


def _classifier(given: argparse.Namespace) -> Exported:
    case = _case(given)
    datasets.check(given.dataset, given.data_dir)
    out = _new_folder(given.out)
    from bench.export.classifiers import export  # torch: not for --help or a wrong name

    return export(case, out, data_dir=given.data_dir)


def _language(given: argparse.Namespace) -> Exported:
    route = RouteName.parse(given.route, "languages")
    reason = why_not(route.runtime, route.precision, route.mode, "cpu", kind="languages")
    if reason:
        raise Unsupported(reason)
    out = _new_folder(given.out)
    from bench.export.languages import export

    return export(given.models, route, out, threads=given.threads, data_dir=given.data_dir)


def _case(given: argparse.Namespace) -> Case:
    """The inference case that the route would be measured by.

    Raises:
        InputError: a name, a file or a number is not allowed.
        ModelError: the network does not take such images.
        Unsupported: the route cannot run here.
    """
    route = _mixed(RouteName.parse(given.route, "classifiers"), given.max_drop)
    reason = why_not(route.runtime, route.precision, route.mode, "cpu", kind="classifiers")
    if reason:
        raise Unsupported(reason)
    if given.weights is None:
        raise InputError("--weights is missing; give a file that torch.save wrote from a state dict.")
    if not given.weights.is_file():
        raise InputError(f"--weights {given.weights} is no file; give a file that torch.save wrote from a state dict.")
    for option, number in (("--batch-size", given.batch_size), ("--threads", given.threads)):
        if number < 1:
            raise InputError(f"{option} {number} is below 1; give 1 or more.")
    if given.recipe:
        recipe(given.recipe)
    try:
        network = models.classifier(given.models, given.image_size)
    except KeyError:
        raise models.ModelError(
            f"unknown network '{given.models}': give one of {', '.join(models.CLASSIFIERS)}, or FILE.py:callable."
        ) from None
    options = {
        "classes": given.classes,
        "normalize": given.normalize,
        "weights": str(given.weights.resolve()),
        MOST_DROP: None if given.max_drop is None else given.max_drop / 100,
    }
    return Case(
        experiment="inference",
        model=network.name,
        dataset=given.dataset,
        image_size=network.image_size,
        device="cpu",
        threads=given.threads,
        budget="export",
        runtime=route.runtime,
        precision=route.precision,
        mode=route.mode,
        recipe=given.recipe,
        batch_size=given.batch_size,
        options=tuple(sorted((name, value) for name, value in options.items() if value is not None)),
    )


def _mixed(route: RouteName, points: float | None) -> RouteName:
    """``route``, at mixed precision where a largest drop is given.

    Raises:
        InputError: the drop is none, or the route is not static int8.
    """
    if points is None:
        return route
    if not 0 <= points <= 100:
        raise InputError(f"--max-drop {points} is no drop in points; give a number from 0 to 100.")
    if route.precision not in ("int8_static", MIXED):
        routes = ", ".join(f"{name}:{MIXED}" for name in RUNTIMES if MIXED in RUNTIMES[name].classifiers)
        raise InputError(f"--max-drop goes with {routes}, not with {route}.")
    return replace(route, precision=MIXED)


def _new_folder(out: Path) -> Path:
    """``out``, which is not there yet or is empty.

    Raises:
        InputError: something is there.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise InputError(f"--out {out} is there already; give a new folder.")
    return out


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.export",
        allow_abbrev=False,
        description="Write a model as a route of the report ran it, with a load.py that runs it without "
        "this suite. The files are checked by running load.py.",
    )
    add = parser.add_argument
    add("route", metavar="ROUTE", help="runtime:precision or runtime:precision:mode, as openvino:int8_static")
    add(
        "--models", metavar="NAME", required=True, help="one network: a name, FILE.py:callable, package.module:callable"
    )
    add("--weights", metavar="FILE", type=Path, help="a classifier's weights: a file that torch.save wrote")
    add("--out", metavar="DIR", type=Path, required=True, help="folder to write, which must not be there yet")
    add("--dataset", metavar="DATA", default="auto", help="images that calibrate and that the files are checked with")
    add("--data-dir", metavar="DIR", type=Path, default=ROOT / "data", help="folder of data sets and their cache")
    add("--classes", metavar="N", type=int, help="classes of your own network (default: the data set's)")
    add("--image-size", metavar="N", type=int, help="side of the images in pixels (default: the network's own)")
    add("--recipe", metavar="NAME", help="recipe that trained the weights: its normalisation of images")
    add("--normalize", metavar="M,M,M/S,S,S", help="normalisation of images (default: the recipe's or the data's)")
    add("--batch-size", metavar="N", type=int, default=1, help="images of one call (default: 1)")
    words = f"keep the most sensitive layers of int8_static in floating point ({MIXED}) until at most so many "
    words += "points of accuracy are lost on held-out images"
    add("--max-drop", metavar="POINTS", type=float, help=words)
    add(
        "--threads",
        metavar="N",
        type=int,
        default=usable_cores(),
        help="threads of a call (default: the cores there are)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
