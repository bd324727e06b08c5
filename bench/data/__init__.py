"""Data sets and the pipelines that feed them. Importing this loads neither numpy nor torch."""

from __future__ import annotations

DATASETS: tuple[str, ...] = ("auto", "mnist5k", "cifar10")
"""Data sets that have a name; a folder of images or ``FILE.py:callable`` may stand in their place."""
