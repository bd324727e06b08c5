"""Decoding: time between tokens, new tokens per second, and the least work of a step in bytes and FLOPs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.core.records import Case, Cold, Figure, Measurement
from bench.core.turns import Turns
from bench.core.workspace import Workspace
from bench.experiments.conversion import whats_converted
from bench.experiments.language.generation import (
    Generation,
    cache_arguments,
    check_compiled,
    generate,
    prompts_of,
    warm_up,
)
from bench.experiments.language.subject import Subject, load_model, measured, unwatched
from bench.experiments.timing import samples_of, why_no_energy
from bench.measure import memory
from bench.measure.energy import ENERGY_SECONDS, Reading, meter_of
from bench.measure.state import Watch
from bench.measure.trace import traced
from bench.precision.converted import tensors_as_stored
from bench.runtimes.route import Ran

BLOCKS = 6
"""Blocks of each generation: the smallest number whose median has an interval of 95 %."""
OF_ATTENTION = ("aten::bmm", "aten::baddbmm")
"""Products of activations with each other: they involve no weight and grow with the context."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Samples of generations, timed until the case's criterion is met."""

    gaps: tuple[float, ...]
    block_seconds: tuple[float, ...]
    """Seconds of blocks of consecutive steps."""
    steps_per_block: int
    criterion_met: bool


def run(case: Case, workspace: Workspace) -> Measurement:
    """Time ``generate`` token by token. Only new tokens count, and their number is forced.

    Raises:
        TooLittleMemory: the model does not fit.
        Unsupported: this machine or these versions cannot load it at the case's precision, or not compile it.
    """
    subject = load_model(case, workspace)
    prompts = prompts_of(case, workspace, subject).to(subject.device)
    arguments = cache_arguments(subject, case, workspace)
    tokens = int(case.option("new_tokens") or 0)

    def step() -> Generation:
        return generate(subject.model, prompts, tokens, arguments)

    with torch.no_grad():  # as in `generate` itself
        first = step()
        check_compiled(subject, case)
        watch = Watch(subject.device)
        warm_up(step, subject.device)
        decoded = _decode(step, case, watch, workspace.turns, subject.device)
        watch.last()
        joules, reason = _energy(subject, prompts, tokens, arguments)
        peaks = memory.steady_peaks(step, subject.device)
        ran = _converted(subject, prompts, case)
    usual = statistics.median(decoded.gaps)
    compiling = sum(max(0.0, gap - usual) for gap in first.gaps) if case.mode == "compiled" else None
    measurement = Measurement(
        **measured(
            subject,
            seconds=decoded.gaps,
            items_per_step=case.batch_size,
            cold=Cold(load=subject.load_seconds, compile=compiling, first_step=first.first_token),
            peaks=tuple(peaks),
            coverage=ran.coverage,
            device_state=tuple(watch.states),
            energy_joules_per_item=None if joules is None else joules / len(prompts),
            flags={"cache": "dynamic" if case.mode == "eager" else "static", "compute": ran.compute},
            figures={
                **_figures(case, decoded, prompts.shape[1], tokens),
                **_least_work(subject, prompts),
            },
            series={"block_seconds": decoded.block_seconds},
            absent={
                **ran.absent,
                "device_seconds": "a token is timed until it is on the host",
                **({"energy_joules_per_item": reason} if reason else {}),
                **unwatched(watch),
            },
        )
    )
    if not workspace.profile:
        return measurement
    with torch.no_grad():
        return traced(measurement, workspace, step if case.mode == "compiled" else _one_token(subject, prompts))


