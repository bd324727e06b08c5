"""The one ``openvino.Core`` of a process, and the signal stack that OpenVINO's CPU plugin leaves behind."""

from __future__ import annotations

import ctypes
import functools

from bench.runtimes.quiet import keep_quiet

keep_quiet()

import openvino  # noqa: E402  (telemetry is switched off before)

SS_DISABLE = 2
"""Constant of ``signal.h``."""


class _Stack(ctypes.Structure):
    """``stack_t`` of Linux: the alternate stack on which a thread handles signals."""

    _fields_ = (("pointer", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@functools.cache
def core() -> openvino.Core:
    """Core of this process. It is kept to its end, and with it the plugins that it loads."""
    return openvino.Core()


def leave_signal_stack() -> None:
    """Let this thread handle signals on its usual stack.

    The CPU plugin gives the thread that loads it an alternate stack, since AMX needs a larger one (openvino pull
    request 11894), and unmaps it when it is unloaded. Where several Cores live at once, as in NNCF, the thread keeps
    one that is no longer there: the next signal with a handler, as Ctrl-C, ends the process by SIGSEGV.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "sigaltstack"):
        library.sigaltstack(ctypes.byref(_Stack(flags=SS_DISABLE)), None)
