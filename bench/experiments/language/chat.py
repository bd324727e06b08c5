"""The conversation of note 0 through transformers' pipeline: two turns, greedy, with the first answer carried on."""

from __future__ import annotations

from typing import Any

import torch
from transformers import pipeline

from bench.core.errors import Unsupported
from bench.core.records import Case, Figure, Measurement
from bench.core.workspace import Workspace
from bench.experiments.language.generation import TokenClock, end_tokens
from bench.experiments.language.subject import check_place, folder_of, load_model, measured
from bench.measure.clock import now

SYSTEM = "You are a sassy, wise-cracking robot as imagined by Hollywood circa 1986."
USER = (
    "Hey, can you tell me any fun things to do in New York?",
    "Wait, what's so wild about soup cans?",
)


def run(case: Case, workspace: Workspace) -> Measurement:
    """Talk. The note samples with the model's own settings; greedy answers can be compared token by token.

    Raises:
        TooLittleMemory: the model does not fit.
        Unsupported: the tokenizer has no chat template, or the model cannot be loaded at the case's precision.
    """
    subject = load_model(case, workspace)
    # What pipeline("text-generation", model=NAME, device_map="auto") does first, timed and checked as everywhere here.
    # Without a device it would go to the first GPU that there is, unless accelerate spread the model over several.
    placed = {} if getattr(subject.model, "hf_device_map", None) else {"device": subject.model.device}
    talker: Any = pipeline("text-generation", model=subject.model, tokenizer=str(folder_of(workspace)), **placed)
    check_place(talker.model, subject.device)
    if not talker.tokenizer.chat_template:
        raise Unsupported("the tokenizer has no chat template: this model was not made for conversations")
    most = int(case.option("new_tokens") or 0)
    messages = [{"role": "system", "content": SYSTEM}]
    texts = {"system": SYSTEM}
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
        )
    )
