"""Perplexity and conversations of whole models: closed forms, padding, and the answer in the next turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.core.errors import InputError, Unsupported
from bench.experiments.language import quality, torch_route
from bench.measure.quality import Window

Make = Callable[..., Any]
WINDOWS = {"context": 32, "stride": 16, "text_tokens": 100}


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary(make_folder: Make, make_case: Make, space: Make) -> None:
    folder = make_folder(uniform=True)
    found = quality.run_perplexity(make_case("perplexity", folder, options=WINDOWS), space(folder))
    assert found.quality is not None
    assert found.quality.value == pytest.approx(259, rel=1e-5)
    assert found.quality.samples == 99
    assert found.figures["vocabulary"].value == 259
    assert sum(found.series["window_tokens"]) == 99


def test_neither_batch_nor_padding_changes_perplexity(make_folder: Make, make_case: Make, space: Make) -> None:
    folder = make_folder()
    values = []
    for batch_size in (1, 4, 7):  # the last window is shorter than the others
        case = make_case("perplexity", folder, batch_size=batch_size, options=WINDOWS)
        found = quality.run_perplexity(case, space(folder))
        assert found.quality is not None
        values.append(found.quality.value)
    assert values == pytest.approx([values[0]] * 3, rel=1e-5)
    assert values[0] != pytest.approx(259, rel=0.01)


def test_padding_is_not_seen(make_folder: Make) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(make_folder())
    ids = list(range(3, 43))
    short, long = Window(begin=0, end=9, scored=8), Window(begin=0, end=40, scored=39)
    with torch.inference_mode():
        [alone] = torch_route.score(model, ids, [short], torch.device("cpu"))
        [padded, _] = torch_route.score(model, ids, [short, long], torch.device("cpu"))
    assert padded.nats == pytest.approx(alone.nats, rel=1e-4)


def test_perplexity_agrees_with_the_models_own_loss(make_folder: Make, make_case: Make, space: Make) -> None:
    folder = make_folder()
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    ids = list(range(3, 43))
    with torch.inference_mode():
        whole = torch.tensor([ids])
        [scored] = torch_route.score(model, ids, [Window(begin=0, end=40, scored=39)], torch.device("cpu"))
        assert sum(scored.nats) / 39 == pytest.approx(float(model(whole, labels=whole).loss), rel=1e-5)


def test_what_begins_a_text_stands_before_each_window_unscored(make_folder: Make) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(make_folder())
    ids = list(range(3, 43))
    window = Window(begin=4, end=20, scored=15)
    with torch.inference_mode():
        [begun] = torch_route.score(model, ids, [window], torch.device("cpu"), [1])
        moved = Window(begin=0, end=17, scored=15)
        [expected] = torch_route.score(model, [1, *ids[4:20]], [moved], torch.device("cpu"))
        [without] = torch_route.score(model, ids, [window], torch.device("cpu"))
    assert begun.nats == pytest.approx(expected.nats, rel=1e-5)
    assert begun.nats != pytest.approx(without.nats, rel=1e-5)


def test_a_text_of_one_window_is_refused(make_folder: Make, make_case: Make, space: Make) -> None:
    folder = make_folder()
    case = make_case("perplexity", folder, options={"context": 32, "stride": 16, "text_tokens": 20})
    with pytest.raises(InputError, match=r"20 tokens, .* two windows of 32; "):
        quality.run_perplexity(case, space(folder))


def test_the_first_answer_is_carried_into_the_second_turn(
    make_folder: Make, make_case: Make, space: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[list[int]] = []

    class Listens(torch_route.TokenClock):
        def put(self, value: Any) -> None:
            if value.dim() == 2:
                prompts.append(value[0].tolist())
            super().put(value)

    monkeypatch.setattr(torch_route, "TokenClock", Listens)
    folder = make_folder()
    found = quality.run_chat(make_case("chat", folder, options={"new_tokens": 6}), space(folder))
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    first, second = (tokenizer.decode(prompt) for prompt in prompts)
    assert list(found.texts) == ["system", "user 1", "assistant 1", "user 2", "assistant 2"]
    assert first.startswith(f"system: {quality.SYSTEM}\nuser: {quality.USER[0]}\n")
    assert f"assistant: {found.texts['assistant 1']}\nuser: {quality.USER[1]}" in second
    for turn in (1, 2):
        ids = [int(token) for token in found.series[f"tokens_turn_{turn}"]]
        assert len(ids) == found.figures[f"new_tokens_turn_{turn}"].value <= 6
        assert tokenizer.decode(ids, skip_special_tokens=True).strip() == found.texts[f"assistant {turn}"].strip()
    assert len(found.seconds) == 2


def test_without_a_chat_template_there_is_no_conversation(make_folder: Make, make_case: Make, space: Make) -> None:
    folder = make_folder()
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(Unsupported, match="has no chat template"):
        quality.run_chat(make_case("chat", folder, options={"new_tokens": 6}), space(folder))
