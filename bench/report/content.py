"""Content that sections are made from: one report's runs, results and answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from bench.core.quality import Margins
from bench.core.records import Failure
from bench.report.choosing import Choice, classifier_choices, language_choice
from bench.report.language import Speech, of_language_alone, speeches
from bench.report.load import DatasetFacts, Run
from bench.report.names import Names, distinct_datasets, names_of
from bench.report.pairing import compared
from bench.report.results import OF_MACHINE, Result, failures_of, grouped

MOST_ROWS = 1_000
"""Rows of a table at most: beyond, only measurements.csv has all."""


@dataclass(frozen=True, kw_only=True)
class Content:
    runs: tuple[Run, ...]
    refused: tuple[str, ...]
    """One line for each file that could not be used."""
    margins: Margins
    method: str | None
    """Relative link to docs/method.md; None where the report lies outside the checkout."""

    @cached_property
    def results(self) -> list[Result]:
        return compared(self.runs)

    @cached_property
    def failures(self) -> list[Failure]:
        return failures_of(self.runs)

    @cached_property
    def names(self) -> Names:
        return names_of(self.runs)

    @cached_property
    def by_experiment(self) -> dict[object, list[Result]]:
        return grouped(self.results, lambda one: one.case.experiment)

    def of(self, experiment: str) -> list[Result]:
        """Results of one experiment, without the reference's twin."""
        return [one for one in self.by_experiment.get(experiment, []) if not one.is_twin]

    @property
    def twins(self) -> list[Result]:
        return [one for one in self.results if one.is_twin]

    @cached_property
    def speeches(self) -> list[Speech]:
        return speeches(self.results)

    @cached_property
    def networks(self) -> list[list[Choice]]:
        """One list a network, a choice a batch size."""
        return classifier_choices(self.results, self.failures, self.margins, self.features)

    @cached_property
    def languages(self) -> list[tuple[Speech, Choice]]:
        pairs = [
            (speech, language_choice(speech, self.failures, self.margins, self.features)) for speech in self.speeches
        ]
        return [(speech, choice) for speech, choice in pairs if choice is not None]

    @property
    def features(self) -> tuple[str, ...]:
        return self.runs[0].machine.cpu_features

    @cached_property
    def datasets(self) -> tuple[DatasetFacts, ...]:
        """None where language models alone were measured: then no image was looked at."""
        looking = not all(of_language_alone(run.experiments) for run in self.runs)
        return distinct_datasets(self.runs) if looking else ()

    @property
    def smoke(self) -> bool:
        return any(run.budget == "smoke" for run in self.runs)

    @property
    def experiments(self) -> frozenset[str]:
        """Experiments of all cases, measured or failed."""
        return frozenset().union(*(run.experiments for run in self.runs))

    @property
    def measured(self) -> bool:
        """True if anything but the machine was measured."""
        return any(one.case.experiment not in OF_MACHINE for one in self.results)


def first_rows(rows: Sequence[Result]) -> tuple[tuple[Result, ...], int]:
    """The rows that a table has room for, and the number of those left out."""
    return tuple(rows[:MOST_ROWS]), max(0, len(rows) - MOST_ROWS)
