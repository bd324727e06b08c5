"""Sets of real workers: who takes turns with whom, and what a worker that fails leaves of its set."""

from __future__ import annotations

import os
import signal
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.core.records import Case, Failure, Measurement
from bench.core.turns import reference_of
from bench.core.workspace import Workspace
from bench.run.engine import Engine
from bench.run.journal import Journal
from bench.run.process import ProcessRunner, Worker
from bench.run.turns import SetPlan
from tests.processes import alive

pytestmark = pytest.mark.slow

NETWORKS = '''
import os, time
import torch
from torch import nn

class Network(nn.Module):
    """Takes five milliseconds a call; at its 18th call, which is in its first turn, it does what its name says."""
    def __init__(self, fault, dtype=torch.bfloat16):
        super().__init__()
        self.layer = nn.Linear(3 * 32 * 32, 10)
        self.fault, self.dtype, self.calls = fault, dtype, 0
    def forward(self, images):
        time.sleep(0.005)
        self.calls += self.layer.weight.dtype == self.dtype
        if self.calls == 18:
            self.fault()
        return self.layer(images.flatten(1))

def once():
    if os.path.exists({mark!r}):
        os._exit(3)
    open({mark!r}, "w").close()

def sound(): return Network(lambda: None)
def exits(): return Network(lambda: os._exit(3))
def hangs(): return Network(lambda: time.sleep(600))
def raises(): return Network(lambda: 1 / 0)
def reference_exits(): return Network(lambda: os._exit(3), torch.float32)
def exits_in_the_second_set(): return Network(once)
'''


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    file = folder / "networks.py"
    file.write_text(NETWORKS.replace("{mark!r}", repr(str(folder / "mark"))))
    return file


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("sets")
    space = Workspace(results=folder / "results", data_dir=folder / "data")
    space.results.mkdir()
    engine = an_engine(space)
    engine.survey("cpu", 1)
    facts = engine.prepare(a_case("cnn_small"), [])
    engine.resume([facts["dataset"]["digest"]], take=False)
    return engine


@pytest.fixture
def engine(prepared: Engine, tmp_path: Path) -> Engine:
    space = replace(prepared.workspace, results=tmp_path)
    own = an_engine(space)
    own.machine, own.flags, own.marks = prepared.machine, prepared.flags, prepared.marks
    return own


def an_engine(space: Workspace) -> Engine:
    return Engine(
        runner=ProcessRunner(),
        workspace=space,
        journal=Journal(space.results / "journal.jsonl"),
        case_timeout=lambda case: 60.0,
        progress=lambda line: None,
    )


def a_case(model: str, precision: str = "fp32", **changes: Any) -> Case:
    fields: dict[str, Any] = {
        "experiment": "inference",
        "dataset": "mnist5k",
        "image_size": 32,
        "device": "cpu",
        "threads": 1,
        "budget": "smoke",
        "batch_size": 3,
    }
    return Case(model=model, precision=precision, **{**fields, **changes})


def measured(engine: Engine, *cases: Case, sets: int = 2, close: float | None = None) -> list[Measurement | Failure]:
    engine.sets = SetPlan(asked=[(case, None) for case in cases], count=sets, close=close)
    return [engine.run(case) for case in cases]


def routes(file: Path, network: str) -> tuple[Case, Case, Case]:
    """Reference, a second one, and the one whose fault shows."""
    model = f"{file}:{network}"
    return a_case(model), a_case(model, "bf16_autocast"), a_case(model, "bf16")


def test_routes_take_turns_with_the_reference(engine: Engine, networks: Path) -> None:
    reference, other = measured(engine, *routes(networks, "sound")[:2])
    assert isinstance(reference, Measurement)
    assert isinstance(other, Measurement)
    assert {turn.set for turn in other.turns} == {0, 1}
    assert [(turn.set, turn.round) for turn in other.turns] == [(turn.set, turn.round) for turn in reference.turns]
    begin = 0
    for own, paired in zip(reference.turns, other.turns, strict=True):
        median = statistics.median(reference.seconds[begin : begin + own.samples])
        assert own.reference_seconds == paired.reference_seconds == median
        begin += own.samples
    assert other.figures["cores_while_waiting"].value < 0.2
    assert all(turn.samples >= 3 for turn in other.turns)
    first, second = other.series["steady_torch_allocated_bytes"]
    assert first == second > 0
    assert len(other.series["steady_rss_bytes"]) == 2
    assert [entry.outcome for entry in engine.journal.read().entries] == [reference, other]


