"""`python -m bench.report render FILE... --out DIR`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 if a report was written, 2 if the input or the folder cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        return _render(options.files, options.out)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2


def _render(files: Sequence[Path], out: Path) -> int:
    from bench.report.render import render  # pandas and matplotlib take a second: not for --help

    rendered = render(files, out)
    for line in rendered.refused:
        print(line, file=sys.stderr)
    print(f"report: {rendered.summary}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.report", description="Reports from the JSON of runs.")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    verb = verbs.add_parser("render", help="summary.md, index.html, measurements.csv and figures from one or more runs")
    verb.add_argument("files", metavar="FILE", nargs="+", type=Path, help="JSON written by `nox -s bench`")
    verb.add_argument("--out", metavar="DIR", type=Path, default=Path("reports"), help="default: reports")
    return parser


if __name__ == "__main__":
    sys.exit(main())
