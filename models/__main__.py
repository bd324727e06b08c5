"""``python -m models`` lists the networks; ``python -m models NAME`` prints the layers of one."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence

from models import CLASSIFIERS, LANGUAGE_MODELS, ClassifierSpec, ModelError, classifier


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 with one line on standard error where the network cannot be had."""
    given = _parser().parse_args(arguments)
    if given.name and given.name not in CLASSIFIERS and ":" not in given.name:
        return _refuse(_unknown(given.name))
    if given.image_size is not None and not given.name:
        return _refuse("--image-size goes with the NAME of one network")
    try:
        spec = classifier(given.name, given.image_size) if given.name else None
        print(_text(spec, given.classes))
    except ModelError as error:
        return _refuse(str(error))
    return 0


def _text(spec: ClassifierSpec | None, classes: int) -> str:
    # After the arguments are known to be good: torch takes seconds to import.
    from models.summary import layer_table, overview

    if spec is None:
        language = "\n".join(f"{name}: {model.summary}" for name, model in LANGUAGE_MODELS.items())
        return f"{overview(CLASSIFIERS.values(), classes)}\n\nlanguage models\n{language}"
    return f"{spec.name}: {spec.summary}\n{layer_table(spec, classes)}\n\n{overview([spec], classes)}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="of the list, or your own: FILE.py:callable, package.module:callable"
    )
    parser.add_argument("--image-size", type=int, metavar="N", help="side of the images in pixels, 224 for example")
    parser.add_argument("--classes", type=int, default=10, metavar="N", help="number of classes (default 10)")
    return parser


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, CLASSIFIERS, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"unknown network '{name}'.{hint} Known: {', '.join(CLASSIFIERS)}."


def _refuse(line: str) -> int:
    print(line, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
