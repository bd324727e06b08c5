"""Generation of a fixed number of tokens with the time of each, and prefill, the time to the first one."""

from __future__ import annotations

import inspect
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import AutoTokenizer, CompileConfig, StaticCache
from transformers.generation.streamers import BaseStreamer

import models
from bench.core.datasets import Text, load_text
from bench.core.errors import InputError, Unsupported
from bench.core.precisions import COMPILED_MODES
from bench.core.records import Case, Figure, Measurement
from bench.core.runtimes import REASON_KEY
from bench.core.workspace import Workspace
from bench.experiments.language.routes import reason_in, route_of
from bench.experiments.language.subject import Subject, folder_of, measured, unwatched
from bench.experiments.modes import compiler_mode, prepare_compiler
from bench.experiments.timing import peaks_of, samples_of
from bench.measure.clock import CUDA_WARM_UP_SECONDS, now
from bench.measure.state import Watch
from bench.measure.trace import traced
from bench.runtimes.language_route import Generation

TOKEN_CHARACTERS = 8
"""Number of characters, above that of a token in usual prose."""


class TokenClock(BaseStreamer):
    """Clock of new tokens. ``generate`` passes it the prompt first, then one token per sequence."""

    def __init__(self, device: torch.device, at_first: Callable[[], None] | None = None) -> None:
        self.times: list[float] = []
        self.steps: list[list[int]] = []
        self._device = device
        self._at_first = at_first
        self._prompt_seen = False

    def put(self, value: Tensor) -> None:
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        self.times.append(now(self._device))
        if self._at_first is not None and len(self.times) == 1:
            self._at_first()
        self.steps.append(value.reshape(-1).tolist())

    def end(self) -> None:
        """Do nothing: no token is held back."""


def generate(
    model: Any,
    prompts: Tensor,
    new_tokens: int,
    arguments: Mapping[str, Any],
    at_first: Callable[[], None] | None = None,
) -> Generation:
    """Generate exactly ``new_tokens`` for each of ``prompts``, greedily, so that an early end does not look fast.

    Args:
        prompts: ids, shape (sequences, tokens), without padding.
        arguments: further arguments of ``generate``, for its cache and compilation.
        at_first: called as soon as the first new token is there, within the time of the next one.

    Raises:
        RuntimeError: a sequence has fewer.
    """
    clock = TokenClock(prompts.device, at_first)
    ends = end_tokens(model)
    if "past_key_values" in arguments:
        arguments["past_key_values"].reset()
    begin = now(prompts.device)
    output = model.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        streamer=clock,
        do_sample=False,
        num_beams=1,
        use_cache=True,
        return_dict_in_generate=True,
        min_new_tokens=new_tokens,
        max_new_tokens=new_tokens,
        pad_token_id=next(iter(ends), 0),
        **arguments,
    )
    counts = new_token_counts(output.sequences, prompts.shape[1], ends)
    if set(counts) != {new_tokens}:
        raise RuntimeError(f"{new_tokens} new tokens per sequence were requested, and {sorted(counts)} came")
    times = clock.times
    return Generation(
        first_token=times[0] - begin,
        gaps=tuple(later - earlier for earlier, later in itertools.pairwise(times)),
        cache=_kind_of(getattr(output, "past_key_values", None)),
    )


def _kind_of(cache: Any) -> str:
    kinds = {"NoneType": "none", "DynamicCache": "dynamic", "StaticCache": "static"}
    return kinds.get(type(cache).__name__, type(cache).__name__)


def need_key_value_cache(model: Any, name: str) -> None:
    """See that a decode step reads keys and values of the tokens before it, which its least bytes are counted by.

    Raises:
        Unsupported: the model keeps another state.
    """
    if "past_key_values" not in inspect.signature(model.forward).parameters:
        raise Unsupported(
            f"{name} is of architecture {model.config.model_type}, which keeps no keys and values of earlier tokens: "
            "its decoding is not measured"
        )


def warm_up(step: Callable[[], object], device: torch.device) -> None:
    """Run ``step`` until a GPU has raised its clocks. On a CPU the first generation has warmed up every kernel."""
    begin = time.perf_counter()
    while device.type == "cuda" and time.perf_counter() - begin < CUDA_WARM_UP_SECONDS:
        step()


def new_token_counts(sequences: Tensor, prompt_tokens: int, ends: Sequence[int]) -> list[int]:
    """Number of new tokens of each sequence: after the prompt, up to its first end token, without padding."""
    counts = []
    for row in sequences[:, prompt_tokens:].tolist():
        stops = [place for place, token in enumerate(row) if token in ends]
        counts.append(stops[0] if stops else len(row))
    return counts


def end_tokens(model: Any) -> tuple[int, ...]:
    """Ids that end an answer."""
    end_ids = model.generation_config.eos_token_id
    if end_ids is None:
        return ()
    return tuple(end_ids) if isinstance(end_ids, list | tuple) else (int(end_ids),)


