"""Texts: by name, by file, and identified by their digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bench.core.errors import InputError
from bench.core.text import load_text


def test_pythons_own_help_needs_no_network(tmp_path: Path) -> None:
    text = load_text("auto", tmp_path)
    assert text.name == "python-topics"
    assert len(text.content) > 100_000
    assert text.digest == hashlib.sha256(text.content.encode()).hexdigest()[:16]


def test_wikitext_is_used_where_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "wikitext-2-raw").mkdir()
    (tmp_path / "wikitext-2-raw" / "wiki.test.raw").write_text("= Robert Boulter =")
    assert load_text("auto", tmp_path).name == load_text("wikitext-2", tmp_path).name == "wikitext-2"
    assert load_text("auto", tmp_path).content == "= Robert Boulter ="
    assert load_text("python-topics", tmp_path).name == "python-topics"


def test_a_file_of_the_users_own(tmp_path: Path) -> None:
    file = tmp_path / "prose.txt"
    file.write_text("Once upon a time")
    before = load_text(str(file), tmp_path)
    file.write_text("Once upon another")
    after = load_text(str(file), tmp_path)
    assert (before.name, after.name) == ("prose.txt", "prose.txt")
    assert before.digest != after.digest


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("wikitext-2", "put wiki.test.raw of wikitext-2-raw-v1 into"),
        ("pyton-topics", "unknown text 'pyton-topics'. Did you mean python-topics"),
        ("empty", "is empty: give a text"),
        ("binary", "cannot be read"),
    ],
)
def test_what_is_no_text_is_refused(given: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        load_text(given, tmp_path / "data")
