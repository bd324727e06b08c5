"""Margins in words, and labels as text."""

from __future__ import annotations

import random

import pytest

from bench.core.quality import LARGEST, margins_from, pack, unpack


@pytest.mark.parametrize(("text", "words"), [("1", "1 point"), ("0.5", "0.5 points"), ("2/3", "2 points")])
def test_a_margin_of_one_is_singular(text: str, words: str) -> None:
    assert margins_from("--max-drop", text).points == words


def test_labels_come_back() -> None:
    labels = [random.Random(0).randrange(10) for _ in range(10_000)]
    assert unpack(pack(labels)) == labels
    assert unpack(pack([0, 999, LARGEST])) == [0, 999, LARGEST]
    assert unpack(pack([])) == []


def test_ten_classes_take_little_room() -> None:
    labels = [random.Random(1).randrange(10) for _ in range(10_000)]
    assert len(pack(labels)) < 8_000


@pytest.mark.parametrize("labels", [[-1], [LARGEST + 1]])
def test_what_is_no_label_is_refused(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="class labels are from 0 to 65535"):
        pack(labels)


@pytest.mark.parametrize("text", ["!", "AAAA", pack([1, 2, 3])[:-4]])
def test_damaged_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (base64, zlib and array each say it in their own words)
        unpack(text)
