from __future__ import annotations

from typing import Any

import pytest

from bench.report.front import round_limit


def picks(summary: str) -> list[str]:
    section = summary.split("## What to pick")[1].split("\n## ")[0].split("**Read with care**")[0]
    return [line[2:] for line in section.splitlines() if line.startswith("- ")]


def network(make: Any, milliseconds: float, accuracy: float, megabytes: float, **changes: Any) -> Any:
    facts = {"model": "net", "weight_bytes": round(megabytes * 1e6), **changes}
    return make.inference([milliseconds / 1e3] * 30, accuracy, **facts)


def test_each_accuracy_names_the_fastest_and_the_smaller_ones(make: Any, summary_of: Any) -> None:
    rows = [
        network(make, 4.0, 0.92, 44.0),
        network(make, 1.0, 0.92, 11.0, precision="int8", mode="compiled"),
        network(make, 9.0, 0.91, 6.0, precision="nf4"),
        network(make, 0.5, 0.72, 1.0, model="little"),
    ]
    assert picks(summary_of(*rows)) == [
        "**90 % accuracy and more:** fastest is net int8 compiled (1.00 ms, 92.00 ± 0.27 %, 11.0 MB, 4.00 × as fast as "
        "fp32 eager with 25.0 % of its bytes); in under 10 MB net nf4 eager (9.00 ms, 91.00 ± 0.29 %, 6.00 MB).",
        "**70 % accuracy and more:** fastest is little fp32 eager (0.500 ms, 72.00 ± 0.45 %, 1.00 MB).",
    ]


def test_an_accuracy_counts_only_if_chance_does_not_explain_it(make: Any, summary_of: Any) -> None:
    rows = [network(make, 1.0, 0.905, 5.0, precision="int8"), network(make, 4.0, 0.95, 44.0)]
    assert picks(summary_of(*rows))[0].startswith("**90 % accuracy and more:** fastest is net fp32 eager")
    surely = [network(make, 1.0, 0.907, 5.0, precision="int8"), network(make, 4.0, 0.95, 44.0)]
    assert picks(summary_of(*surely))[0].startswith("**90 % accuracy and more:** fastest is net int8 eager")


def test_of_rows_level_in_speed_the_smallest_is_picked_and_the_others_named(make: Any, summary_of: Any) -> None:
    rows = [network(make, 1.0, 0.92, 44.0), network(make, 1.05, 0.92, 11.0, precision="int8")]
    (line,) = picks(summary_of(*rows))
    assert "fastest is net int8 eager (1.05 ms" in line
    assert line.endswith("not told apart in speed from net fp32 eager.")
    again = [network(make, 1.001, 0.92, 44.0, repeat=1), network(make, 1.051, 0.92, 11.0, precision="int8", repeat=1)]
    (line,) = picks(summary_of(*rows, *again))
    assert "fastest is net fp32 eager" in line


def test_what_bears_a_name_only_or_has_too_few_samples_is_never_picked(make: Any, summary_of: Any) -> None:
    rows = [
        network(make, 4.0, 0.92, 44.0),
        network(make, 5.0, 0.92, 44.0, mode="compiled"),
        network(make, 1.0, 0.92, 43.0, precision="int8", bits=(8, 32), shares=(0.001, 0.0)),
        make.inference([0.001] * 3, 0.92, model="net", precision="nf4", weight_bytes=5_000_000),
    ]
    (line,) = picks(summary_of(*rows))
    assert "net fp32 eager" in line
    assert "int8" not in line
    assert "nf4" not in line


def test_other_places_and_batches_are_not_alternatives(make: Any, summary_of: Any) -> None:
    rows = [network(make, 1.0, 0.92, 44.0), network(make, 9.0, 0.92, 11.0, precision="int8", batch_size=8)]
    assert picks(summary_of(*rows)) == []
    assert "no two rows with an accuracy or a decoding speed" in summary_of(*rows)


def test_language_models_are_picked_by_the_perplexity_that_may_be_lost(make: Any, summary_of: Any) -> None:
    nats = {"fp32": (300, 310, 140), "int8": (300.1, 309.9, 140.0), "nf4": (320, 331, 150)}
    ms, sizes = {"fp32": 90, "int8": 20, "nf4": 100}, {"fp32": 500, "int8": 150, "nf4": 100}
    rows = [
        row
        for name in nats
        for row in (
            make.perplexity(nats[name], precision=name, weight_bytes=sizes[name] * 1_000_000),
            make.decode(ms[name], precision=name, weight_bytes=sizes[name] * 1_000_000),
        )
    ]
    small, large = picks(summary_of(*rows))
    assert small.startswith(
        "**At most 1 % more perplexity:** fastest is int8 eager (50.0 tokens/s, 150 MB, perplexity "
    )
    assert small.endswith(" %).")
    assert large.startswith("**At most 50 % more perplexity:** fastest is int8 eager (")
    assert "; smaller, nf4 eager (10.0 tokens/s, 100 MB, perplexity +22." in large


@pytest.mark.parametrize(("size", "limit"), [(6e6, 1e7), (1e6, 2e6), (2.1e6, 5e6), (5e6, 1e7), (27_600, 50_000)])
def test_limits_are_round_and_above_the_size(size: float, limit: float) -> None:
    assert round_limit(size) == limit
