from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from scipy import stats

from bench.core.quality import pack
from bench.report.compare.quality import QualityChange

RIGHT = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
WRONG = (1, 2, 3, 4, 5, 6, 7, 8, 9, 0)
LESS = (0, 1, 2, 3, 4, 5, 6, 0, 0, 0)
FEW = (0, 1, 2, 3, 4, 0)
SAME = {"artefact": "one.pt"}


def of_precision(comparison: Any, precision: str = "fp32") -> QualityChange:
    found: QualityChange = next(item for item in comparison.quality if item.pair.case.precision == precision)
    return found


def test_accuracy_is_paired_image_by_image(make: Any, compared: Any) -> None:
    old, new = make.inference(labels=RIGHT, **SAME), make.inference(labels=LESS, **SAME)
    item = of_precision(compared([old], [new]))
    assert (item.old, item.new, item.samples) == (1.0, 0.7, 10)
    assert item.change == pytest.approx(-0.3)
    assert item.standard_error == pytest.approx(math.sqrt((5 / 12 - (3 / 12) ** 2) / 12))
    assert item.p == pytest.approx(stats.binomtest(0, 3).pvalue) == 0.25
    assert item.outcome == "no clear difference"


def test_a_loss_that_shows_is_a_regression(make: Any, compared: Any) -> None:
    old, new = make.inference(labels=RIGHT, **SAME), make.inference(labels=WRONG, **SAME)
    comparison = compared([old], [new])
    assert of_precision(comparison).p == pytest.approx(2 / 2**10)
    assert of_precision(comparison).outcome == "worse"
    assert comparison.status == 1
    back = compared([new], [old])
    assert (of_precision(back).outcome, back.status) == ("better", 0)
    assert of_precision(compared([old], [old])).outcome == "same"


def test_every_judged_row_counts_and_batch_sizes_count_once(make: Any, compared: Any) -> None:
    def side(labels: Any) -> list[Any]:
        sizes = [make.inference(labels=labels, batch_size=size, **SAME) for size in (1, 8, 32)]
        return [*sizes, *(make.inference(labels=RIGHT, model=name, **SAME) for name in ("b", "c"))]

    comparison = compared(side(RIGHT), side(WRONG))
    assert len(comparison.quality) == 3
    assert min(item.p for item in comparison.quality) == pytest.approx(3 * 2 / 2**10)


def test_weights_that_were_trained_anew_have_a_threshold(make: Any, compared: Any, monkeypatch: Any) -> None:
    old, new = (make.inference(labels=labels, artefact=name) for labels, name in ((RIGHT, "a.pt"), (WRONG, "b.pt")))
    item = of_precision(compared([old], [new]))
    assert (item.remark, item.threshold, item.outcome) == ("trained anew", 0.02, "worse")
    monkeypatch.setattr("bench.report.compare.quality.ACCURACY_TRAINED_ANEW", 1.0)
    assert of_precision(compared([old], [new])).outcome == "no clear difference"


def test_weights_of_another_name_that_answer_alike_are_the_same(make: Any, compared: Any) -> None:
    """The name holds a hash of the code that trained them."""

    def side(labels: Any, artefact: str) -> list[Any]:
        fp32 = make.inference(labels=LESS, artefact=artefact)
        return [fp32, make.inference(labels=labels, precision="int8", artefact=artefact)]

    item = of_precision(compared(side(RIGHT, "a.pt"), side(WRONG, "b.pt")), "int8")
    assert (item.remark, item.threshold) == (None, 0.0)


ONE, OTHER = {"artefact": "one.pt", "weights_sha256": "1" * 64}, {"artefact": "one.pt", "weights_sha256": "2" * 64}
"""Two trainings of one name."""


def test_a_file_of_the_same_name_does_not_make_the_same_weights(make: Any, compared: Any) -> None:
    before, same, anew = (
        make.inference(labels=labels, **file) for labels, file in ((RIGHT, ONE), (WRONG, ONE), (WRONG, OTHER))
    )
    assert of_precision(compared([before], [same])).remark is None
    item = of_precision(compared([before], [anew]))
    assert (item.remark, item.threshold) == ("trained anew", 0.02)
    unknown = make.inference(labels=WRONG, artefact="one.pt")  # a file of an earlier version has no digest
    assert of_precision(compared([before], [unknown])).remark == "trained anew"


def test_what_is_trained_anew_each_time_never_has_the_same_weights(make: Any, compared: Any) -> None:
    """A transfer tells the weights that it began with, a ladder tells none, and neither is judged with them."""

    def side(labels: Any) -> list[Any]:
        made = {"ladder": {}, "ablation": {}, "transfer": ONE}
        one = [make.inference(labels=labels, **file) for file in made.values()]
        cases = [make.case(experiment, recipe="note4_cnn_small", batch_size=64) for experiment in made]
        return [dataclasses.replace(item, case=case) for item, case in zip(one, cases, strict=True)]

    changes = compared(side(RIGHT), side(WRONG)).quality
    assert [(item.remark, item.threshold) for item in changes] == [("trained anew", 0.02)] * 3