def test_rungs_of_a_ladder_train_in_turns_of_an_epoch(engine: Engine) -> None:
    images = {"train_images": 192, "epoch_images": 64, "test_images": 100}
    fields = {"experiment": "ladder", "recipe": "note4_cnn_small", "batch_size": 64}
    options = ({**images, "rung": 0, "workers": 0}, {**images, "rung": 2, "channels_last": True})
    start, rung = (
        a_case("cnn_small", pipeline=pipeline, options=tuple(sorted(own.items())), **fields)
        for pipeline, own in zip(("dataloader", "tensor"), options, strict=True)
    )
    assert reference_of(rung) == reference_of(start) == start
    found = measured(engine, start, rung)
    for outcome in found:
        assert isinstance(outcome, Measurement)
        assert [(turn.set, turn.round, turn.samples) for turn in outcome.turns] == [
            (0, number, 1) for number in range(3)
        ]
        assert len(outcome.seconds) == len(outcome.series["train_loss"]) == 3
    references = [turn.reference_seconds for turn in found[1].turns]
    assert references == list(found[0].seconds)
    losses = [outcome.series["train_loss"] for outcome in found]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)  # the same images in the same order
    assert not list(engine.workspace.artefacts.glob("*.pt"))


def test_a_reference_that_was_not_asked_for_is_no_row(engine: Engine, networks: Path) -> None:
    _, other, _ = routes(networks, "sound")
    (found,) = measured(engine, other)
    assert isinstance(found, Measurement)
    assert all(turn.reference_seconds for turn in found.turns)
    assert list(engine.outcomes) == [other.id]
    assert [entry.outcome.case for entry in engine.journal.read().entries] == [other]


@pytest.mark.parametrize(
    ("network", "kind", "message"),
    [("exits", "crashed", "exit status 3"), ("hangs", "timed_out", "3 s"), ("raises", "error", "ZeroDivisionError")],
)
def test_a_worker_that_fails_leaves_its_set(
    engine: Engine, networks: Path, network: str, kind: str, message: str
) -> None:
    engine.case_timeout = lambda case: 3.0 if case.precision == "bf16" and "hangs" in case.model else 60.0
    reference, other, failed = measured(engine, *routes(networks, network))
    assert isinstance(reference, Measurement)
    assert isinstance(other, Measurement)
    assert all(turn.reference_seconds for turn in other.turns)
    assert isinstance(failed, Failure)
    assert failed.kind == kind
    assert message in failed.message


def test_without_a_reference_the_others_go_on(engine: Engine, networks: Path) -> None:
    reference, _, other = measured(engine, *routes(networks, "reference_exits"))
    assert isinstance(reference, Failure)
    assert isinstance(other, Measurement)
    assert {turn.reference_seconds for turn in other.turns} == {None}


def test_a_failure_in_a_later_set_keeps_the_first_one(engine: Engine, networks: Path) -> None:
    reference, _, other = measured(engine, *routes(networks, "exits_in_the_second_set"))
    assert isinstance(reference, Measurement)
    assert isinstance(other, Measurement)
    assert {turn.set for turn in other.turns} == {0}
    assert {turn.set for turn in reference.turns} == {0, 1}
    assert any(note.startswith("set 2: crashed, ") for note in other.notes)


