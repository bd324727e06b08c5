"""`python -m bench.report render FILE... --out DIR`, `… compare OLD NEW`, `… check`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.core.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status of ``render``: 0 if a report was written; of ``compare``: 0 without a regression, 1 with one, 2 if
    the runs are not comparable; of ``check``: 1 if a committed report is stale; of all: 2 if the input or the place to
    write to cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2


def _render(options: argparse.Namespace) -> int:
    from bench.report.render import render  # pandas and matplotlib take a second: not for --help

    rendered = render(options.files, options.out, options.max_drop)
    for line in rendered.refused:
        print(line, file=sys.stderr)
    if options.screen:
        print(f"\n{rendered.screen}")
    print(f"report: {rendered.summary}")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from bench.report.compare.comparison import compare
    from bench.report.compare.document import document

    comparison = compare(options.old, options.new, anyway=options.anyway)
    text = document(comparison)
    if options.out is None:
        print(text, end="")
    else:
        _write(options.out, text)
        print(f"{text.splitlines()[0]}\ncomparison: {options.out}")
    return comparison.status


def _check(options: argparse.Namespace) -> int:
    from bench.report.check import PUBLISHED, differences

    folder = options.folder or PUBLISHED
    lines = differences(folder)
    for line in lines:
        print(line, file=sys.stderr)
    print(f"{len(lines)} differences: render those reports again." if lines else f"{folder}: as their results have it")
    return 1 if lines else 0


def _write(out: Path, text: str) -> None:
    from bench.report.render import replace

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace(out, text.encode())
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}): name another file with --out.") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.report", description="Reports from the JSON of runs.")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    verb = verbs.add_parser("render", help="summary.md, index.html, measurements.csv and figures from one or more runs")
    verb.add_argument("files", metavar="FILE", nargs="+", type=Path, help="JSON written by `nox -s bench`")
    verb.add_argument("--out", metavar="DIR", type=Path, default=Path("reports"), help="default: reports")
    verb.add_argument(
        "--max-drop",
        metavar="POINTS[/PERCENT]",
        help="losses that do not count: points of accuracy, per cent of perplexity (default: the run's, else 1/2)",
    )
    verb.add_argument("--screen", action="store_true", help="print the first screen as well")
    verb.set_defaults(run=_render)
    verb = verbs.add_parser("compare", help="what became worse from one run to another; exit status 1 if anything did")
    verb.add_argument("old", metavar="OLD", type=Path, help="JSON of the run to compare with")
    verb.add_argument("new", metavar="NEW", type=Path, help="JSON of the run to judge")
    verb.add_argument("--out", metavar="FILE", type=Path, help="Markdown file to write; default: standard output")
    verb.add_argument("--anyway", action="store_true", help="compare runs that are not comparable, and say so")
    verb.set_defaults(run=_compare)
    verb = verbs.add_parser("check", help="fail if a committed report is not what its results produce")
    verb.add_argument("folder", metavar="DIR", nargs="?", type=Path, help="default: reports/published")
    verb.set_defaults(run=_check)
    return parser


if __name__ == "__main__":
    sys.exit(main())
