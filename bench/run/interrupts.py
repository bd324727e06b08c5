"""Ctrl-C that waits for what has to be whole: a line of the journal and all that is told of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Within the block Ctrl-C does nothing; it is made up for at its end. Elsewhere than in the main thread: nothing.

    Blocks may lie within one another: the outermost one makes up for it.
    """
    if threading.current_thread() is not threading.main_thread():  # Python gives signals to no other
        yield
        return
    waiting: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: waiting.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if waiting and callable(before):
        before(*waiting[-1])
