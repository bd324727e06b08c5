"""The engine: runs each case once, in a fresh process or in this one, and keeps its outcome. No torch."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.core.experiments import EXPERIMENTS
from bench.core.other_work import OtherWork
from bench.core.records import Case, Failure, Machine, Measurement, Outcome, Scalar
from bench.core.turns import reference_of
from bench.core.workspace import Workspace
from bench.plan.plan import Requested
from bench.run.journal import Entry, Journal, Line, RunStart, Taken, Tried, uninterrupted
from bench.run.requests import LanguageFiles, Performed, Progress, Requests, Runner, stepped_down, steps_down
from bench.run.result import packed_labels
from bench.run.resume import Adoption, Artefacts, Sources, Weights, adopt, fingerprint, marks
from bench.run.seat import Open
from bench.run.turns import Series, SetPlan, Sets, rule_of


@dataclass(kw_only=True)
class Engine:
    """Runs cases, keeps every outcome, and runs nothing twice."""

    runner: Runner
    workspace: Workspace
    journal: Journal
    case_timeout: Callable[[Case], float]
    progress: Progress
    artefact_of: Callable[[Case], str] | None = None
    """Name of the file of weights that a training case gives, under ``workspace.artefacts``."""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    case_seconds: dict[str, float] = field(default_factory=dict)
    tried: dict[str, Performed] = field(default_factory=dict)
    """Results of smaller batches that were tried, by case id: outcomes once a test asks for them."""
    sets: SetPlan = field(default_factory=SetPlan)
    others: OtherWork = field(default_factory=OtherWork)
    """Work of other processes on this machine, which sets wait out."""
    later: list[Series] = field(default_factory=list)
    """Subjects that have had their first set, and get the others when all have."""
    amended: set[str] = field(default_factory=set)
    """Cases whose outcome was replaced after their test had ended, by id."""
    tests: dict[str, Mapping[str, Any] | None] = field(default_factory=dict)
    """Names of the test that asked for a case, by its id."""
    measured: dict[str, Performed] = field(default_factory=dict)
    """Results of cases that were measured in a set, until their own test asks for them."""
    machine: Machine | None = None
    flags: dict[str, Scalar] = field(default_factory=dict)
    language_files: dict[str, LanguageFiles] = field(default_factory=dict)
    """Folders of the language models of the run, by the names that cases call them."""
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    """Name of this run in the journal."""
    begun: float = field(default_factory=time.monotonic)
    marks: Mapping[str, str] = field(default_factory=dict)
    """Hashes of what shapes the numbers of this run."""
    adoption: Adoption = field(default_factory=Adoption)
    """Measurements that earlier runs left in the journal, to be taken when their case is asked for."""
    resumed: int = 0
    """Number of them that were taken."""
    sources: Sources = field(default_factory=Sources)
    """The code of this run. Made before a worker imports any of it."""
    measure_sets: Callable[[Sets], dict[str, Performed]] = Sets.measure
    """Function that measures a set, here or on another machine."""
    artefacts: Artefacts = field(init=False)

    def __post_init__(self) -> None:
        self.artefacts = Artefacts(self.workspace.artefacts)

    def survey(self, device: str, threads: int) -> Machine:
        """Ask a first worker what machine this is.

        Raises:
            InputError: the device cannot be used, or no worker can be started.
        """
        self.machine, self.flags = self._requests.survey(self.workspace, device, threads)
        return self.machine

    def prepare(self, case: Case, users: Sequence[Case]) -> dict[str, Any]:
        """Decode the data set of ``case`` at its image size, and try the user's own networks, before any case runs.

        Raises:
            InputError: data or a network cannot be used.
        """
        facts = self._requests.prepare(self.workspace, case, users)
        self.workspace = replace(self.workspace, decoded=Path(facts["decoded"]))
        return facts

    def fetch(self, model: str) -> LanguageFiles:
        """Find, download or make the files of a language model. A problem is kept: its cases then fail with it."""
        self.language_files[model] = self._requests.fetch(self.workspace, model)
        return self.language_files[model]

    def resume(self, data_digests: Sequence[str], *, take: bool) -> Adoption:
        """Fix the fingerprint of this run and, if ``take``, adopt matching measurements from the journal.

        Failures are not adopted: they are tried again.

        Raises:
            InputError: the journal cannot be read.
        """
        if self.machine is None:
            raise RuntimeError("survey the machine first")
        self.marks = marks(self.machine, self.flags, data_digests, self.sources.code)
        self.workspace = replace(self.workspace, fingerprint=fingerprint(self.marks))
        if take:
            self.adoption = adopt(self.journal.read(), self.marks, self._whole)
        return self.adoption

    def begin(self, facts: Mapping[str, Any], commit: Mapping[str, Scalar]) -> None:
        """Tell the journal what the JSON of this run says of it as a whole, and of the checkout."""
        self._write(RunStart(run=self.run_id, marks=self.marks, facts=facts, commit=commit))

    def run(
        self,
        case: Case,
        needs: Case | None = None,
        test: Mapping[str, Any] | None = None,
        on_kept: Callable[[Outcome], None] = lambda outcome: None,
    ) -> Outcome:
        """The outcome of ``case``, run now unless it is known. ``needs`` is the training whose weights it reads.

        What is needed is run first, as its own outcome, outside the clock and the time limit of ``case``.

        Args:
            test: names of the test that asks, as pytest-benchmark has them, for the journal.
            on_kept: called with the outcome once it is in the journal. Ctrl-C comes before both or after both.

        Raises:
            CodeChanged: the code of this run was edited. The outcome is not kept.
        """
        weights = self._weights_of(needs)
        known = self._known(case, weights)
        self.tests[case.id] = test
        if known is None:
            line, spent = self._measured(case, weights, test)
            self._keep(line.outcome, line, spent, on_kept)
        else:
            source, outcome = known
            taken = Taken(run=self.run_id, source=source, case=case.id, at=self.seconds, test=test)
            self._keep(outcome, taken if source != self.run_id or test is not None else None, (), on_kept)
            self.resumed += source != self.run_id
        return self.outcomes[case.id]

    def _known(self, case: Case, weights: Weights) -> tuple[str, Outcome] | None:
        """The outcome of ``case`` and the run that measured it; None if it has to be run."""
        if case.id in self.outcomes:
            return self.run_id, self.outcomes[case.id]
        adopted = self.adoption.entries.get(case.id)
        if adopted is None or not isinstance(adopted.outcome, Measurement) or not weights.allow(adopted.outcome):
            return None
        return adopted.run, adopted.outcome

    def _measured(self, case: Case, weights: Weights, test: Mapping[str, Any] | None) -> tuple[Entry, tuple[Path, ...]]:
        """A line of ``case``, run now unless it was tried before, and the files that are of no use after it."""
        tried = self.tried.get(case.id) or self._in_sets(case) or self._perform(case, weights)
        outcome = tried.outcome
        if isinstance(outcome, Failure) and steps_down(outcome):
            outcome = self._step_down(outcome, weights)
        return self._entry(outcome, tried.seconds, test), tried.spent

    def _entry(self, outcome: Outcome, case_seconds: float, test: Mapping[str, Any] | None) -> Entry:
        return Entry(
            run=self.run_id,
            outcome=outcome,
            fingerprint=self.workspace.fingerprint,
            case_seconds=case_seconds,
            at=self.seconds,
            test=test,
        )

    def _keep(
        self, outcome: Outcome, line: Line | None, spent: Sequence[Path], on_kept: Callable[[Outcome], None]
    ) -> None:
        with uninterrupted():  # else the journal has what the JSON of this run has not
            if line:
                self._write(line, spent)
            self.outcomes[outcome.case.id] = outcome
            if isinstance(line, Entry):
                self.case_seconds[outcome.case.id] = line.case_seconds
            on_kept(outcome)

    @property
    def seconds(self) -> float:
        """Seconds since this run was made."""
        return time.monotonic() - self.begun

    def _step_down(self, failure: Failure, weights: Weights) -> Failure:
        """``failure`` with the largest half, quarter, … of its batch that fits. It stays the outcome of that batch.

        Each batch has a fresh process and the time limit of a case, unless its outcome is known.
        """
        tried: list[Outcome] = []
        size = failure.case.batch_size // 2
        while size >= 1:
            smaller = replace(failure.case, batch_size=size)
            known = self._known(smaller, weights)
            tried.append(known[1] if known else self._try(smaller, weights))
            if isinstance(tried[-1], Measurement) or tried[-1].kind != "out_of_memory":
                break
            size //= 2
        return stepped_down(failure, tried)

    def _try(self, case: Case, weights: Weights) -> Outcome:
        """The outcome of ``case``, which no test asked for so far: kept for one that will, and for ``--resume``."""
        if case.id not in self.tried:
            result = self._perform(case, weights)
            line = Tried(
                run=self.run_id,
                outcome=result.outcome,
                fingerprint=self.workspace.fingerprint,
                case_seconds=result.seconds,
            )
            with uninterrupted():
                self._write(line, result.spent)
                self.tried[case.id] = result
                self.case_seconds[case.id] = result.seconds
        return self.tried[case.id].outcome

    def trained(self, training: Case) -> Outcome | None:
        """The outcome of ``training``, run now unless its weights are there; None where an earlier run left them."""
        self._weights_of(training)
        return self.outcomes.get(training.id)

    def _weights_of(self, training: Case | None) -> Weights:
        """The weights that ``training`` gives: those of an earlier run if their file is there, else it is run now.

        A file is named by all that shapes its training. A run whose own cases include the training has run it before,
        and does not come to the file.
        """
        if training is None:
            return Weights(fresh=False)
        known = training.id in self.outcomes or training.id in self.adoption.entries
        name = self.artefact_of(training) if self.artefact_of and not known else None
        if name and (digest := self.artefacts.sha256(name)):
            return Weights(artefact=name, sha256=digest, fresh=False)
        trained = self.run(training)
        if isinstance(trained, Failure):
            return Weights(untrained=f"its training failed ({trained.kind}: {trained.message})")
        fresh = training.id in self.case_seconds
        return Weights(artefact=trained.artefact, sha256=trained.weights_sha256, fresh=fresh)

    def _write(self, line: Line, spent: Sequence[Path] = ()) -> None:
        """Write ``line`` to the journal. A full disk must not cost the measurement, which still goes into the JSON.

        Files ``spent`` are removed once the line is on the disk: until then they are all that there is of it. Where
        the disk has no room for the line they make some.

        Raises:
            CodeChanged: the numbers of the line may be of other code than it says.
        """
        self.sources.check()
        try:
            self.journal.append(line)
        except OSError:
            self._remove(spent)
            self._write_again()
        self._remove(spent)

    def _write_again(self) -> None:
        try:
            self.journal.flush()
        except OSError as error:
            self.progress(f"{self.journal.path} cannot be written ({error.strerror}): tried again after the next case")

    def _remove(self, files: Sequence[Path]) -> None:
        for file in files:
            with suppress(OSError):
                file.unlink(missing_ok=True)

    def _perform(self, case: Case, weights: Weights) -> Performed:
        files = self.language_files.get(case.model)
        return self._requests.run(self.workspace, case, self.case_timeout(case), weights, files)

    def requests_ahead(self, asked: Sequence[Requested]) -> list[dict[str, Any]]:
        """Requests of cases that no result is known of, that read no weights and take no turns."""
        free = [case for case, needs in asked if needs is None and not self.sets.beside(case)]
        unknown = [case for case in free if self._known(case, Weights(fresh=False)) is None]
        return [
            self._requests.of_case(self.workspace, case, self.case_timeout(case), Weights(fresh=False), None)
            for case in unknown
            if EXPERIMENTS[case.experiment].kind == "training"
        ]

    def _in_sets(self, case: Case) -> Performed | None:
        """Result of ``case``, measured in turns with the cases of its set that have no result yet; None if it has none.

        Those keep their results until their tests ask for them.
        """
        if case.id not in self.measured and self.runner.open:
            beside = [(member, self._weights_of(needs)) for member, needs in self.sets.beside(case)]
            members = {member.id: pair for pair in beside if self._known(member := pair[0], pair[1]) is None}
            if members and not self._lacks_files(case):
                sets = self._sets(list(members.values()), self.runner.open)
                if self.sets.spread:
                    self.later.append(Series(sets=sets))
                    self.later[-1].measure()
                    self.measured |= self.later[-1].results()
                else:
                    self.measured |= self.measure_sets(sets)
        return self.measured.pop(case.id, None)

    def measure_further_sets(self) -> None:
        """Measure the sets that are left, one of each subject in turn, and put their turns into the outcomes.

        So minutes lie between the sets of a row: the clock and the memory's rate of a machine drift over minutes, not
        alike for all routes, and sets that follow one another would agree without telling of it.

        Raises:
            CodeChanged: the code of this run was edited. The set is not kept.
        """
        if not self.sets.spread:
            return
        self.later += self._begun_before()
        while left := [series for series in self.later if series.more]:
            for series in left:
                series.measure()
                for performed in series.results().values():
                    self._amend(performed)

    def _amend(self, performed: Performed) -> None:
        """Replace the outcome of a case by one with more turns, in the journal as well."""
        outcome, before = performed.outcome, self.outcomes.get(performed.outcome.case.id)
        if not isinstance(outcome, Measurement) or not isinstance(before, Measurement) or outcome == before:
            return
        with uninterrupted():
            self._write(self._entry(outcome, performed.seconds, self.tests[outcome.case.id]))
            self.outcomes[outcome.case.id] = outcome
            self.case_seconds[outcome.case.id] = performed.seconds
            self.amended.add(outcome.case.id)

    def _begun_before(self) -> list[Series]:
        """Subjects whose rows were all taken from an earlier run, which may have ended before their last set."""
        own = {reference_of(member) for series in self.later for member in series.sets.members}
        subjects: dict[Case, list[Requested]] = {}
        for case, needs in self.sets.asked:
            if reference_of(case) not in own and isinstance(self.outcomes.get(case.id), Measurement):
                subjects.setdefault(reference_of(case), []).append((case, needs))
        if not self.runner.open:
            return []
        found = []
        for rows in subjects.values():
            sets = self._sets([(case, self._weights_of(needs)) for case, needs in rows], self.runner.open)
            found.append(Series.resumed(sets, [self.outcomes[case.id] for case, _ in rows]))
        return found

    def _sets(self, members: Sequence[tuple[Case, Weights]], opened: Open) -> Sets:
        weights = {member.id: own for member, own in members}
        usual = members[0][1]  # cases of one set are of one subject, and so of one training

        def request(case: Case, number: int) -> dict[str, Any]:
            space = replace(self.workspace, set_number=number)
            files = self.language_files.get(case.model)
            own = weights.get(case.id, usual)
            return self._requests.of_case(space, case, self.case_timeout(case), own, files)

        return Sets(
            members=[member for member, _ in members],
            count=self.sets.count if rule_of(members[0][0]) else 1,
            close=self.sets.close,
            memory_bytes=self._memory_of(members[0][0].device),
            request=request,
            open_worker=opened,
            limit=self.case_timeout,
            progress=self.progress,
            others=self.others,
        )

    def _memory_of(self, device: str) -> int | None:
        if self.machine is None:
            return None
        return self.machine.memory_bytes if device == "cpu" else self.machine.device_memory_bytes

    def _lacks_files(self, case: Case) -> bool:
        files = self.language_files.get(case.model)
        return files is not None and files.problem is not None

    @property
    def _requests(self) -> Requests:
        return Requests(runner=self.runner, progress=self.progress)

    def _whole(self, measurement: Measurement) -> bool:
        """True if the files that a measurement names still exist with the same content."""
        if not self.artefacts.holds(measurement):
            return False
        stored = measurement.quality.predictions if measurement.quality else None
        return stored is None or packed_labels(stored, self.workspace.results) is not None
