"""Perplexity of a language model on a text: how well it foretells each token from those before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoTokenizer

from bench.core.errors import InputError
from bench.core.records import Case, Figure, Measurement
from bench.core.workspace import Workspace
from bench.experiments.language.generation import text_ids
from bench.experiments.language.subject import folder_of, load_model, measured
from bench.measure.clock import now
from bench.measure.quality import Window, nats_of, perplexity, windows

FEWEST_WINDOWS = 2
NOT_OF_WINDOWS = {
    "peaks": "see load, prefill and decode",
    "coverage": "see decode",
    "device_seconds": "windows are timed by the wall clock",
}


def run(case: Case, workspace: Workspace) -> Measurement:
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
            f"text {case.dataset} has {len(ids)} tokens, which is less than two windows of {context}: name a longer one"
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
    """The token that this model was trained to see before any text, where its tokenizer puts one there."""
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder_of(workspace)), local_files_only=True)
    ids: list[int] = tokenizer("")["input_ids"]
    return ids if ids == [tokenizer.bos_token_id] else []


def score(
    model: Any, ids: Sequence[int], batch: Sequence[Window], device: torch.device, before: Sequence[int] = ()
) -> list[float]:
    """Nats of each window of ``batch``, run together, with the tokens ``before`` in front of each, unscored.

    Shorter ones are padded at their end, where nothing looks.
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
