"""The journal gives back what was put in, and leaves out what is torn, altered or foreign."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.engine.journal import Entry, Journal
from bench.records import Case, Failure, Measurement


def entry(model: str) -> Entry:
    case = Case(
        experiment="inference",
        model=model,
        dataset="mnist5k",
        image_size=32,
        device="cpu",
        threads=1,
        budget="smoke",
    )
    return Entry(outcome=Measurement(case=case, seconds=(0.25, 0.5)), fingerprint="f", case_seconds=1.5)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(entry("a"))
    journal.append(entry("b"))
    return journal


def models(journal: Journal) -> list[str]:
    return [entry.outcome.case.model for entry in journal.entries()]


def test_entries_come_back_in_order(journal: Journal) -> None:
    assert list(journal.entries()) == [entry("a"), entry("b")]
    assert journal.damaged_lines == 0


def test_a_failure_comes_back(journal: Journal) -> None:
    failure = Failure(case=entry("c").outcome.case, kind="crashed", message="killed by SIGSEGV")
    journal.append(Entry(outcome=failure, fingerprint="f", case_seconds=0.0))
    assert list(journal.entries())[-1].outcome == failure


@pytest.mark.parametrize("kept", [1, 30, -1])
def test_a_torn_last_line_is_left_out_and_does_not_swallow_the_next(journal: Journal, kept: int) -> None:
    first, second = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(first + second[: len(second) + kept - 1 if kept < 0 else kept])
    journal.append(entry("c"))
    assert models(journal) == ["a", "c"]
    assert journal.damaged_lines == 1


def test_a_flipped_digit_is_noticed(journal: Journal) -> None:
    journal.path.write_text(journal.path.read_text().replace("0.25", "0.24", 1))
    assert models(journal) == ["b"]
    assert journal.damaged_lines == 1


def test_another_schema_is_left_out(journal: Journal) -> None:
    first, second = journal.path.read_text().splitlines()
    journal.path.write_text(json.dumps({**json.loads(first), "schema": 2}) + "\n" + second + "\n")
    assert models(journal) == ["b"]


def test_no_file_is_no_entries(tmp_path: Path) -> None:
    assert list(Journal(tmp_path / "none.jsonl").entries()) == []
