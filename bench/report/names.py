"""Short names that mean the same thing in every table: of machines, data sets and versions of our code."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from bench.core.records import digest_of, to_json
from bench.report.load import DatasetFacts, Run


@dataclass(frozen=True, kw_only=True)
class Names:
    """Made by `names_of`. Data sets and code go by the run's label and the data set's specification."""

    machines: Mapping[str, str]
    datasets: Mapping[tuple[str, str], str]
    codes: Mapping[tuple[str, str], str]

    def machine(self, run: Run) -> str:
        """``M1``, ``M2``, ...: a machine with its versions, in the order of the files."""
        return self.machines[run.label]

    def dataset(self, run: Run, spec: str) -> str:
        """The data set's own name, with a piece of its digest where two data sets bear the same name."""
        return self.datasets.get((run.label, spec)) or plain_name(spec)

    def code(self, run: Run, spec: str) -> str | None:
        """A piece of the code's fingerprint where one machine measured one data set with several; else None."""
        return self.codes.get((run.label, self.dataset(run, spec)))


def names_of(runs: Sequence[Run]) -> Names:
    """The names for a report of ``runs``."""
    machines = _machines(runs)
    datasets = {(run.label, item.spec): item.name for run in runs for item in named_datasets(runs, run)}
    versions: dict[tuple[str, str], set[str]] = {}
    places = [(run, machines[run.label], name) for run in runs for name in _measured(run, datasets)]
    for run, machine, name in places:
        versions.setdefault((machine, name), set()).add(run.code or "unknown")
    several = [place for place in places if len(versions[place[1:]]) > 1]
    codes = {(run.label, name): (run.code or "unknown")[:8] for run, _, name in several}
    return Names(machines=machines, datasets=datasets, codes=codes)


def named_datasets(runs: Sequence[Run], run: Run) -> list[DatasetFacts]:
    """The data sets of ``run``, by the names that tell them from those of the other runs."""
    digests: dict[str, set[str]] = {}
    for item in (item for some in runs for item in some.datasets):
        digests.setdefault(item.name, set()).add(item.digest)
    return [
        dataclasses.replace(item, name=f"{item.name} {item.digest[:6]}") if len(digests[item.name]) > 1 else item
        for item in run.datasets
    ]


def distinct_datasets(runs: Sequence[Run]) -> tuple[DatasetFacts, ...]:
    """Every data set once, in the order of the files, by the names of `named_datasets`."""
    found: dict[str, DatasetFacts] = {}
    for run in runs:
        for item in named_datasets(runs, run):
            found.setdefault(item.name, item)
    return tuple(found.values())


def plain_name(spec: str) -> str:
    """A folder's base name; ``FILE.py:callable`` without the folders before it."""
    return PurePath(spec).name or spec


def _machines(runs: Sequence[Run]) -> dict[str, str]:
    digests = {run.label: digest_of(to_json(run.machine)) for run in runs}
    order = list(dict.fromkeys(digests.values()))
    return {label: f"M{order.index(digest) + 1}" for label, digest in digests.items()}


def _measured(run: Run, datasets: Mapping[tuple[str, str], str]) -> set[str]:
    cases = [*(item.case for item in run.measurements), *(item.case for item in run.failures)]
    specs = {case.dataset for case in cases}
    return {datasets.get((run.label, spec)) or plain_name(spec) for spec in specs}
