"""Quality of a language model: perplexity on a text, and the conversation of note 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import AutoTokenizer, pipeline

from bench.core.errors import InputError, Unsupported
from bench.core.records import Case, Figure, Measurement
from bench.core.workspace import Workspace
from bench.experiments.language.generation import TokenClock, end_tokens, text_ids
from bench.experiments.language.subject import check_place, folder_of, load_model, measured
from bench.measure.clock import now
from bench.measure.quality import Window, nats_of, perplexity, windows

FEWEST_WINDOWS = 2
NOT_OF_WINDOWS = {
    "peaks": "see load, prefill and decode",
    "coverage": "see decode",
    "device_seconds": "windows are timed by the wall clock",
}


def run_perplexity(case: Case, workspace: Workspace) -> Measurement:
    """Score the first ``text_tokens`` (option) of the text in windows of ``context``, ``stride`` apart.

    Raises:
        InputError: the text is too short.
        TooLittleMemory: the model does not fit.
        Unsupported: this machine or these versions cannot load it at the case's precision.
    """
    limit = case.option("text_tokens")
    ids = text_ids(case, workspace, int(limit) if limit else None)
    begin_ids = begin_of_text(workspace)
    subject = load_model(case, workspace)
    asked = int(case.option("context") or 0)
    context = min(asked, (getattr(subject.config, "max_position_embeddings", None) or asked) - len(begin_ids))
    stride = min(int(case.option("stride") or 0), context)
    places = windows(len(ids), context, stride)
    if len(places) < FEWEST_WINDOWS:
        raise InputError(
            f"text {case.dataset} has {len(ids)} tokens, fewer than two windows of {context}; name a longer text"
        )
    nats: list[float] = []
    seconds = []
    with torch.no_grad():
        for first in range(0, len(places), case.batch_size):
            batch = places[first : first + case.batch_size]
            workspace.progress(f"{case.model} {case.precision}: perplexity, window {first + 1} of {len(places)}")
            begin = now(subject.device)
            nats += score(subject.model, ids, batch, subject.device, begin_ids)
            seconds.append(now(subject.device) - begin)
    scored = [window.scored for window in places]
    return Measurement(
        **measured(
            subject,
            seconds=tuple(seconds),
            items_per_step=context * case.batch_size,
            quality=perplexity(nats, scored),
            figures={
                "context": Figure(value=context, unit="tokens", exact=True),
                "stride": Figure(value=stride, unit="tokens", exact=True),
                "vocabulary": Figure(value=subject.config.vocab_size, unit="tokens", exact=True),
            },
            series={"window_nats": tuple(nats), "window_tokens": tuple(float(count) for count in scored)},
            absent=NOT_OF_WINDOWS,
        )
    )


def begin_of_text(workspace: Workspace) -> list[int]:
    """Token that the model's tokenizer puts before any text; empty if it puts none."""
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder_of(workspace)), local_files_only=True)
    ids: list[int] = tokenizer("")["input_ids"]
    return ids if ids == [tokenizer.bos_token_id] else []


def score(
    model: Any, ids: Sequence[int], batch: Sequence[Window], device: torch.device, before: Sequence[int] = ()
) -> list[float]:
    """Nats of each window of ``batch``, run together, each after the unscored tokens ``before``.

    Shorter windows are padded at their end, which no scored token sees.
    """
    lengths = [len(before) + window.end - window.begin for window in batch]
    padded = torch.zeros(len(batch), max(lengths), dtype=torch.long)
    mask = torch.zeros_like(padded)
    for row, (window, length) in enumerate(zip(batch, lengths, strict=True)):
        padded[row, :length] = torch.tensor([*before, *ids[window.begin : window.end]])
        mask[row, :length] = 1
    padded, mask = padded.to(device), mask.to(device)
    logits = model(padded, attention_mask=mask, use_cache=False).logits
    return [
        nats_of(logits[row], padded[row], length, window.scored)
        for row, (window, length) in enumerate(zip(batch, lengths, strict=True))
    ]


NO_SYSTEM = "the chat template refuses a system turn: the conversation is held without one"
SYSTEM = "You are a sassy, wise-cracking robot as imagined by Hollywood circa 1986."
USER = (
    "Hey, can you tell me any fun things to do in New York?",
    "Wait, what's so wild about soup cans?",
)


def run_chat(case: Case, workspace: Workspace) -> Measurement:
    """Hold a conversation of two turns through transformers' pipeline, with the first answer in the second turn.

    The note samples with the model's own settings; greedy answers can be compared token by token.

    Raises:
        TooLittleMemory: the model does not fit.
        Unsupported: the tokenizer has no chat template, or the model cannot be loaded at the case's precision.
    """
    subject = load_model(case, workspace)
    # pipeline("text-generation", model=NAME, device_map="auto") would load first; here loading is timed and checked.
    # Without a device the pipeline would use the first GPU, unless accelerate spread the model over several.
    placed = {} if getattr(subject.model, "hf_device_map", None) else {"device": subject.model.device}
    talker: Any = pipeline("text-generation", model=subject.model, tokenizer=str(folder_of(workspace)), **placed)
    check_place(talker.model, subject.device)
    if not talker.tokenizer.chat_template:
        raise Unsupported("the tokenizer has no chat template, so that this model is not made for conversations")
    most = int(case.option("new_tokens") or 0)
    with_system = _takes_system(talker.tokenizer)
    messages = [{"role": "system", "content": SYSTEM}] if with_system else []
    texts = {"system": SYSTEM} if with_system else {}
    seconds, answers = [], []
    with torch.no_grad():
        for number, question in enumerate(USER, start=1):
            workspace.progress(f"{case.model} {case.precision}: turn {number}")
            messages.append({"role": "user", "content": question})
            clock = TokenClock(subject.device)
            begin = now(subject.device)
            said = talker(
                messages,
                max_new_tokens=most,
                do_sample=False,
                streamer=clock,
                pad_token_id=next(iter(end_tokens(subject.model)), 0),
            )
            seconds.append(now(subject.device) - begin)
            messages = said[0]["generated_text"]
            answers.append([step[0] for step in clock.steps])
            texts |= {f"user {number}": question, f"assistant {number}": messages[-1]["content"]}
    return Measurement(
        **measured(
            subject,
            seconds=tuple(seconds),
            texts=texts,
            flags={"cache": "dynamic"},
            figures={
                **{
                    f"new_tokens_turn_{number}": Figure(value=len(answer), unit="tokens", exact=True)
                    for number, answer in enumerate(answers, start=1)
                },
                "max_new_tokens": Figure(value=most, unit="tokens", exact=True),
            },
            series={
                f"tokens_turn_{number}": tuple(float(token) for token in answer)
                for number, answer in enumerate(answers, start=1)
            },
            absent={
                "device_seconds": "a turn is timed by the wall clock",
                "coverage": "see decode",
                "peaks": "see load, prefill and decode",
            },
            notes=(*subject.facts["notes"], *(() if with_system else (NO_SYSTEM,))),
        )
    )


def _takes_system(tokenizer: Any) -> bool:
    """Whether the chat template takes a system turn, as some raise an error of their own for."""
    tried = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": USER[0]}]
    try:
        tokenizer.apply_chat_template(tried, tokenize=False, add_generation_prompt=True)
    except TemplateError:
        return False
    return True