def cache_arguments(subject: Subject, case: Case, workspace: Workspace) -> dict[str, Any]:
    """Arguments of ``generate``: the usual cache, which grows; or, compiled, a static cache.

    With a static cache, transformers compiles decode steps (prefill stays eager), its fastest way. All generations
    share one: a new one has new addresses, for which CUDA graphs would be recorded again. Nothing is frozen, since
    freezing would fold the places of the cache into constants.

    Raises:
        Unsupported: nothing can be compiled here, or not with this quantisation.
    """
    if case.mode == "eager":
        return {}
    quantizer = getattr(subject.model, "hf_quantizer", None)
    if quantizer is not None and not quantizer.is_compileable:
        raise Unsupported(f"transformers compiles no decoding of models quantised by {subject.precision.library}")
    prepare_compiler(case, workspace, may_freeze=False)
    config = CompileConfig(mode=compiler_mode(case.mode))
    on_cpu = subject.device.type == "cpu"
    config._compile_all_devices = on_cpu  # type: ignore[assignment]  # without it a CPU silently stays eager
    room = sum(int(case.option(name) or 0) for name in ("prompt_tokens", "new_tokens"))
    return {"past_key_values": StaticCache(config=subject.model.config, max_cache_len=room), "compile_config": config}


def check_compiled(subject: Subject, case: Case) -> None:
    """Check, after the first generation, that it was compiled: transformers silently falls back to eager.

    Raises:
        Unsupported: it was not.
    """
    if case.mode in COMPILED_MODES and getattr(subject.model, "_compiled_call", None) is None:
        raise Unsupported("transformers did not compile the decoding of this model, and gives no reason")


class Configured(Protocol):
    """Object with transformers' configuration of a language model."""

    @property
    def config(self) -> Any:
        """Configuration of the language model itself."""


def prompts_of(case: Case, workspace: Workspace, subject: Configured) -> Tensor:
    """Ids (batch_size, prompt_tokens): consecutive pieces of the text, or random ones for a model of random weights.

    Raises:
        InputError: the model's context is too short for them, or the text is.
    """
    tokens, size = int(case.option("prompt_tokens") or 0), case.batch_size
    vocabulary, room = subject.config.vocab_size, getattr(subject.config, "max_position_embeddings", None)
    needed = tokens + int(case.option("new_tokens") or 1)
    if room and needed > room:
        raise InputError(
            f"{case.model} has room for {room} tokens, and the case needs {needed}; use fewer --prompt-tokens"
        )
    if models.language_model(case.model).random:
        draw = random.Random(case.seed)
        return torch.tensor([[draw.randrange(vocabulary) for _ in range(tokens)] for _ in range(size)])
    ids = text_ids(case, workspace, tokens * size)
    if len(ids) < tokens:
        raise InputError(
            f"text {case.dataset} has {len(ids)} tokens, fewer than prompts of {tokens}; use a longer text"
        )
    flat = list(_cycled(ids, tokens * size))
    return torch.tensor(flat).view(size, tokens)


def text_ids(case: Case, workspace: Workspace, most: int | None) -> list[int]:
    """First ``most`` tokens of the text, or all if None, by the model's tokenizer, without begin and end tokens."""
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder_of(workspace)), local_files_only=True)
    content = text_of(case, workspace).content
    # A long enough part first, since a whole text takes a second. Its last token may differ, because of the cut.
    for part in (content[: TOKEN_CHARACTERS * (most + 1)], content) if most else (content,):
        ids: list[int] = tokenizer(part, add_special_tokens=False)["input_ids"]
        if most is None or len(ids) > most:
            break
    return ids[:most]


def text_of(case: Case, workspace: Workspace) -> Text:
    """Text that the case was planned with.

    Raises:
        InputError: it has changed since.
    """
    text = load_text(str(case.option("text") or case.dataset), Path(workspace.data_dir))
    if text.digest != case.option("text_digest"):
        raise InputError(f"text {case.dataset} has changed since the run began; start the run again")
    return text


def _cycled(ids: Sequence[int], count: int) -> Iterator[int]:
    return (ids[place % len(ids)] for place in range(count))


def run_prefill(case: Case, workspace: Workspace) -> Measurement:
    """Time a generation of one token, as a user waits for it.

    Raises:
        TooLittleMemory: the model does not fit.
        Unsupported: it cannot be loaded at the case's precision in its runtime, or mode compiled was asked.
    """
    if case.mode in COMPILED_MODES:
        raise Unsupported("transformers compiles decode steps only: prefill runs eagerly in every mode")
    route = route_of(case, workspace)
    prompts = prompts_of(case, workspace, route).to(route.device)

    def step() -> float:
        return route.generate(prompts, 1).first_token

    with torch.no_grad():  # as `generate` itself has it, and its users with it
        generation = route.generate(prompts, 1)
        step()
        warm_up(step, route.device)
        watch = Watch(route.device)
        samples = samples_of(lambda: (step(),), case, workspace.turns, watch, route.device)
        watch.last()
        peaks = peaks_of(step, case, route.device)
        reason = reason_in(route, prompts, 1, statistics.median(samples.seconds), 1.0)
    measurement = Measurement(
        **measured(
            route,
            seconds=samples.seconds,
            items_per_step=case.batch_size,
            cold=replace(route.cold, first_step=generation.first_token),
            peaks=peaks,
            device_state=tuple(watch.states),
            flags={"cache": generation.cache or route.cache},
            texts={REASON_KEY: str(reason)},
            figures={
                "prompt_tokens": Figure(value=prompts.shape[1], unit="tokens", exact=True),
                "criterion_met": Figure(value=float(samples.criterion_met), unit="yes=1"),
            },
            absent={
                "device_seconds": "a token is timed from the call until it is on the host",
                "coverage": "see decode",
                **unwatched(watch),
            },
        )
    )
    with torch.no_grad():
        return traced(measurement, workspace, step)
