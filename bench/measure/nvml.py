"""NVML, the driver's own interface: the GPU of a device, and questions that a device may not answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def handle_of(device: torch.device) -> Any:
    """NVML's handle of a CUDA device, found by its UUID: NVML counts GPUs that CUDA does not see.

    Raises:
        pynvml.NVMLError: NVML does not know this GPU, or cannot be loaded.
    """
    import pynvml

    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")


def ask(question: Callable[[], Any]) -> Any:
    """The answer, or None where this device does not tell."""
    import pynvml

    try:
        return question()
    except pynvml.NVMLError:
        return None
