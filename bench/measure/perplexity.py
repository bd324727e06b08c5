"""Perplexity by tokens, over windows of a text: no token is scored twice, each with what stands before it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.core.records import Quality


@dataclass(frozen=True, kw_only=True)
class Window:
    """Tokens ``begin`` to ``end`` of a text, of which the last ``scored`` are predicted."""

    begin: int
    end: int
    scored: int


def windows(tokens: int, context: int, stride: int) -> list[Window]:
    """Windows of up to ``context`` tokens, ``stride`` apart.

    The first token of a text has nothing before it and is not scored, nor is that of a window without overlap.

    Source: the sliding window of transformers' guide to perplexity.
    """
    found = []
    done = 1
    for begin in range(0, max(tokens - 1, 0), stride):
        end = min(begin + context, tokens)
        found.append(Window(begin=begin, end=end, scored=end - max(done, begin + 1)))
        done = end
        if end == tokens:
            break
    return found


def nats_of(logits: Tensor, ids: Tensor, length: int, scored: int) -> float:
    """Negative log-likelihood, in nats, of the last ``scored`` of the first ``length`` tokens: what follows is padding.

    Args:
        logits: shape (tokens, vocabulary); those at place i predict token i + 1.
        ids: shape (tokens,).
    """
    told = logits[length - scored - 1 : length - 1].float()
    return float(torch.nn.functional.cross_entropy(told, ids[length - scored : length], reduction="sum"))


def perplexity(nats: Sequence[float], tokens: Sequence[int]) -> Quality:
    """exp of the mean nats a token, with its standard error from the spread between windows.

    Tokens of one window are not independent: windows are the unit (ratio estimator, then the delta method).

    Raises:
        ValueError: fewer than two windows.
    """
    if len(nats) < 2:
        raise ValueError("perplexity needs two windows or more for its standard error")
    total = sum(tokens)
    mean = sum(nats) / total
    squares = sum((nat - mean * count) ** 2 for nat, count in zip(nats, tokens, strict=True))
    error = math.sqrt(len(nats) / (len(nats) - 1) * squares) / total
    value = math.exp(mean)
    return Quality(metric="perplexity", value=value, standard_error=value * error, samples=total)