def _decode(
    step: Callable[[], Generation], case: Case, watch: Watch, turns: Turns | None, device: torch.device
) -> Decoded:
    """Time generations until the criterion is met. All have the same number of gaps and blocks."""
    generations: list[tuple[float, ...]] = []

    def gaps() -> tuple[float, ...]:
        generations.append(step().gaps)
        return generations[-1]

    found = samples_of(gaps, case, turns, watch, device)
    steps = max(1, len(generations[0]) // BLOCKS)
    return Decoded(
        gaps=found.seconds,
        block_seconds=tuple(block for each in generations for block in block_sums(each, steps)),
        steps_per_block=steps,
        criterion_met=found.criterion_met,
    )


def _one_token(subject: Subject, prompts: Tensor) -> Callable[[], object]:
    """Single decode step after the prompt, for a trace. A compiled step runs only inside of ``generate``."""
    kept = subject.model(prompts, use_cache=True).past_key_values
    return lambda: subject.model(prompts[:, -1:], past_key_values=kept, use_cache=True)


def block_sums(gaps: Sequence[float], steps: int) -> list[float]:
    """Seconds of whole blocks of ``steps`` gaps; the rest at the end is left out."""
    return [sum(gaps[begin : begin + steps]) for begin in range(0, len(gaps) - steps + 1, steps)]


def _figures(case: Case, decoded: Decoded, prompt_tokens: int, new_tokens: int) -> dict[str, Figure]:
    """Throughput and its facts. The first new token belongs to prefill and is in no block."""
    per_second = case.batch_size * decoded.steps_per_block / statistics.median(decoded.block_seconds)
    return {
        "throughput": Figure(value=per_second, unit="tokens/s", better="higher"),
        "prompt_tokens": Figure(value=prompt_tokens, unit="tokens", exact=True),
        "new_tokens": Figure(value=new_tokens, unit="tokens", exact=True),
        "steps_per_block": Figure(value=decoded.steps_per_block, unit="steps"),
        "criterion_met": Figure(value=float(decoded.criterion_met), unit="yes=1"),
    }


def _energy(
    subject: Subject, prompts: Tensor, tokens: int, arguments: Mapping[str, Any]
) -> tuple[float | None, str | None]:
    """Joules of a decode step, or the reason why unknown, from untimed generations without their prefill."""
    meter = meter_of(subject.device)
    if not meter.counters:
        return None, meter.why_absent
    firsts: list[Reading] = []
    total, steps, begin = 0.0, 0, time.perf_counter()
    while meter.why_absent is None and time.perf_counter() - begin < ENERGY_SECONDS[subject.device.type]:
        generate(subject.model, prompts, tokens, arguments, at_first=lambda: firsts.append(meter.read()))
        total += meter.used(firsts[-1], meter.read()) or 0.0
        steps += tokens - 1
    joules = total / steps if total and meter.why_absent is None else None
    return joules, why_no_energy(meter, joules)


def _least_work(subject: Subject, prompts: Tensor) -> dict[str, Figure]:
    """Least work of a step: bytes to read, and FLOPs of products with weights."""
    size = bytes_per_step(subject.model, subject.config, *prompts.shape)
    flops = 2 * subject.size.in_products * len(prompts)
    return {
        "bytes_per_step": Figure(value=size, unit="B", exact=True),
        "flops_per_step": Figure(value=flops, unit="FLOP", exact=True),
    }


def bytes_per_step(model: Any, config: Any, sequences: int, context: int) -> int:
    """Fewest bytes that a decode step reads: weights as stored, and keys and values of the context.

    Of an embedding that is not also the output head, only one row per sequence is read.
    """
    size = memory.bytes_of(tensors_as_stored(model))
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    if embedding.data_ptr() != head.data_ptr():
        size -= memory.bytes_of([embedding]) - sequences * embedding.shape[1] * embedding.element_size()
    heads = getattr(config, "num_key_value_heads", None) or getattr(config, "num_attention_heads", 0)
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    keys_and_values = 2 * config.num_hidden_layers * heads * width * embedding.element_size()
    return int(size + sequences * context * keys_and_values)


def _converted(subject: Subject, prompts: Tensor, case: Case) -> Ran:
    """Coverage of one eager step with one token per sequence, which has the same products with weights as decoding."""
    found = whats_converted(
        lambda: subject.model(prompts[:, :1], use_cache=False),
        subject.precision,
        subject.model,
        parameters=subject.size.parameters,
        flops=2 * subject.size.in_products * len(prompts),
        without=OF_ATTENTION,
    )
    if case.mode == "compiled":
        return Ran(coverage=found.coverage, absent={**found.absent, "compute": "traced as an eager step"})
    return found
