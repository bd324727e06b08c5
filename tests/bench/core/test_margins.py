"""Margins of quality in words."""

from __future__ import annotations

import pytest

from bench.core.margins import margins_from


@pytest.mark.parametrize(("text", "words"), [("1", "1 point"), ("0.5", "0.5 points"), ("2/3", "2 points")])
def test_a_margin_of_one_is_singular(text: str, words: str) -> None:
    assert margins_from("--max-drop", text).points == words
