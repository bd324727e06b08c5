"""Ctrl-C waits for the end of what has to be whole, and is not lost."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from bench.run.interrupts import uninterrupted


@pytest.mark.usefixtures("ctrl_c")
def test_it_comes_at_the_end_of_the_outermost_block() -> None:
    before = signal.getsignal(signal.SIGINT)
    done = []

    def blocks() -> None:
        with uninterrupted():
            with uninterrupted():
                os.kill(os.getpid(), signal.SIGINT)
                done.append("inner")
            done.append("outer")

    with pytest.raises(KeyboardInterrupt):
        blocks()
    assert done == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_is_left_alone() -> None:
    before, found = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with uninterrupted():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]
