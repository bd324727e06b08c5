"""The settings of torch that shape a number: set by the worker, read back and recorded, never inherited by chance."""

from __future__ import annotations

import os
import sys
from typing import Any

import torch

from bench.core.records import Scalar

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
    "LD_PRELOAD",
)
"""Variables by which kernels, threads and allocators are chosen behind torch's back."""


def apply(*, threads: int, device: str, tf32: bool = False) -> None:
    """Set threads and number formats for this process. ``fp32`` means TF32 off, also inside cuDNN's convolutions."""
    torch.set_num_threads(threads)
    compiler: Any = sys.modules.get("torch._inductor.config")
    if compiler:
        compiler.freezing = False
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    # Fixed shapes are timed: let cuDNN choose its fastest kernel during warm-up, once.
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.deterministic = False
    index = torch.device(device).index
    if index is not None and device.startswith("cuda"):
        torch.cuda.set_device(index)


def current() -> dict[str, Scalar]:
    """The flags as torch holds them now."""
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
