"""`python -m bench.run.rebuild results/journal.jsonl --out results/run.json`: the JSON of a run from its journal."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import InputError
from bench.core.records import Measurement, to_json
from bench.run.journal import Contents, Entry, Journal, RunStart, Taken, Tried, in_words
from bench.run.result import bare, summary, write_whole

NOTHING_FINISHED = 3
"""Exit status where the run has no finished case, which is no fault of the journal or of the place."""


class NothingFinished(InputError):
    """A run that has begun and has no finished case."""


def rebuild(contents: Contents, results: Path, run: str | None = None) -> dict[str, Any]:
    """The JSON that ``run``, the last one by default, would have written after the last line that it wrote.

    Args:
        results: the folder that predicted labels are read from.

    Raises:
        NothingFinished: the run has no finished case.
        InputError: the journal has no such run.
    """
    start = _start(contents, run)
    own: list[Entry | Taken] = [
        line for line in contents.lines if isinstance(line, Entry | Taken) and line.run == start.run
    ]
    sources = {line.case: _source(line, contents.finished) for line in own if isinstance(line, Taken)}
    taken = {case: entry for case, entry in sources.items() if entry and entry.run != start.run}
    measured = {line.outcome.case.id: line for line in own if isinstance(line, Entry)}
    entries: dict[str, Entry | Tried] = {**taken, **measured}
    if not entries:
        raise NothingFinished(f"run {start.run} has no finished case{_others(contents, start.run)}")
    section = summary(
        start.facts,
        [entry.outcome for entry in entries.values()],
        {line.outcome.case.id: line.case_seconds for line in contents.finished if line.run == start.run},
        seconds=own[-1].at,
        resumed=len(taken),
        results=results,
    )
    tests = {_case(line): line.test for line in own if line.test is not None}
    rows = [(entries[case].outcome, test) for case, test in tests.items() if case in entries]
    benchmarks = [
        {**test, "options": {}, **row_of(outcome)} for outcome, test in rows if isinstance(outcome, Measurement)
    ]
    return {**bare(section, start.commit, str(start.facts["started"])), "benchmarks": benchmarks}


def _start(contents: Contents, run: str | None) -> RunStart:
    starts = contents.starts
    if not starts:
        raise InputError(f"the journal names no run{_damage(contents)}; `--resume` takes the measurements in it")
    if run is None:
        return list(starts.values())[-1]
    if run not in starts:
        raise InputError(f"the journal has no run '{run}'{_others(contents, run)}")
    return starts[run]


def _others(contents: Contents, run: str) -> str:
    """The runs that can be named instead, with how many cases each finished."""
    counted = {
        name: sum(line.run == name for line in contents.lines if isinstance(line, Entry | Taken))
        for name in contents.starts
        if name != run
    }
    others = [f"{name} ({count} cases)" for name, count in counted.items() if count]
    return f"; name another with --run: {', '.join(others)}" if others else ""


def _damage(contents: Contents) -> str:
    return "".join(f"; {line}" for line in in_words(contents.damaged))


def _source(taken: Taken, entries: Sequence[Entry | Tried]) -> Entry | Tried | None:
    matching = [entry for entry in entries if entry.run == taken.source and entry.outcome.case.id == taken.case]
    return matching[-1] if matching else None


def _case(line: Entry | Taken) -> str:
    return line.case if isinstance(line, Taken) else line.outcome.case.id


def row_of(measurement: Measurement) -> dict[str, Any]:
    """What pytest-benchmark stores of a row beside the names of its test: our record, and its own statistics."""
    from pytest_benchmark.stats import Stats

    stats = Stats()
    for second in measurement.seconds:
        stats.update(second)
    figures = {**stats.as_dict(), "data": list(measurement.seconds), "iterations": 1}
    return {"extra_info": to_json(measurement), "stats": figures}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 if the file was written, 2 if journal or place cannot be used, 3 if nothing was finished."""
    options = _parser().parse_args(arguments)
    try:
        print(_rebuild(options.journal, options.out, options.run))
        return 0
    except InputError as error:
        print(error, file=sys.stderr)
        return NOTHING_FINISHED if isinstance(error, NothingFinished) else 2


def _rebuild(path: Path, out: Path, run: str | None) -> str:
    if not path.is_file():
        raise InputError(f"{path} is no file: name the journal of a results folder, like results/journal.jsonl.")
    if out.exists():
        raise InputError(f"{out} is there already: move it away, or name another file with --out.")
    contents = Journal(path).read()
    content = rebuild(contents, path.parent, run)
    try:
        write_whole(out, content)
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror}): name another file with --out.") from None
    section = content["halfbyte"]
    return (
        f"rebuilt {out}: {len(content['benchmarks'])} measurements and {len(section['failures'])} failures of the run "
        f"begun {section['started']}{_damage(contents)}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.run.rebuild", description="A run's JSON from its journal.")
    parser.add_argument("journal", metavar="JOURNAL", type=Path, help="journal.jsonl of a results folder")
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="the JSON to write")
    parser.add_argument("--run", metavar="ID", help="which run of the journal (default: the last one)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
