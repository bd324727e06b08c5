from __future__ import annotations

from typing import Any

import pytest

from bench.core.records import Cold
from bench.report.frame import rows_of, tidy
from bench.report.language_lines import EXPERIMENTS, LanguageGroup, bandwidth_limit, language_groups, over


def groups_of(*runs: Any) -> tuple[LanguageGroup, ...]:
    frame = tidy(runs)
    return language_groups([row for name in EXPERIMENTS for row in rows_of(frame, name)])


def test_five_experiments_make_one_line(make: Any, run_of: Any) -> None:
    five = [make.load_of(), make.prefill(), make.decode(), make.perplexity([300, 310, 140]), make.chat()]
    (group,) = groups_of(run_of(*five))
    (line,) = group.lines
    assert [row["experiment"] for row in line.rows] == list(EXPERIMENTS)
    assert group.text == ("python-topics", "0123456789abcdef")
    assert line.load_seconds == 1.5


def test_baselines_come_first_and_each_mode_has_its_line(make: Any, run_of: Any) -> None:
    rows = [make.decode(precision=name, mode=mode) for name in ("bf16", "fp32") for mode in ("compiled", "eager")]
    (group,) = groups_of(run_of(make.chat(), *rows))
    assert [line.name for line in group.lines] == ["fp32 eager", "fp32 compiled", "bf16 eager", "bf16 compiled"]
    assert [line.one("chat") is not None for line in group.lines] == [True, False, False, False]


@pytest.mark.parametrize("change", [{"budget": "full"}, {"seed": 1}, {"threads": 1}, {"model": "other"}])
def test_what_may_not_be_compared_is_another_group(make: Any, run_of: Any, change: dict[str, Any]) -> None:
    assert len(groups_of(run_of(make.decode(), make.decode(precision="nf4", **change)))) == 2


def test_texts_are_groups_that_share_load_and_chat(make: Any, run_of: Any) -> None:
    other = {"options": {"text_digest": "another"}}
    rows = [make.load_of(), make.chat(), make.decode(), make.decode(precision="nf4", **other)]
    one, two = groups_of(run_of(*rows))
    assert {one.text, two.text} == {("python-topics", "0123456789abcdef"), ("python-topics", "another")}
    assert [len(group.of(name)) for group in (one, two) for name in ("load", "chat", "decode")] == [1] * 6


def test_rows_without_a_digest_go_with_the_text_of_their_name(make: Any, run_of: Any) -> None:
    undigested = make.prefill(options={"text_digest": None})
    (group,) = groups_of(run_of(make.decode(), undigested))
    assert len(group.of("prefill")) == 1
    (alone,) = groups_of(run_of(undigested))
    assert alone.text == ("python-topics", "")


def test_the_headline_is_the_smallest_batch_and_prompt(make: Any, run_of: Any) -> None:
    rows = [make.decode(batch_size=4), make.decode(options={"prompt_tokens": 512}), make.decode(precision="nf4")]
    (group,) = groups_of(run_of(*rows))
    assert group.settings("decode") == [(1, 128, 64), (1, 512, 64), (4, 128, 64)]
    fp32, nf4 = group.lines
    assert fp32.at("decode", group.headline("decode")) is None
    assert nf4.at("decode", group.headline("decode")) is not None
    assert group.headline("prefill") is None


def test_loading_seconds_may_come_from_another_case_of_the_line_only(make: Any, run_of: Any) -> None:
    (group,) = groups_of(run_of(make.load_of(), make.decode(mode="compiled", cold=Cold(load=2.5))))
    assert [line.load_seconds for line in group.lines] == [1.5, 2.5]
    (group,) = groups_of(run_of(make.load_of(), make.decode(mode="compiled")))
    assert [line.load_seconds for line in group.lines] == [1.5, None]


def test_fp32_eager_is_the_reference_and_only_of_the_same_options(make: Any, run_of: Any) -> None:
    nats = [300, 310, 140]
    rows = [make.perplexity(nats, precision="fp32", mode=mode) for mode in ("compiled", "eager")]
    other = make.perplexity(nats, precision="int8", options={"context": 256})
    (group,) = groups_of(run_of(*rows, make.perplexity(nats, precision="nf4"), other))
    by_precision = {row["precision"]: row for row in group.of("perplexity")}
    reference = group.reference(by_precision["nf4"])
    assert reference is not None
    assert (reference["precision"], reference["mode"]) == ("fp32", "eager")
    assert group.reference(by_precision["int8"]) is None


def test_a_caveat_is_a_note_of_every_row(make: Any, run_of: Any) -> None:
    rows = [make.decode(notes=("short: and long", "of this row")), make.chat(notes=("short: and long",))]
    (group,) = groups_of(run_of(*rows))
    assert (group.caveats, group.carried) == (("short: and long",), "; short")


def test_one_process_has_to_be_a_tenth_apart(make: Any, run_of: Any) -> None:
    def sides(*repeats: int) -> set[str]:
        rows = [make.decode(20.0, repeat=repeat) for repeat in repeats]
        rows += [make.decode(19.0, precision="nf4", repeat=repeat) for repeat in repeats]
        fp32, nf4 = rows_of(tidy([run_of(*rows)]), "decode")
        return {over(nf4, fp32)[1], over(fp32, nf4)[1]}

    assert sides(0) == {"across"}
    assert sides(0, 1) == {"above", "below"}


def test_the_limit_counts_the_tokens_of_all_sequences(make: Any, run_of: Any) -> None:
    one, four = rows_of(tidy([run_of(make.decode(40.0, 0.5), make.decode(40.0, 0.5, batch_size=4))]), "decode")
    assert (bandwidth_limit(one), bandwidth_limit(four)) == (pytest.approx(50.0), pytest.approx(200.0))
    (row,) = rows_of(tidy([run_of(make.decode(figures={"bandwidth": 0}))]), "decode")
    assert bandwidth_limit(row) is None
