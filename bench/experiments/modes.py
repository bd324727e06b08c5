"""Modes of a network: eager, or compiled by ``torch.compile`` into a cache folder of its own."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.core.errors import Unsupported
from bench.core.records import Case
from bench.core.workspace import Workspace


def prepare_mode(network: nn.Module, case: Case, workspace: Workspace, *, may_freeze: bool) -> nn.Module:
    """``network`` in the mode of ``case``. A compiled one is compiled at its first call, for one input shape.

    Repeat 0 compiles into an empty cache folder, so that its cold figures are cold; later repeats reuse that folder.
    On a CPU, weights are frozen if they may be: without that, Inductor neither lays them out for oneDNN beforehand nor
    finds the int8 kernels. Every precision that allows freezing has it, so that rows differ in precision alone.

    Raises:
        Unsupported: nothing can be compiled here.
    """
    if case.mode == "eager":
        return network
    prepare_compiler(case, workspace, may_freeze=may_freeze)
    return compiled(network)


def prepare_compiler(case: Case, workspace: Workspace, *, may_freeze: bool) -> None:
    """Point the compiler at the cache folder of ``case``, empty for repeat 0.

    Raises:
        Unsupported: nothing can be compiled here.
    """
    reason = why_not_compiled(case.device)
    if reason:
        raise Unsupported(reason)
    cache = workspace.results / "compiled" / case.row
    if case.repeat == 0 or not cache.is_dir():
        _empty_cache(cache, cache.parent / "instructions")
    _use_cache(cache)
    torch._inductor.config.freezing = may_freeze and case.device == "cpu"


def compiled(network: nn.Module) -> nn.Module:
    """``network`` under ``torch.compile``, each input shape compiled for itself."""
    torch._dynamo.reset()
    return torch.compile(network, dynamic=False)  # type: ignore[return-value]  # a Module where a Module is given


def why_not_compiled(device: str) -> str | None:
    """Reason why ``torch.compile`` cannot build kernels for ``device`` here; None if it can."""
    import torch._inductor.compile_fx  # noqa: F401  (seconds of import, which are not part of compiling a network)
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler
    from torch.utils._triton import has_triton

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return "mode compiled needs a C++ compiler (g++ or clang++), and none was found"
    if device != "cpu" and not has_triton():
        return "mode compiled needs Triton and a GPU of compute capability 7.0 or later on CUDA"
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").is_file():
        return f"mode compiled needs the headers of Python {sysconfig.get_python_version()}, and Python.h was not found"
    return None


def _empty_cache(cache: Path, probed: Path) -> None:
    """Empty ``cache`` except for the compiler's vector instructions, which torch looks up there.

    torch finds them by compiling a test program for each kind. That takes seconds and is no part of compiling a
    network, so that it is done once, into ``probed``.
    """
    from torch._inductor.cpu_vec_isa import pick_vec_isa

    if not probed.is_dir():
        partial = probed.with_name(f"{probed.name}.{os.getpid()}.partial")
        _use_cache(partial)
        partial.mkdir(parents=True, exist_ok=True)
        pick_vec_isa()
        os.replace(partial, probed)
    shutil.rmtree(cache, ignore_errors=True)
    shutil.copytree(probed, cache)


def _use_cache(cache: Path) -> None:
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache)
    os.environ["TRITON_CACHE_DIR"] = str(cache / "triton")


def graph_breaks() -> int:
    """Number of graph breaks so far in this process. Each splits the network into separate graphs."""
    counters: Any = torch._dynamo.utils.counters
    return sum(counters["graph_break"].values())