def test_routes_that_do_not_fit_together_take_turns_in_pairs(
    engine: Engine, networks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine.machine is not None
    engine.machine = replace(engine.machine, memory_bytes=1)
    opened = started(engine, monkeypatch)
    found = measured(engine, *routes(networks, "sound"), sets=1)
    precisions = [case.precision for case in opened]
    assert precisions == ["fp32", "bf16_autocast", "fp32", "bf16"]
    for outcome in found:
        assert isinstance(outcome, Measurement)
        assert all(turn.reference_seconds for turn in outcome.turns)


def test_slow_routes_are_in_the_first_set_alone(engine: Engine, networks: Path) -> None:
    reference, twin = (a_case(f"{networks}:sound", options=own) for own in ((), (("twin", True),)))
    assert reference_of(twin) == reference
    found = measured(engine, reference, twin, a_case(f"{networks}:sound", "bf16"), close=0.5)
    sets = [{turn.set for turn in outcome.turns} for outcome in found if isinstance(outcome, Measurement)]
    assert sets == [{0, 1}, {0, 1}, {0}]


def test_a_resumed_run_measures_the_reference_again(
    engine: Engine, networks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, other, last = routes(networks, "sound")
    kept = measured(engine, reference, other)
    later = an_engine(engine.workspace)
    later.machine, later.flags, later.marks = engine.machine, engine.flags, engine.marks
    later.adoption = replace(
        later.adoption, entries={entry.outcome.case.id: entry for entry in engine.journal.read().entries}
    )
    opened = started(later, monkeypatch)
    *taken, measured_now = measured(later, reference, other, last, sets=1)
    assert taken == kept
    assert [case.precision for case in opened] == ["fp32", "bf16"]
    assert isinstance(measured_now, Measurement)
    assert all(turn.reference_seconds for turn in measured_now.turns)


def two_subjects(networks: Path) -> list[Case]:
    return [replace(case, batch_size=size) for size in (3, 2) for case in routes(networks, "sound")[:2]]


def sets_in(outcome: Any) -> list[int]:
    assert isinstance(outcome, Measurement)
    assert sum(turn.samples for turn in outcome.turns) == len(outcome.seconds)
    return sorted({turn.set for turn in outcome.turns})


def test_sets_of_a_row_are_spread_over_the_run(engine: Engine, networks: Path) -> None:
    lines: list[str] = []
    engine.progress = lambda line: lines.append(line.partition(", set ")[0].rpartition(" ")[2] + line[-1:])
    cases = two_subjects(networks)
    engine.sets = SetPlan(asked=[(case, None) for case in cases], count=2, spread=True)
    first = [engine.run(case, test={"name": case.id}) for case in cases]
    assert [sets_in(outcome) for outcome in first] == [[0]] * 4
    begun = len(lines)
    engine.measure_further_sets()
    assert list(dict.fromkeys(line[:2] for line in lines[begun:])) == ["b3", "b2"]
    found = [engine.outcomes[case.id] for case in cases]
    assert [sets_in(outcome) for outcome in found] == [[0, 1]] * 4
    for before, after in zip(first, found, strict=True):
        assert isinstance(before, Measurement)
        assert isinstance(after, Measurement)
        assert after.seconds[: len(before.seconds)] == before.seconds
        assert (after.quality, after.cold) == (before.quality, before.cold)
    entries = engine.journal.read().entries
    assert [entry.outcome for entry in entries] == [*first, *found]
    assert [entry.test for entry in entries] == [{"name": case.id} for case in cases] * 2
    assert engine.amended == {case.id for case in cases}
    engine.measure_further_sets()
    assert len(engine.journal.read().entries) == 8


def test_a_resumed_run_measures_the_sets_that_an_interrupted_one_has_not(engine: Engine, networks: Path) -> None:
    cases = routes(networks, "sound")[:2]
    plan = SetPlan(asked=[(case, None) for case in cases], count=3, spread=True)
    engine.sets = replace(plan, count=2)
    for case in cases:
        engine.run(case)
    engine.measure_further_sets()
    first = [engine.outcomes[case.id] for case in cases]
    later = an_engine(engine.workspace)
    later.machine, later.flags, later.marks, later.sets = engine.machine, engine.flags, engine.marks, plan
    later.adoption = replace(
        later.adoption, entries={entry.outcome.case.id: entry for entry in engine.journal.read().entries}
    )
    assert [later.run(case) for case in cases] == first
    later.measure_further_sets()
    found = [later.outcomes[case.id] for case in cases]
    assert [sets_in(outcome) for outcome in found] == [[0, 1, 2]] * 2
    for before, after in zip(first, found, strict=True):
        assert isinstance(before, Measurement)
        assert isinstance(after, Measurement)
        assert after.turns[: len(before.turns)] == before.turns
        assert after.seconds[: len(before.seconds)] == before.seconds
        assert len(set(after.notes)) == len(after.notes)
        peaks = [one.series["steady_rss_bytes"] for one in (before, after)]
        assert (len(peaks[1]), peaks[1][:2]) == (3, peaks[0])
    later.measure_further_sets()
    assert [later.outcomes[case.id] for case in cases] == found


def test_a_row_that_is_left_out_of_later_sets_says_so_once(engine: Engine, networks: Path) -> None:
    reference, _, slow = routes(networks, "sound")
    engine.sets = SetPlan(asked=[(reference, None), (slow, None)], count=2, close=0.5, spread=True)
    for case in (reference, slow):
        engine.run(case)
    engine.measure_further_sets()
    later = an_engine(engine.workspace)
    later.machine, later.flags, later.marks = engine.machine, engine.flags, engine.marks
    later.sets = replace(engine.sets, count=3)
    later.adoption = replace(
        later.adoption, entries={entry.outcome.case.id: entry for entry in engine.journal.read().entries}
    )
    for case in (reference, slow):
        later.run(case)
    later.measure_further_sets()
    for owner, sets in ((engine, 2), (later, 3)):
        outcome = owner.outcomes[slow.id]
        assert sets_in(outcome) == [0]
        assert isinstance(outcome, Measurement)
        assert [note for note in outcome.notes if note.startswith("in ")] == [
            f"in 1 of {sets} sets: much slower than the fastest route"
        ]


def test_ctrl_c_ends_every_worker(engine: Engine, networks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workers: list[int] = []

    def interrupt(line: str) -> None:
        if line.endswith("round 2"):
            os.kill(os.getpid(), signal.SIGINT)

    engine.progress = interrupt
    opened = ProcessRunner.open

    def noting(self: ProcessRunner, request: dict[str, Any], progress: Any) -> Worker:
        workers.append((worker := opened(self, request, progress)).process.pid)
        return worker

    monkeypatch.setattr(ProcessRunner, "open", noting)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            measured(engine, *routes(networks, "sound")[:2])
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(workers) == 2
    assert not any(alive(pid) for pid in workers)
    assert not engine.outcomes
    assert not engine.journal.path.exists()


def started(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[Case]:
    """Cases of the workers that ``engine`` starts from now on."""
    cases: list[Case] = []
    performer = engine.runner
    opened = performer.open
    assert opened is not None

    def noting(request: dict[str, Any], progress: Any) -> Worker:
        cases.append(Case(**{**request["case"], "options": tuple(map(tuple, request["case"]["options"]))}))
        return opened(request, progress)

    monkeypatch.setattr(performer, "open", noting)
    return cases
