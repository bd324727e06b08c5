"""The picture that answers: drawn for every choice of routes, whatever their accuracies."""

from __future__ import annotations

from typing import Any

import pytest

from bench.core.quality import Margins
from bench.report.drawings.answer import _label, answer_picture
from bench.report.drawings.bars import decoding_picture, memory_picture
from tests.bench.report.conftest import TRUTH

WRONG = tuple((label + 1) % 10 for label in TRUTH)


def choice_of(content: Any) -> Any:
    ((choice,),) = content.networks
    return choice


@pytest.mark.parametrize("labels", [TRUTH, WRONG])
def test_two_routes_with_labels_are_drawn(make: Any, content_of: Any, labels: tuple[int, ...]) -> None:
    rows = [make.inference([0.004] * 30, labels=TRUTH), make.inference([0.001] * 30, labels=labels, precision="bf16")]
    choice = choice_of(content_of(*rows))
    picture = answer_picture(choice, Margins())
    assert picture is not None
    assert picture.startswith(b"<?xml")
    assert [_label(one) for one in choice.candidates] == [
        "bf16 eager" if labels == TRUTH else "bf16 eager -100",
        "fp32 eager",
    ]


def test_one_route_or_no_accuracy_is_no_picture(make: Any, content_of: Any) -> None:
    assert answer_picture(choice_of(content_of(make.inference(labels=TRUTH))), Margins()) is None
    rows = [make.inference(accuracy=None), make.inference(accuracy=None, precision="bf16")]
    assert answer_picture(choice_of(content_of(*rows)), Margins()) is None
    assert memory_picture(choice_of(content_of(*rows))) is None


def test_decoding_is_drawn(make: Any, content_of: Any) -> None:
    ((_, choice),) = content_of(make.decode(), make.decode(5.0, precision="bf16")).languages
    assert decoding_picture(choice) is not None
