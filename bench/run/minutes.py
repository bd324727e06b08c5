"""A run that ends after a number of minutes: its choice of tests, its deadline, and what it left out. No torch."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from bench.core.errors import InputError
from bench.core.experiments import EXPERIMENTS, TABLE
from bench.core.records import Case, Failure, Outcome
from bench.plan.minutes import REFERENCE, LeftOut, Wanted, choose, estimate
from bench.plan.plan import Plan
from bench.plan.training_cases import needed_training, training_case
from bench.run.engine import Engine
from bench.run.journal import Entry

END_SECONDS = 10.0
"""Seconds that are kept for the end of a run: its JSON and its report."""
LEAST_SECONDS = 5.0
"""Shortest time limit of a case that has begun."""
SAME_MACHINE = "machine or package versions"
"""Mark of the runs whose seconds are those of this machine: see ``resume.marks``."""


@dataclass(kw_only=True)
class Minutes:
    """The time that a run has."""

    asked: float
    plan: Plan
    engine: Engine
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    """Selected tests that do not run, by their ids."""
    waiting: dict[str, Wanted] = field(default_factory=dict)
    """Chosen tests that have not run, by their ids."""
    line: str = ""
    """Result of the choice, for the user."""

    @property
    def left(self) -> float:
        """Seconds until the last case has to be finished."""
        return self.engine.begun + self.asked * 60 - END_SECONDS - time.monotonic()

    def limit(self, seconds: float) -> float:
        """Time limit of a case that begins now and may otherwise take ``seconds``."""
        return min(seconds, max(self.left, LEAST_SECONDS))

    def choose(self, items: Sequence[pytest.Item]) -> list[pytest.Item]:
        """The items that fit, in the order in which they run. The others are left out.

        Raises:
            InputError: none fits.
        """
        known = _Known(self.engine)
        wanted = [self._wanted(item, known) for item in items]
        choice = choose(wanted, self.left, self.plan.device.partition(":")[0])
        if not choice.chosen:
            least = min((one.seconds for one in choice.left_out), default=0.0)
            raise InputError(
                f"--minutes {self.asked:g}: no case fits into the {max(self.left, 0):.0f} s that are left after the "
                f"start; the shortest takes about {least:.0f} s: give more minutes."
            )
        self.left_out = {one.test: one for one in choice.left_out}
        self.waiting = {one.test: one for one in choice.chosen}
        self.line = (
            f"--minutes {self.asked:g}: {len(choice.chosen)} of {len(items)} cases are expected to fit into the "
            f"{self.left:.0f} s after the start"
        )
        by_test = {item.nodeid: item for item in items}
        return [by_test[one.test] for one in choice.chosen]

    def late(self, test: str) -> tuple[str, ...]:
        """Leave out, now that ``test`` has its turn, what there is no time for any more. Returns those tests.

        Cases of one subject are measured together: those that tell the least are left out until the others fit.
        """
        first = self.waiting.pop(test, None)
        if first is None:
            return ()
        group = [first, *(one for one in self.waiting.values() if one.subject == first.subject)]
        dropped: list[Wanted] = []
        while (price := _price(group)) and price > self.left:
            dropped.append(group.pop())
        if any(one.route != REFERENCE for one in dropped) and all(one.route == REFERENCE for one in group):
            # A reference without a rival answers nothing.
            dropped += group
            group = []
        for one in dropped:
            self.waiting.pop(one.test, None)
            reason = f"{max(self.left, 0):.0f} s were left when its turn came"
            self.left_out[one.test] = LeftOut(test=one.test, reason=reason, seconds=_price([one]))
        if EXPERIMENTS[first.experiment].takes_turns:  # all of them are measured with the first one
            self.waiting |= {one.test: replace(one, measured=True) for one in group if one is not first}
        return tuple(one.test for one in dropped)

    def why_not(self, test: str) -> str | None:
        """Reason why ``test`` is left out; None if it is not."""
        late = self.left_out.get(test)
        return f"left out: {late.reason}" if late else None

    def cut_off(self, test: str, outcome: Outcome) -> bool:
        """True if the end of the run, not a fault, ended the case of ``test``, or the training that it needs.

        The test then counts as left out, and the outcome is none of the run.
        """
        late = self.left <= 0 and isinstance(outcome, Failure) and outcome.kind == "timed_out"
        if late:
            reason = "the minutes were over while it ran"
            self.left_out[test] = LeftOut(test=test, reason=reason, seconds=self.engine.case_seconds[outcome.case.id])
            self.engine.outcomes.pop(outcome.case.id, None)
        return late

    def untrained(self, test: str, training: Case | None) -> bool:
        """Run ``training``, if ``test`` needs it and it has to be run. True if the minutes were over meanwhile."""
        trained = self.engine.trained(training) if training else None
        return trained is not None and self.cut_off(test, trained)

    def facts(self) -> dict[str, Any]:
        """Part of the ``halfbyte`` section of the JSON."""
        return {"minutes": self.asked, "left_out": [dataclasses.asdict(one) for one in self.left_out.values()]}

    def closing(self, arguments: Sequence[Any]) -> list[str]:
        """Lines for the end of pytest's output: what was left out, and the command that adds it.

        Args:
            arguments: those that pytest was started with.
        """
        if not self.left_out:
            return []
        seconds = sum(one.seconds for one in self.left_out.values())
        return [
            f"--minutes {self.asked:g}: {len(self.left_out)} cases were left out, about {seconds / 60:.0f} minutes of "
            f"work. Add them: {_again(arguments)}"
        ]

    def _wanted(self, item: pytest.Item, known: _Known) -> Wanted:
        params: Mapping[str, Any] = item.callspec.params  # type: ignore[attr-defined]
        experiment = str(params.get("experiment") or _experiment_of(item.path.stem))
        seconds = known.of_test(item.nodeid, self.plan)
        if seconds is None:
            seconds = estimate(experiment, params, self.plan.budget, self.plan.sets, self.plan.device)
        training = self._training_of(experiment, params)
        ready = training is None or known.has_weights(training)
        trained = self._of_training(training) if training else 0.0
        return Wanted(
            test=item.nodeid,
            experiment=experiment,
            params=params,
            seconds=0.0 if experiment == "training" else seconds,
            measured=known.adopted(item.nodeid),
            training=None if ready or training is None else training.id,
            training_seconds=0.0 if ready or training is None else known.of_case(training) or trained,
        )

    def _of_training(self, training: Case) -> float:
        named = {"model": training.model, "recipe": training.recipe}
        return estimate("training", named, self.plan.budget, 1, self.plan.device)

    def _training_of(self, experiment: str, params: Mapping[str, Any]) -> Case | None:
        """The training that the case of a test is, or needs."""
        if experiment == "training":
            return training_case(self.plan, **params)
        if experiment == "inference":
            return needed_training(self.plan, params["model"], params["image_size"])
        return None


class _Known:
    """Facts about earlier runs on this machine, from the journal."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        contents = engine.journal.read()
        machine = engine.marks[SAME_MACHINE]
        same = {run for run, start in contents.starts.items() if start.marks.get(SAME_MACHINE) == machine}
        self._entries = [entry for entry in contents.entries if entry.run in same]
        self._by_case = {entry.outcome.case.id: entry.case_seconds for entry in self._entries}
        self._by_test = {entry.test["fullname"]: entry for entry in self._entries if entry.test}
        adopted = engine.adoption.entries.values()
        self._adopted = {one.test["fullname"] for one in adopted if isinstance(one, Entry) and one.test}

    def of_test(self, test: str, plan: Plan) -> float | None:
        """Seconds of the last case of ``test`` on the device and in the budget of ``plan``; None if there is none."""
        entry = self._by_test.get(test)
        if entry is None or (entry.outcome.case.device, entry.outcome.case.budget) != (plan.device, plan.budget.name):
            return None
        return entry.case_seconds

    def of_case(self, case: Case) -> float | None:
        return self._by_case.get(case.id)

    def adopted(self, test: str) -> bool:
        """True if an earlier run measured ``test``, so that it is not measured again."""
        return test in self._adopted

    def has_weights(self, training: Case) -> bool:
        """True if ``training`` does not have to run: its outcome is taken, or the file of its weights is there."""
        if training.id in self._engine.adoption.entries:
            return True
        name: Callable[[Case], str] | None = self._engine.artefact_of
        return name is not None and self._engine.artefacts.sha256(name(training)) is not None


def _again(arguments: Sequence[Any]) -> str:
    """Command that runs the same selection and takes what has been measured."""
    words = [*map(str, arguments)]
    return shlex.join(["pytest", *words, *([] if "--resume" in words else ["--resume"])])


def _price(tests: Sequence[Wanted]) -> float:
    trainings = {one.training: one.training_seconds for one in tests if one.training and not one.measured}
    return sum(one.seconds for one in tests if not one.measured) + sum(trainings.values())


def _experiment_of(module: str) -> str:
    """The last experiment of a case module: those before it, if any, are what it needs."""
    return [experiment.name for experiment in TABLE if experiment.cases == module][-1]