def test_equal_labels_vouch_for_their_own_weights_alone(make: Any, compared: Any) -> None:
    """One rung of a ladder that came out the same says nothing of another, nor of the weights of inference."""

    def rung(number: int, labels: Any) -> Any:
        case = make.case("ladder", recipe="note4_cnn_small", options=(("rung", number),))
        return dataclasses.replace(make.inference(labels=labels), case=case)

    def side(first: Any, second: Any, third: Any, file: Any) -> list[Any]:
        rows = [make.inference(labels=third, seed=1, **file), make.inference(labels=RIGHT, seed=0, artefact="zero.pt")]
        return [rung(0, first), rung(1, second), *rows]

    changes = compared(side(RIGHT, RIGHT, RIGHT, ONE), side(RIGHT, WRONG, WRONG, OTHER)).quality
    told = {(item.pair.case.experiment, item.change): item.remark for item in changes}
    assert told == {
        ("ladder", 0.0): "trained anew",
        ("ladder", -1.0): "trained anew",
        ("inference", -1.0): "trained anew",
        ("inference", 0.0): None,
    }


def test_the_users_own_weights_are_the_same_by_their_digest(make: Any, compared: Any) -> None:
    """In files of earlier versions by that of the case."""
    given = {"options": (("weights", "/one/mine.pt"), ("weights_digest", "0123456789abcdef"))}
    old, new = (make.inference(labels=labels, **given) for labels in (RIGHT, WRONG))
    assert of_precision(compared([old], [new])).remark is None


def test_images_that_both_judged_are_compared_and_counted(make: Any, compared: Any) -> None:
    old, new = make.inference(labels=RIGHT, **SAME), make.inference(labels=FEW, **SAME)
    item = of_precision(compared([old], [new]))
    assert (item.samples, item.remark) == (6, "on the 6 images that both judged")
    assert item.change == pytest.approx(-1 / 6)


def test_other_images_are_said_to_be_so(make: Any, compared: Any) -> None:
    old, new = make.inference(labels=RIGHT, **SAME), make.inference(labels=WRONG, **SAME)
    other = [make.dataset(digest="f" * 16, test_labels=pack(RIGHT))]
    item = of_precision(compared([old], [new], new={"datasets": other}, anyway=True))
    assert (item.outcome, item.obstacle) == ("cannot tell", "judged on other images")
    assert (item.p, item.change) == (None, None)


@pytest.mark.parametrize("missing", ["predictions", "labels"])
def test_without_labels_nothing_is_told(make: Any, compared: Any, missing: str) -> None:
    old, new = make.inference(labels=RIGHT, **SAME), make.inference(labels=WRONG, **SAME)
    lost = {"predictions": {}} if missing == "predictions" else {"datasets": [make.dataset(test_labels=None)]}
    suite = {"old": lost, "new": lost if missing == "labels" else None}
    item = of_precision(compared([old], [new], **suite))
    assert (item.outcome, item.obstacle) == ("cannot tell", "no predictions or true labels in the files")


def test_a_quality_that_only_one_run_has(make: Any, compared: Any) -> None:
    item = of_precision(compared([make.inference(accuracy=0.7)], [make.inference(accuracy=None)]))
    assert (item.outcome, item.obstacle) == ("cannot tell", "judged by accuracy and nothing")
    nothing = make.inference(accuracy=None)
    assert compared([nothing], [nothing]).quality == ()


def test_perplexity_is_paired_window_by_window(make: Any, compared: Any) -> None:
    tokens = (100,) * 12
    before = [300.0 + index for index in range(12)]
    old, new = make.perplexity(before, tokens), make.perplexity([nats + 2 for nats in before[:11]] + [313.5], tokens)
    comparison = compared([old], [new])
    item = of_precision(comparison)
    added = [2.0] * 11 + [2.5]
    assert item.change == pytest.approx(math.exp(sum(added) / 1200) - 1)
    # All windows have as many tokens: the paired t test of the mean, to first order of the ratio.
    assert item.p is not None
    assert math.log10(item.p) == pytest.approx(math.log10(stats.ttest_1samp(added, 0).pvalue), abs=0.2)
    assert (item.samples, item.outcome, comparison.status) == (12, "worse", 1)
    assert of_precision(compared([new], [old])).outcome == "better"


@pytest.mark.parametrize(
    ("changes", "obstacle"),
    [
        ({"options": {"text_digest": "other"}}, "judged on other text"),
        ({"tokens": (100, 100, 49)}, "other windows, or none in the files"),
        ({"series": {}}, "other windows, or none in the files"),
    ],
    ids=["text", "tokens", "none"],
)
def test_perplexity_of_other_text_is_not_compared(make: Any, compared: Any, changes: Any, obstacle: str) -> None:
    nats = (300.0, 310.0, 140.0)
    comparison = compared([make.perplexity(nats)], [make.perplexity(nats, **changes)], anyway=True)
    assert of_precision(comparison).obstacle == obstacle


def test_one_window_tells_nothing(make: Any, compared: Any) -> None:
    old, new = (make.perplexity([nats], [100]) for nats in (300.0, 400.0))
    assert of_precision(compared([old], [new])).obstacle == "a single window"
