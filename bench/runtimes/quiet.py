"""No telemetry: called before any runtime is imported. No torch."""

from __future__ import annotations

import os
import sys

ONNX_RUNTIME_SWITCH = "ORT_DISABLE_TELEMETRY"
"""Since 1.30 ONNX Runtime and its GenAI package send events to Microsoft from Linux as well, and keep a device's
number and a database in the home folder (onnxruntime pull request 27379). Read once, when the library is loaded."""
OPENVINO_SENDER = "openvino_telemetry"
"""Package through which OpenVINO's converter and NNCF send events to Google Analytics. Both do without it."""


def keep_quiet() -> None:
    """Switch off the telemetry of ONNX Runtime, OpenVINO and NNCF in this process.

    Raises:
        RuntimeError: one of them was imported before; what it has sent cannot be taken back.
    """
    early = [name for name in ("onnxruntime", "onnxruntime_genai", OPENVINO_SENDER) if sys.modules.get(name)]
    if early and os.environ.get(ONNX_RUNTIME_SWITCH) != "1":
        raise RuntimeError(f"{' and '.join(early)} was imported before its telemetry was switched off")
    os.environ[ONNX_RUNTIME_SWITCH] = "1"
    sys.modules[OPENVINO_SENDER] = None  # type: ignore[assignment]  # Python's way to refuse an import
