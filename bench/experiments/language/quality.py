"""Quality of a language model: perplexity on a text, distance from the reference route, and a conversation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import AutoConfig, AutoTokenizer

from bench.core.errors import InputError
from bench.core.records import Case, Figure, Measurement
from bench.core.workspace import Workspace
from bench.experiments.language.generation import text_ids
from bench.experiments.language.reference import Comparer, Keeper, Task, is_reference, reference_logits, score_windows
from bench.experiments.language.routes import route_of
from bench.experiments.language.subject import folder_of, measured
from bench.measure.clock import now
from bench.measure.quality import first_windows, perplexity, windows

FEWEST_WINDOWS = 2
NOT_OF_WINDOWS = {
    "peaks": "see load, prefill and decode",
    "coverage": "see decode",
    "device_seconds": "windows are timed by the wall clock",
}
DIGITS = 6
"""Decimals kept of a token's nats: a file of results has thousands of them."""


def run_perplexity(case: Case, workspace: Workspace) -> Measurement:
    """Score the first ``text_tokens`` (option) of the text in windows of ``context``, ``stride`` apart.

    Each token is compared with the same one of the reference route, whose outputs are computed first where no earlier
    case left them.

    Raises:
        InputError: the text is too short.
        TooLittleMemory: the model does not fit.
        Unsupported: it cannot be loaded at the case's precision in its runtime.
        WrongConversion: its weights are not the checkpoint's, rounded.
    """
    task = _task(case, workspace)
    reference = None if is_reference(case) else reference_logits(task, workspace)
    route = route_of(case, workspace)
    if route.most_scored is not None:
        task = replace(task, places=tuple(first_windows(task.places, route.most_scored, least=FEWEST_WINDOWS)))
    observer = Keeper(task, workspace) if reference is None else Comparer(task, reference, route.why_no_logits)
    route.check_weights()  # before the first call, at which bitsandbytes packs weights anew
    nats, seconds = score_windows(route, task, workspace, observer, case.batch_size)
    compared = observer.result()
    sums, counts = [sum(window) for window in nats], [len(window) for window in nats]
    return Measurement(
        **measured(
            route,
            seconds=tuple(seconds),
            items_per_step=_context(case, route.config, task) * case.batch_size,
            quality=replace(perplexity(sums, counts), divergence=compared.divergence),
            figures={
                "context": Figure(value=_context(case, route.config, task), unit="tokens", exact=True),
                "stride": Figure(value=_stride(case, route.config, task), unit="tokens", exact=True),
                "vocabulary": Figure(value=route.config.vocab_size, unit="tokens", exact=True),
                **compared.figures,
            },
            series={
                "window_nats": tuple(sums),
                "window_tokens": tuple(float(count) for count in counts),
                "token_nats": tuple(round(each, DIGITS) for window in nats for each in window),
            },
            absent={**NOT_OF_WINDOWS, **compared.absent},
        )
    )


def _task(case: Case, workspace: Workspace) -> Task:
    """The windows of the text that ``case`` is to score.

    Raises:
        InputError: the text is too short.
    """
    limit = case.option("text_tokens")
    ids = text_ids(case, workspace, int(limit) if limit else None)
    task = Task(case=case, ids=tuple(ids), places=(), before=tuple(begin_of_text(workspace)))
    config = AutoConfig.from_pretrained(str(folder_of(workspace)), local_files_only=True).get_text_config(decoder=True)
    context = _context(case, config, task)
    places = windows(len(ids), context, _stride(case, config, task))
    if len(places) < FEWEST_WINDOWS:
        raise InputError(
            f"text {case.dataset} has {len(ids)} tokens, fewer than two windows of {context}; name a longer text"
        )
    return replace(task, places=tuple(places))


def _context(case: Case, config: Any, task: Task) -> int:
    """Tokens of a window: those that were asked for, or as many as the model has room for."""
    asked = int(case.option("context") or 0)
    return min(asked, (getattr(config, "max_position_embeddings", None) or asked) - len(task.before))


def _stride(case: Case, config: Any, task: Task) -> int:
    return min(int(case.option("stride") or 0), _context(case, config, task))


def begin_of_text(workspace: Workspace) -> list[int]:
    """Token that the model's tokenizer puts before any text; empty if it puts none."""
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder_of(workspace)), local_files_only=True)
    ids: list[int] = tokenizer("")["input_ids"]
    return ids if ids == [tokenizer.bos_token_id] else []


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
    route = route_of(case, workspace)
    most = int(case.option("new_tokens") or 0)
    with_system = _takes_system(folder_of(workspace))
    messages = [{"role": "system", "content": SYSTEM}] if with_system else []
    texts = {"system": SYSTEM} if with_system else {}
    seconds, answers = [], []
    with torch.no_grad():
        for number, question in enumerate(USER, start=1):
            workspace.progress(f"{case.model} {case.precision}: turn {number}")
            messages.append({"role": "user", "content": question})
            begin = now(route.device)
            answer = route.answer(messages, most)
            seconds.append(now(route.device) - begin)
            messages.append({"role": "assistant", "content": answer.text})
            answers.append(answer.tokens)
            texts |= {f"user {number}": question, f"assistant {number}": answer.text}
    return Measurement(
        **measured(
            route,
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
            notes=(*route.facts["notes"], *(() if with_system else (NO_SYSTEM,))),
        )
    )


def _takes_system(folder: Path) -> bool:
    """True if the chat template takes a system turn; some raise an error of their own for one."""
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    if not tokenizer.chat_template:
        return True  # the route says that there is none
    tried = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": USER[0]}]
    try:
        tokenizer.apply_chat_template(tried, tokenize=False, add_generation_prompt=True)
    except TemplateError:
        return False
    return True
