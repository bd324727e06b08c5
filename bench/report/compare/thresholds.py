"""Thresholds of a change: every number that `compare` decides by, as literal tables to be edited by hand."""

from __future__ import annotations

from collections.abc import Mapping

ALPHA = 0.05
"""False alarms allowed in a whole comparison: p-values are corrected for the number of rows first."""
PROCESSES = 5
"""Fresh processes that each run needs. The smallest p of 4 against 4 is 0.029, before any correction."""

RATIO = 0.05
"""Relative change of a ratio to the reference of the same sets from which on it counts."""
BETWEEN_RUNS = 0.5
"""Standard deviation of the logarithm of a ratio between runs of one state, beyond what their sets explain, over that
between the sets of a run: phases of a machine last for a set, or for a whole run. Of seven default runs on two virtual
cores whose sets were 2 to 7 % apart, in 21 pairs, 5 % of p were below 0.05 with it, and 10 % without."""
TIMES: Mapping[str, Mapping[str, float]] = {
    "training": {"seconds per epoch": 0.05},
    "inference": {"latency": 0.07, "throughput": 0.07, "energy": 0.10},
    "layers": {"latency": 0.10},
    "load": {"load time": 0.10},
    "prefill": {"time to first token": 0.05},
    "decode": {"time between tokens": 0.10, "throughput": 0.10, "energy": 0.10},
    "perplexity": {},
    "chat": {},
}
"""Experiment -> what is timed (or metered) of it -> relative change from which on it counts. Of latencies of
inference: a pool of processes on two virtual cores had at most about 1 % of false alarms with it. The others are
choices."""
OTHER_TIMES: Mapping[str, float] = {"time": 0.10}
"""Thresholds of experiments that the table above does not name."""

PEAKS: Mapping[str, float] = {
    "rss": 0.10,
    "torch_allocated": 0.02,
    "model_resident": 0.10,
    "cuda_allocated": 0.02,
    "cuda_reserved": 0.05,
    "device_process": 0.05,
    "resident": 0.05,
}
"""Kind of peak -> relative change. ``resident`` is what stays in memory once a language model is loaded."""
PEAK_GRAIN = 1_000_000
"""Bytes that a peak of a process has to change by as well: that of a small step is off by some hundred kB. The account
of torch's allocator is the same in every process."""

ACCURACY_OF_SAME_WEIGHTS = 0.0
"""Loss of accuracy, a fraction of 1, that a significant loss has to exceed."""
ACCURACY_TRAINED_ANEW = 0.02
"""Loss that counts where each run trained weights of its own: McNemar's test ignores the spread between trainings."""
PERPLEXITY = 0.0
"""Relative rise of perplexity that a significant rise has to exceed."""
