"""The journal gives back what was put in, and names and leaves out what is torn, altered or foreign."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import InputError
from bench.core.records import Case, Failure, Measurement
from bench.run.journal import Contents, Damage, Entry, Journal, RunStart, Taken, in_words, uninterrupted
from bench.run.resume import adopt, fingerprint

MARKS = {"code": "a", "machine or package versions": "b", "flags": "c", "data": "d"}
TEST = {"name": "test[a]", "fullname": "bench/test.py::test[a]", "group": "g", "param": "a", "params": {"model": "a"}}


def case(model: str) -> Case:
    return Case(
        experiment="inference",
        model=model,
        dataset="mnist5k",
        image_size=32,
        device="cpu",
        threads=1,
        budget="smoke",
    )


def entry(model: str, *, run: str = "one", mark: str = fingerprint(MARKS), seconds: float = 0.25) -> Entry:
    outcome = Measurement(case=case(model), seconds=(seconds, 0.5))
    return Entry(run=run, outcome=outcome, fingerprint=mark, case_seconds=1.5, at=2.0, test=TEST)


def start(run: str = "one", **changed: str) -> RunStart:
    return RunStart(run=run, marks={**MARKS, **changed}, facts={"started": "2026-11-25"}, commit={"id": "0" * 40})


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path / "journal.jsonl")
    for line in (start(), entry("a"), entry("b")):
        journal.append(line)
    return journal


def models(journal: Journal) -> list[str]:
    return [entry.outcome.case.model for entry in journal.read().entries]


def test_lines_come_back_in_order(journal: Journal) -> None:
    taken = Taken(run="two", source="one", case=case("a").id, at=0.5, test=TEST)
    journal.append(taken)
    assert journal.read() == Contents(lines=(start(), entry("a"), entry("b"), taken))


def test_a_failure_comes_back_with_what_fitted(journal: Journal) -> None:
    fitted = Measurement(case=case("c"), seconds=(1.0,))
    failure = Failure(case=case("c"), kind="out_of_memory", message="out of memory", fitted=fitted)
    journal.append(Entry(run="one", outcome=failure, fingerprint="f", case_seconds=0.0, at=0.0))
    assert journal.read().entries[-1].outcome == failure


@pytest.mark.parametrize("kept", [1, 30, -2])
def test_a_torn_last_line_is_named_and_cut_away(journal: Journal, kept: int) -> None:
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(b"".join(lines[:-1]) + lines[-1][:kept])
    assert journal.read().damaged == (Damage(number=3, reason="torn, it has no end"),)
    torn = len(lines[-1][:kept])
    assert journal.repair() == f"{journal.path}: line 3 was torn, its {torn} bytes were cut away"
    assert journal.path.read_bytes() == b"".join(lines[:-1])
    journal.append(entry("c"))
    assert models(journal) == ["a", "c"]
    assert journal.read().damaged == ()


def test_a_torn_line_does_not_swallow_the_next_even_unrepaired(journal: Journal) -> None:
    journal.path.write_bytes(journal.path.read_bytes()[:-20])
    journal.append(entry("c"))
    assert models(journal) == ["a", "c"]
    assert journal.read().damaged == (Damage(number=3, reason="cut or altered, no JSON"),)


def test_a_last_line_that_lacks_only_its_end_is_kept(journal: Journal) -> None:
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole[:-1])
    assert "lacked its end" in str(journal.repair())
    assert journal.path.read_bytes() == whole
    assert journal.repair() is None


@pytest.mark.slow
def test_every_flipped_bit_of_a_line_is_noticed(journal: Journal) -> None:
    """Whichever it is: the line is left out, its neighbours are not, and what is wrong is said."""
    first, second, third = journal.path.read_bytes().splitlines(keepends=True)
    for position in range(len(second) - 1):
        for bit in range(8):
            flipped = bytearray(second)
            flipped[position] ^= 1 << bit
            journal.path.write_bytes(first + flipped + third)
            contents = journal.read()
            assert [line for line in contents.lines if isinstance(line, Entry)] == [entry("b")], (position, bit)
            assert contents.damaged[0].number == 2
            assert contents.damaged[0].reason


def test_an_altered_number_is_told_from_a_cut_line(journal: Journal) -> None:
    journal.path.write_text(journal.path.read_text().replace("0.25", "0.24", 1))
    assert journal.read().damaged == (Damage(number=2, reason="altered, the checksum does not match"),)
    assert models(journal) == ["b"]


def sealed(**body: Any) -> str:
    checksum = zlib.crc32(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())
    return json.dumps({**body, "crc32": checksum}) + "\n"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (sealed(schema=1, fingerprint="f", outcome={}), "of schema 1, while this version writes and reads 2"),
        (sealed(schema=3, kind="run"), "of schema 3, while this version writes and reads 2"),
        (sealed(schema=2, kind="invoice"), "a record of another version of the suite"),
        (sealed(schema=2, kind="outcome", run="one", outcome={}), "a record of another version of the suite"),
        ('{"schema": 2}\n', "not of a journal of this suite"),
        ("[" * 100_000 + "\n", "cut or altered, no JSON"),
        ("\x00\x00\n", "cut or altered, no JSON"),
        ("17\n", "not of a journal of this suite"),
    ],
    ids=["older", "newer", "kind", "fields", "foreign", "nested", "zeros", "number"],
)
def test_a_foreign_line_is_refused_by_name(journal: Journal, line: str, reason: str) -> None:
    journal.path.write_text(line + journal.path.read_text())
    contents = journal.read()
    assert contents.damaged == (Damage(number=1, reason=reason),)
    assert models(journal) == ["a", "b"]


def test_many_damaged_lines_are_told_in_one_line_a_reason() -> None:
    damaged = [Damage(number=number, reason="of schema 1") for number in range(1, 13)]
    assert in_words((*damaged, Damage(number=20, reason="torn"))) == [
        "lines 1, 2, 3, 4, 5 and 7 more: of schema 1",
        "line 20: torn",
    ]
    assert in_words(tuple(damaged[:3])) == ["lines 1, 2 and 3: of schema 1"]


def test_no_file_is_no_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "none.jsonl")
    assert journal.read() == Contents()
    assert journal.repair() is None


def test_a_journal_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"journal .* cannot be used \(Is a directory\)"):
        Journal(tmp_path).read()


def test_a_line_that_the_disk_takes_half_of_is_taken_back_and_written_later(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = journal.path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        for model in ("c", "d"):
            with pytest.raises(OSError, match="No space left"):
                journal.append(entry(model))
    assert journal.path.read_bytes() == before
    assert journal.unwritten == 2
    rescued = journal.rescue(tmp_path)
    assert Journal(rescued).read().lines == (start(), entry("c"), entry("d"))
    journal.append(entry("e"))
    assert models(journal) == ["a", "b", "c", "d", "e"]
    assert journal.unwritten == 0


def test_adoption_tells_what_is_left_out_and_why() -> None:
    other = {**MARKS, "code": "x", "flags": "y"}
    failed = Failure(case=case("failed"), kind="crashed", message="killed by SIGSEGV")
    lines = (
        start(),
        entry("a", seconds=0.1),
        entry("b"),
        entry("gone"),
        Entry(run="one", outcome=failed, fingerprint=fingerprint(MARKS), case_seconds=0.0, at=0.0),
        start("two", code="x", flags="y"),
        entry("c", run="two", mark=fingerprint(other)),
        entry("b", run="two", mark=fingerprint(other)),
        start("three"),
        entry("a", run="three", seconds=0.2),
    )
    contents = Contents(lines=lines, damaged=(Damage(number=7, reason="torn, it has no end"),))
    found = adopt(contents, MARKS, whole=lambda measurement: measurement.case.model != "gone")
    taken = {entry.outcome.case.model: entry for entry in found.entries.values()}
    assert taken == {"a": entry("a", run="three", seconds=0.2), "b": entry("b")}
    assert found.lines() == [
        "resuming: 2 measurements of this code, machine and data (1 of run three, begun 2026-11-25; "
        "1 of run one, begun 2026-11-25)",
        "left out: 1 without their files of weights or predicted labels, which are gone or altered",
        "left out: 1 failed, and are tried again",
        "left out: 1 of other code, flags",
        "left out: line 7: torn, it has no end",
    ]


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_comes_at_the_end_of_the_outermost_block() -> None:
    before = signal.getsignal(signal.SIGINT)
    done = []

    def blocks() -> None:
        with uninterrupted():
            with uninterrupted():
                os.kill(os.getpid(), signal.SIGINT)
                done.append("inner")
            done.append("outer")

    with pytest.raises(KeyboardInterrupt):
        blocks()
    assert done == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_is_left_alone_in_another_thread() -> None:
    before, found = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with uninterrupted():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]
