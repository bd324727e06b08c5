"""Language models: results of five experiments as lines that may be compared."""

from __future__ import annotations

from typing import Any

import pytest

from bench.report.language import bandwidth_limit, of_language_alone, parting, speeches
from bench.report.pairing import compared


def speech_of(run: Any) -> Any:
    (speech,) = speeches(compared([run]))
    return speech


def test_a_line_holds_all_experiments_of_a_route(make: Any, run_of: Any) -> None:
    rows = [make.load_of(), make.prefill(), make.decode(), make.perplexity((300, 310, 140)), make.chat()]
    speech = speech_of(run_of(*rows, make.decode(precision="bf16")))
    assert [line.route.name for line in speech.lines] == ["PyTorch fp32 eager", "PyTorch bf16 eager"]
    assert {one.case.experiment for one in speech.lines[0].results} == {
        "load",
        "prefill",
        "decode",
        "perplexity",
        "chat",
    }
    assert speech.caveats == ("the file is 4-bit already (GGUF Q4_1): fp32 is that file expanded",)


def test_the_headline_is_the_smallest_setting(make: Any, run_of: Any) -> None:
    rows = [make.decode(batch_size=8), make.decode(), make.decode(options={"prompt_tokens": 256})]
    speech = speech_of(run_of(*rows))
    assert speech.headline == (1, 128, 64)
    assert len(speech.decoding()) == 1


def test_a_first_token_is_of_the_same_prompt_and_precision(make: Any, run_of: Any) -> None:
    rows = [make.decode(mode="compiled"), make.prefill(100.0), make.prefill(300.0, prompt=256)]
    speech = speech_of(run_of(*rows))
    (decode,) = speech.decoding()
    assert speech.beside(decode, "prefill").timing.median == pytest.approx(0.1)
    assert speech.beside(decode, "perplexity") is None


def test_texts_make_models_of_their_own(make: Any, run_of: Any) -> None:
    other = make.decode(options={"text_digest": "another"})
    found = speeches(compared([run_of(make.decode(), other, make.load_of())]))
    assert [len(speech.results) for speech in found] == [2, 2]


@pytest.mark.parametrize(
    ("first", "second", "tokens", "turn"),
    [((1, 2, 3), (4, 5), 5, None), ((1, 9, 3), (4, 5), 1, 1), ((1, 2, 3), (4, 6), 4, 2), ((1, 2), (4, 5), 2, 1)],
)
def test_answers_part_where_they_differ(
    make: Any, run_of: Any, first: tuple[int, ...], second: tuple[int, ...], tokens: int, turn: int | None
) -> None:
    reference, other = compared([run_of(make.chat(), make.chat(first, second, precision="nf4"))])
    found = parting(other, reference)
    assert found is not None
    assert (found.tokens, found.turn) == (tokens, turn)


def test_memory_limits_decoding(make: Any, run_of: Any) -> None:
    (decode,) = compared([run_of(make.decode(20.0, share=0.5))])
    assert bandwidth_limit(decode) == pytest.approx(100.0)  # 50 tokens a second are half of it


def test_images_are_not_looked_at_where_language_models_alone_ran() -> None:
    assert of_language_alone({"decode", "ceilings"})
    assert not of_language_alone({"decode", "inference"})
    assert not of_language_alone({"ceilings"})
