from __future__ import annotations

from typing import Any

import pytest


def sentences(summary: str) -> list[str]:
    """Of the first model, without their full stops."""
    part = summary.split("**What the rows of smollm2-135m show**")
    lines = part[1].split("\n\n")[1].splitlines() if len(part) > 1 else []
    return [line.removeprefix("- ").removesuffix(".") for line in lines]


def test_who_is_faster_and_slower_than_fp32_and_bf16(make: Any, summary_of: Any) -> None:
    rows = [make.decode(40), make.decode(18, precision="bf16"), make.decode(8, precision="nf4")]
    rows += [make.decode(90, precision="int8"), make.decode(39, precision="int4")]
    assert sentences(summary_of(*rows))[:3] == [
        "Decodes fastest: nf4 eager with 125 tokens/s, ahead of 4 of 4 other rows",
        "Decoding against fp32 eager: faster: nf4 (5.00 ×) and bf16 (2.22 ×); slower: int8 (0.44 ×); "
        "not told apart: int4",
        "Decoding against bf16 eager: faster: nf4 (2.25 ×); slower: int4 (0.46 ×) and int8 (0.20 ×)",
    ]


def test_one_process_on_a_cpu_tells_less_than_several_or_a_gpu(make: Any, summary_of: Any) -> None:
    """A ratio of 1.6, between samples that hardly spread."""

    def found(**given: Any) -> str:
        rows = [make.decode(40, **given), make.decode(25, precision="nf4", **given)]
        return next(line for line in sentences(summary_of(*rows)) if line.startswith("Decoding against fp32"))

    assert found() == "Decoding against fp32 eager: not told apart: nf4"
    margin = "from a factor of 2 on, so that even nf4 eager over fp32, 1.60 times, is not told apart"
    assert margin in summary_of(make.decode(40), make.decode(25, precision="nf4"))
    assert margin not in summary_of(make.decode(40, device="cuda"), make.decode(25, precision="nf4", device="cuda"))
    assert margin not in summary_of(make.decode(40), make.decode(38, precision="nf4"))  # less than 10 % at any rate
    assert found(device="cuda") == "Decoding against fp32 eager: faster: nf4 (1.60 ×)"
    rows = [make.decode(step, precision=name, repeat=r) for r in range(6) for step, name in ((40, "fp32"), (25, "nf4"))]
    assert "faster: nf4 (1.60 ×)" in " ".join(sentences(summary_of(*rows)))
    assert "slower from a factor" not in summary_of(*rows)


def test_what_overlaps_is_not_told_apart(make: Any, summary_of: Any) -> None:
    noisy = [0.03] * 15 + [0.05] * 15
    found = sentences(summary_of(make.decode(seconds=noisy), make.decode(32, precision="nf4")))
    assert found[0] == "Decoding against fp32 eager: not told apart: nf4"
    few = sentences(summary_of(make.decode(seconds=[0.04]), make.decode(seconds=[0.02], precision="nf4")))
    assert few[0] == "Decoding against fp32 eager: too few samples to tell: nf4"


def test_modes_and_settings_are_not_mixed(make: Any, summary_of: Any) -> None:
    rows = [make.decode(40), make.decode(10, precision="nf4", mode="compiled")]
    assert not [line for line in sentences(summary_of(*rows)) if "against" in line]
    other = [make.decode(40), make.decode(10, precision="nf4", options={"prompt_tokens": 512})]
    assert not [line for line in sentences(summary_of(*other)) if line.startswith("Decod")]
    texts = [make.decode(40), make.decode(10, precision="nf4", options={"text_digest": "another"})]
    assert "against fp32 eager" not in summary_of(*texts)


def test_hardly_converted_rows_are_not_ranked(make: Any, summary_of: Any) -> None:
    coverage = make.coverage((0.001, 0.001))
    found = sentences(summary_of(make.decode(40), make.decode(20, precision="nf4", coverage=coverage)))
    assert not [line for line in found if line.startswith("Decod")]


SLOW = "int8_bnb eager is slower than fp32: "
FAR = (
    ", so reading the stored weights is not what takes the time: expanding them, the arithmetic or the host (starting "
    "each operation) is"
)


@pytest.mark.parametrize(
    ("share", "flags", "bits", "words"),
    [
        (
            0.09,
            {"compute": "float32", "bitsandbytes_cpu_kernels": "compiled library"},
            8,
            "its 8-bit weights are multiplied in float32; bitsandbytes' kernels for this CPU: compiled library; it "
            f"reaches 9.0 % of the memory-bandwidth limit{FAR}",
        ),
        (0.2, {"compute": "int8"}, 8, "it reaches 20.0 % of the memory-bandwidth limit"),
        (0.3, {"compute": "float32"}, 32, "it reaches 30.0 % of the memory-bandwidth limit"),
    ],
)
def test_why_a_row_is_slow(
    make: Any, summary_of: Any, share: float, flags: dict[str, str], bits: int, words: str
) -> None:
    slow = make.decode(90, share, precision="int8_bnb", flags=flags, figures={"weight_bits": bits})
    assert [line for line in sentences(summary_of(make.decode(40), slow)) if "is slower" in line] == [SLOW + words]


