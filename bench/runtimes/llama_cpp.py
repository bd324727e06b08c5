"""Language models in llama.cpp: its server inside the process, by xllamacpp, on a GGUF file."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import xllamacpp

from bench.core.records import Scalar
from bench.runtimes.gguf_files import Held, held_in, written
from bench.runtimes.language_route import Generation, LanguageOrder, Logits, StepClock, Stored
from bench.runtimes.route import faults_named

TITLE = "llama.cpp"
PUBLISHED = "gguf"
"""Precision that takes the file as it was published."""
TOP = 1000
"""Most probable tokens that are asked for first: 13 ms against 370 ms for all of 49,152."""
MOST_SCORED = 500
"""Tokens of a text: one request each, of 13 ms or 0.4 s."""
SILENT = -1
"""Below every level of the server's log."""
NOT_TOLD = "llama.cpp's server does not tell the number formats that its kernels multiply in"
INSTRUCTIONS = "its wheel on PyPI is built for AVX2: wider instructions of this processor stay unused"


def prepare(order: LanguageOrder) -> LlamaCpp:
    """Write the model of ``order`` in the number format of its precision, unless it is the published one, and load it.

    Raises:
        Unsupported: the model has no GGUF file, or llama.cpp does not take it.
    """
    name = order.precision.name
    convert_seconds = None
    with faults_named(TITLE):
        if name == PUBLISHED and order.layers is None and order.gguf is not None:
            file = order.gguf
        else:
            file, conversion = written(order, name)
            convert_seconds = conversion.seconds
        begin = time.perf_counter()
        server = xllamacpp.Server(_parameters(file, order))
        seconds = time.perf_counter() - begin
    return LlamaCpp(order, file, server, convert_seconds=convert_seconds, load_seconds=seconds)


class LlamaCpp:
    """A server of one slot, which answers one request at a time."""

    why_no_logits: str | None = (
        "llama.cpp's server gives the probabilities of one position a request, and those of all 49,152 tokens take "
        "0.4 s: only perplexity is measured, on few tokens"
    )

    most_scored: int | None = MOST_SCORED

    def __init__(
        self,
        order: LanguageOrder,
        file: Path,
        server: Any,
        *,
        convert_seconds: float | None,
        load_seconds: float,
    ) -> None:
        self.convert_seconds = convert_seconds
        self.load_seconds = load_seconds
        self._precision = order.precision
        self._threads = order.threads
        self._file = file
        self._server = server
        self._answered = False

    def generate(
        self, prompt: Sequence[int], new_tokens: int, at_first: Callable[[], None] | None = None
    ) -> Generation:
        clock = StepClock(at_first)
        last: dict[str, Any] = {}
        arrived = 0

        def token(chunk: dict[str, Any]) -> bool:
            nonlocal arrived
            last.update(chunk.get("timings") or {})
            if int(last.get("predicted_n", 0)) > arrived:  # the last chunk repeats the count, without a token
                arrived = int(last["predicted_n"])
                clock.token()
            return False

        self._ask(prompt, new_tokens, token, stream=True, timings_per_token=True, ignore_eos=True)
        if arrived != new_tokens or last.get("cache_n"):
            raise RuntimeError(
                f"{TITLE} gave {arrived} of {new_tokens} tokens, and {last.get('cache_n')} of the prompt were cached"
            )
        return clock.generation((), inside=float(last["predicted_ms"]) / 1000)

    def answer(self, prompt: Sequence[int], most: int, ends: Sequence[int]) -> list[int]:
        reply = self._ask(prompt, most, n_probs=1)
        return [int(entry["id"]) for entry in _content(reply)]

    def logits(self, ids: Sequence[int]) -> Logits:
        raise NotImplementedError(self.why_no_logits)

    def nats(self, ids: Sequence[int], scored: int) -> list[float]:
        return [self._nats_of(ids[:place], ids[place]) for place in range(len(ids) - scored, len(ids))]

    def stored(self) -> Stored:
        held: Held = held_in(self._file)
        return Stored(
            weight_bytes=held.weight_bytes,
            serialized_bytes=self._file.stat().st_size,
            low_parameters=held.parameters_in(self._precision.low_bits),
            low_products=0,
            compute=None,
            coverage_problem=NOT_TOLD,
            notes=(INSTRUCTIONS,),
        )

    def flags(self) -> dict[str, Scalar]:
        return {
            "runtime_threads": self._threads,
            "runtime_version": metadata.version("xllamacpp"),
            "runtime_instructions": " ".join(str(xllamacpp.get_system_info()).replace("|", " ").split()),
        }

    def close(self) -> None:
        """End the server, after one token if it answered nothing yet.

        Its end waits for its thread. A server that is ended before that thread has begun its loop waits for ever: seen
        with xllamacpp 2026.10 on one core, in one of five servers.
        """
        if not self._answered:
            self._ask([0], 1)
        del self._server

    def _nats_of(self, before: Sequence[int], token: int) -> float:
        """Nats of ``token`` after ``before``, from the most probable tokens, or from all if it is not one of them."""
        for count in (TOP, None):
            asked = count or 2**31 - 1
            reply = self._ask(before, 1, n_probs=asked, cache_prompt=True)
            for entry in _content(reply)[0]["top_logprobs"]:
                if entry["id"] == token:
                    return -float(entry["logprob"])
        raise RuntimeError(f"{TITLE} gave no probability of token {token}")

    def _ask(self, prompt: Sequence[int], most: int, callback: Any = None, **further: Any) -> Any:
        """One request of greedy tokens. Nothing of an earlier prompt is used unless ``cache_prompt`` is set."""
        request = {
            "prompt": list(prompt),
            "n_predict": most,
            "temperature": 0,
            "cache_prompt": False,
            **further,
        }
        reply = (
            self._server.handle_completions(request, callback) if callback else self._server.handle_completions(request)
        )
        self._answered = True
        if isinstance(reply, dict) and "error" in reply:
            raise RuntimeError(f"{TITLE}: {reply['error']}")
        return reply


def _content(reply: Any) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = reply["choices"][0]["logprobs"]["content"]
    return entries


def _parameters(file: Path, order: LanguageOrder) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.cpuparams.n_threads = order.threads
    parameters.cpuparams_batch.n_threads = order.threads
    parameters.n_ctx = order.room
    parameters.n_parallel = 1
    parameters.cache_ram_mib = 0
    parameters.warmup = False
    parameters.offline = True
    parameters.verbosity = SILENT
    return parameters
