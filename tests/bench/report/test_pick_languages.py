"""What to pick of a language model: by whole answers, and by the perplexity that may be lost."""

from __future__ import annotations

from typing import Any

from bench.core.records import Cold

NATS = {"fp32": (300, 310, 140), "int8": (300.1, 309.9, 140.0), "nf4": (320, 331, 150)}
SIZES = {"fp32": 500, "int8": 150, "nf4": 100}


def section(summary: str) -> str:
    return summary.split("## What to pick")[1].split("\n## ")[0].split("**Read with care**")[0]


def picks(summary: str) -> list[str]:
    return [line[2:] for line in section(summary).splitlines() if line.startswith("- ")]


def model(make: Any, between: dict[str, float], first: dict[str, float] | None = None, **changes: Any) -> list[Any]:
    """Perplexity, decoding of 64 tokens at so many ms each and, if given, first tokens in ms, by precision."""
    rows = [make.perplexity(NATS[name], **_facts(name)) for name in between]
    rows += [make.decode(ms, **{**_facts(name), **changes}) for name, ms in between.items()]
    return rows + [make.prefill(ms, **_facts(name)) for name, ms in (first or {}).items()]


def _facts(name: str) -> dict[str, Any]:
    return {"precision": name, "weight_bytes": SIZES[name] * 1_000_000}


def test_a_slow_first_token_costs_the_whole_answer(make: Any, summary_of: Any) -> None:
    """63 further tokens: 100 + 63 * 40 = 2620 ms of fp32, 9000 + 63 * 20 = 10260 of the one that decodes faster."""
    summary = summary_of(*model(make, {"fp32": 40.0, "int8": 20.0}, {"fp32": 100.0, "int8": 9000.0}))
    line, smaller = picks(summary)
    assert line == (
        "**fp32's perplexity:** fastest is fp32 eager (2.62 s an answer, 25.0 tokens/s, first token 100 ms, 500 MB)."
    )
    assert smaller.startswith(
        "**For fewer bytes, with no gain in speed that shows:** int8 eager (10.3 s an answer, 50.0 tokens/s, first "
        "token 9,000 ms, 0.255 × as fast as fp32 eager, 150 MB, 30.0 % of fp32's, perplexity 0."
    )


def test_without_first_tokens_decoding_ranks_and_says_so(make: Any, summary_of: Any) -> None:
    summary = summary_of(*model(make, {"fp32": 90.0, "int8": 20.0, "nf4": 100.0}))
    line, smaller = picks(summary)
    assert "by decoding alone: no first token was measured**" in section(summary)
    assert line.startswith("**Perplexity 0.")
    assert " % (at most 1 % more):** fastest is int8 eager (20.0 ms a token, 50.0 tokens/s, 4.50 × " in line
    assert "nf4 eager (100 ms a token" in smaller
    assert "perplexity +22." in smaller


def test_more_perplexity_is_given_up_for_speed_that_shows_only(make: Any, summary_of: Any) -> None:
    firsts = {"fp32": 10.0, "int8": 10.0, "nf4": 10.0}
    level = picks(summary_of(*model(make, {"fp32": 90.0, "int8": 20.0, "nf4": 15.0}, firsts)))
    assert not any("at most 50 % more" in line for line in level)
    assert level[1].startswith("**For fewer bytes, with no gain in speed that shows:** nf4 eager")
    faster = picks(summary_of(*model(make, {"fp32": 90.0, "int8": 20.0, "nf4": 4.0}, firsts)))
    assert faster[1].startswith("**Perplexity +22.")
    assert " % (at most 50 % more):** fastest is nf4 eager (0.262 s an answer" in faster[1]
    assert len(faster) == 2


def test_compiled_rows_take_the_eager_first_token_and_tell_what_compiling_takes(make: Any, summary_of: Any) -> None:
    compiled = [
        make.decode(ms, mode="compiled", cold=Cold(compile=41.7), **_facts(name))
        for name, ms in (("fp32", 30.0), ("int8", 10.0))
    ]
    rows = model(make, {"fp32": 90.0, "int8": 45.0}, {"fp32": 110.0, "int8": 300.0})
    line = picks(summary_of(*rows, *compiled))[0]
    assert "fastest is int8 compiled (0.930 s an answer, 100 tokens/s, first token 300 ms, " in line
    assert "2.15 × as fast as fp32 compiled (6.22 × as fp32 eager), compiled in 41.7 s, 150 MB" in line


def test_what_cannot_be_ranked_is_named(make: Any, summary_of: Any) -> None:
    rows = model(make, {"fp32": 40.0, "int8": 20.0, "nf4": 20.0}, {"fp32": 100.0})
    few = make.prefill(seconds=[0.1] * 5, **_facts("int8"))
    told = section(summary_of(*rows, few))
    assert (
        "Not considered, fewer than six samples: int8 eager (1.36 s an answer, 150 MB); "
        "no first token was measured: nf4 eager." in told
    )
    assert "int8 eager (1.36" not in picks(summary_of(*rows, few))[0]


def test_what_was_not_judged_and_what_loses_too_much_is_named(make: Any, summary_of: Any) -> None:
    rows = model(make, {"fp32": 40.0, "int8": 20.0})
    rows += [make.decode(5.0, precision="fp4"), make.decode(5.0, precision="int2")]
    rows += [make.perplexity((600, 620, 280), precision="int2")]
    told = section(summary_of(*rows))
    assert "perplexity was not judged: fp4 eager; not surely below 100 % more perplexity: int2 eager." in told


def test_marks_of_both_measurements_stand_in_the_pick(make: Any, summary_of: Any) -> None:
    rows = model(make, {"fp32": 40.0, "int8": 10.0}, {"fp32": 100.0})
    late = make.prefill(100.0, figures={"criterion_met": 0}, **_facts("int8"))
    summary = summary_of(*rows, late)
    assert "; *prefill: criterion not met*)" in picks(summary)[0]
    assert "1 of 2 bear a mark: smollm2-135m int8 eager prefill at batch 1." in summary