def test_rows_that_are_slow_for_one_reason_are_told_together(make: Any, summary_of: Any) -> None:
    flags = {"compute": "float32", "bitsandbytes_cpu_kernels": "none"}
    four = {"figures": {"weight_bits": 4}}
    rows = [make.decode(40), make.decode(30, precision="bf16")]
    rows += [make.decode(99, 0.05, precision="nf4", flags=flags, **four)]
    rows += [make.decode(70, 0.03, precision="fp4", flags={**flags, "compute": "bfloat16"}, **four)]
    rows += [make.decode(90, 0.05, precision="int8", figures={"weight_bits": 8})]
    found = [line for line in sentences(summary_of(*rows)) if "slower: t" in line or "slower than" in line]
    assert found == [
        "int8 eager is slower than fp32 and bf16: its 8-bit weights are multiplied in float32; it reaches 5.0 % of the "
        f"memory-bandwidth limit{FAR}",
        "nf4 eager (than fp32 and bf16) and fp4 eager (than bf16) are slower: their 4-bit weights are multiplied in "
        "bfloat16 and float32; bitsandbytes' kernels for this CPU: none; they reach 3.0 to 5.0 % of the "
        f"memory-bandwidth limit{FAR}",
    ]


def test_the_fastest_is_ranked_by_the_tokens_a_second_that_are_quoted(make: Any, summary_of: Any) -> None:
    """nf4 has the shorter median step, bf16 the faster blocks."""
    rows = [make.decode(100), make.decode(20, precision="nf4", figures={"throughput": 44.0})]
    rows += [make.decode(21, precision="bf16", figures={"throughput": 46.0})]
    assert (
        "Decodes fastest: bf16 eager with 46.0 tokens/s, ahead of 1 of 2 other rows; not told apart from nf4 eager"
        in (sentences(summary_of(*rows)))
    )


def test_everything_that_is_level_is_named(make: Any, summary_of: Any) -> None:
    names = ("bf16", "nf4", "fp4", "int8", "int4", "nf4_double", "fp4_bf16", "nf4_bf16")
    rows = [make.decode(100), *(make.decode(20 + place, precision=name) for place, name in enumerate(names))]
    fastest = next(line for line in sentences(summary_of(*rows)) if line.startswith("Decodes fastest: bf16"))
    assert all(f"{name} eager" in fastest for name in names)
    assert "more" not in fastest


def test_the_first_token_is_held_against_fp32(make: Any, summary_of: Any) -> None:
    few = make.prefill(seconds=[1.5, 1.5, 1.5], precision="bf16")
    rows = [make.prefill(250), make.prefill(300, precision="fp4"), make.prefill(550, precision="int8"), few]
    rows += [make.prefill(100, precision="nf4"), make.prefill(10, precision="int4", mode="compiled")]
    (found,) = [line for line in sentences(summary_of(*rows)) if line.startswith("First token")]
    assert found == (
        "First token, in times of what fp32 eager takes: sooner: nf4 (0.40 ×); later: int8 (2.20 ×); not told apart: "
        "fp4 (1.20 ×); by the medians of too few samples for an interval: bf16 (6.00 ×)"
    )


def test_a_row_that_is_not_slow_is_not_explained(make: Any, summary_of: Any) -> None:
    assert "is slower" not in summary_of(make.decode(40), make.decode(20, 0.05, precision="int8_bnb"))


def test_the_smallest_weights_and_ties(make: Any, summary_of: Any) -> None:
    sizes = {"fp32": 500, "nf4": 100, "fp4": 100}
    rows = [make.decode(40, precision=name, weight_bytes=size * 1_000_000) for name, size in sizes.items()]
    assert sentences(summary_of(*rows))[-1] == "Smallest weights: fp4 and nf4 with 100 MB, 20.0 % of fp32's"


def test_what_perplexity_costs_where_it_shows(make: Any, summary_of: Any) -> None:
    rows = [
        make.perplexity((300, 310, 140)),
        make.perplexity((320, 330, 150), precision="nf4"),
        make.perplexity((305, 306, 139.5), precision="bf16"),
        make.perplexity((299, 309, 139.4), precision="int8"),
    ]
    assert sentences(summary_of(*rows))[-1] == (
        "Perplexity against fp32, paired over 3 windows: nf4 eager +22.1 % and int8 eager -1.035 ± 0.048 %; no change "
        "that shows: bf16 eager"
    )


def test_perplexities_of_other_contexts_are_not_compared(make: Any, summary_of: Any) -> None:
    other = make.perplexity((320, 330, 150), precision="nf4", options={"context": 256})
    summary = summary_of(make.perplexity((300, 310, 140)), other)
    assert "Perplexity against fp32, paired" not in summary
