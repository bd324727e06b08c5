"""Two calls that fit into fifteen minutes of a rented GPU: does everything run there, and the figures that matter most.

    sh tests/gpu/start.sh smoke --out OUT        # six minutes: budget smoke in seven shards side by side
    sh tests/gpu/start.sh figures --out OUT      # seven minutes: one measurement after another

On a machine without a GPU both can be tried with ``--device cpu --seconds 120 --quickly``. Each shard has a data
folder, a results folder and a time limit of its own. What comes back is at most eight files: one ``NAME.json`` a shard,
and ``rest.tar.gz`` with the journals, the logs and what each pytest printed. Afterwards, where the files were brought
to: ``HALFBYTE_CUDA_RESULTS=OUT pytest tests/bench/test_cuda.py`` for the first call, ``python -m bench.report render
OUT/*.json`` for the second.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMALL_MODEL = ROOT / ".gpu" / "llama-4-layers"
"""Language model that travels, where the package of the suite's own is too large to; see ``tests.gpu.travel``."""
MOST_FILES = 8
"""Files that come back from a call."""
ARCHIVE = "rest.tar.gz"
RUN = "run"
"""Folder of a shard's results. Another name than ``results``: no report is written there, which takes seconds."""
GRACE_SECONDS = 8.0
"""Time for pytest to write its JSON after Ctrl-C."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A pytest run of a part of the cases."""

    name: str
    cases: tuple[str, ...]
    """Case modules, without ``bench/test_`` and ``.py``."""
    keyword: str | None = None
    """pytest's ``-k``."""
    options: tuple[str, ...] = ()
    seconds: float = 290.0
    """Time after which it is interrupted, so that it still writes its JSON."""
    language: bool = False
    """True if it runs a language model of budget smoke, in whose place the one that travels is taken."""


TRAINING = ("training", "training_step", "loading", "ladder", "ablations", "transfer", "speedrun", "scaling")
SMOKE_SHARDS = (
    Shard(name="cnn_small", cases=("inference",), keyword="cnn_small"),
    # The weights of efficientnet_lite0 are in a package that is too large to travel.
    Shard(name="networks", cases=("inference", "ceilings"), keyword="not cnn_small and not efficientnet_lite0"),
    Shard(name="layers", cases=("layers",)),
    Shard(name="load", cases=("language",), keyword="load or prefill", language=True),
    Shard(name="decode", cases=("language",), keyword="decode", language=True),
    Shard(name="answers", cases=("language",), keyword="perplexity or chat", language=True),
    Shard(name="training", cases=TRAINING),
)
"""Budget smoke, cut so that no part takes much longer than the others. Its figures mean nothing, its failures do."""
SMOKE_OPTIONS = ("--budget", "smoke", "--dataset", "mnist5k", "--track", "none", "--repeats", "1")
"""One set: what is interrupted in a set is lost as a whole."""

FIGURES = (
    Shard(name="ceilings", cases=("ceilings",), options=("--budget", "gpu"), seconds=45),
    Shard(
        name="resnet18",
        cases=("inference",),
        # Ten seconds a row, five of them for energy, and ten to thirty more to compile: eight rows fit.
        keyword="not twin and not ((compiled or reduce-overhead) and not bf16) and not (b1] and (tf32 or compiled))",
        options=(
            *("--budget", "gpu", "--models", "resnet18_cifar"),
            *("--precisions", "fp32,tf32,bf16", "--modes", "eager,compiled,reduce-overhead"),
            *("--batch-sizes", "1024,1", "--repeats", "1", "--train-images", "6400", "--test-images", "1000"),
        ),
        seconds=140,
    ),
    Shard(
        name="llama8b",
        cases=("language",),
        # transformers compiles no model that bitsandbytes quantised.
        keyword="decode and not (reduce-overhead and (int8_bnb or nf4_bf16)) and not (eager and int4_linear)",
        options=(
            *("--budget", "gpu", "--llm", "llama3-8b-shape", "--repeats", "1"),
            *("--precisions", "bf16,int8_bnb,nf4_bf16,int4_linear", "--modes", "eager,reduce-overhead"),
        ),
        seconds=190,
    ),
    Shard(
        name="speedrun",
        cases=("speedrun",),
        options=(
            *("--budget", "full", "--models", "resnet18_cifar", "--seeds", "0", "--train-images", "150000"),
            *("--dataset", f"{Path(__file__).parent / 'synthetic.py'}:images"),
        ),
        seconds=50,
    ),
)
"""Measurements with nothing beside them, in the order of what they tell. The speedrun is three epochs of noise: its
seconds count, not its accuracy."""
FIGURES_OPTIONS = ("--track", "none")
QUICKLY = {
    "resnet18": ("--models", "cnn_small", "--precisions", "fp32,bf16", "--modes", "eager", "--batch-sizes", "2"),
    "llama8b": ("--llm", "smollm2-2-layers", "--precisions", "fp32,bf16", "--modes", "eager"),
}
"""Options in place of a shard's own, to try the second call on a machine without a GPU; budget smoke goes with them."""


def command(shard: Shard, work: Path, options: Sequence[str]) -> list[str]:
    """Command line of a shard whose files go to ``work``."""
    modules = [f"bench/test_{name}.py" for name in shard.cases]
    chosen = ["-k", shard.keyword] if shard.keyword else []
    files = ["--data-dir", str(work / "data"), "--benchmark-json", str(work / RUN / "run.json")]
    return [sys.executable, "-m", "pytest", *modules, "-p", "no:cacheprovider", *chosen, *options, *files]


def begin(shard: Shard, out: Path, options: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a shard; what it prints goes to ``printed.txt`` in its folder."""
    work = out / "work" / shard.name
    work.mkdir(parents=True)
    with (work / "printed.txt").open("wb") as printed:
        return subprocess.Popen(
            command(shard, work, options), cwd=ROOT, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True
        )


def wait_for(process: subprocess.Popen[bytes], deadline: float) -> str:
    """Exit status of a shard in words; past ``deadline`` it is interrupted, then killed."""
    try:
        return f"exit status {process.wait(max(0.0, deadline - time.monotonic()))}"
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        return f"interrupted, exit status {process.wait(GRACE_SECONDS)}"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return "killed"


def keep(shard: Shard, out: Path, status: str) -> str:
    """Copy the JSON of a shard out, made from its journal where pytest wrote none. Returns a line about it."""
    results = out / "work" / shard.name / RUN
    if not (results / "run.json").is_file() and (results / "journal.jsonl").is_file():
        rebuild = ["-m", "bench.run.rebuild", str(results / "journal.jsonl"), "--out", str(results / "run.json")]
        subprocess.run([sys.executable, *rebuild], cwd=ROOT, check=False)
    if not (results / "run.json").is_file():
        return f"{shard.name}: {status}, no JSON"
    shutil.copy(results / "run.json", out / f"{shard.name}.json")
    return f"{shard.name}: {status}"


def pack(out: Path) -> None:
    """Put journals, logs and what was printed into one archive, and remove the work folder."""
    work = out / "work"
    kept = [*work.glob("*/printed.txt"), *work.glob(f"*/{RUN}/journal.jsonl"), *work.glob(f"*/{RUN}/logs/*")]
    with tarfile.open(out / ARCHIVE, "w:gz") as archive:
        for file in sorted(kept):
            archive.add(file, arcname=file.relative_to(work))
    shutil.rmtree(work)


def smoke(out: Path, device: str, seconds: float | None, *, at_once: int) -> list[str]:
    """Run the shards of budget smoke, ``at_once`` side by side. Returns a line about each."""
    lines: list[str] = []
    waiting = list(SMOKE_SHARDS)
    while waiting:
        group, waiting = waiting[:at_once], waiting[at_once:]
        running = []
        for shard in group:
            model = ("--llm", str(SMALL_MODEL)) if shard.language and SMALL_MODEL.is_dir() else ()
            options = (*SMOKE_OPTIONS, "--threads", str(threads(at_once)), "--device", device, *model)
            deadline = time.monotonic() + (seconds or shard.seconds)
            running.append((shard, begin(shard, out, options), deadline))
        lines += [keep(shard, out, wait_for(process, deadline)) for shard, process, deadline in running]
    return lines


def figures(out: Path, device: str, seconds: float | None, *, quickly: bool) -> list[str]:
    """Measure one shard after another. Returns a line about each."""
    lines = []
    for shard in FIGURES:
        own = ("--budget", "smoke", *QUICKLY.get(shard.name, ())) if quickly else shard.options
        process = begin(shard, out, (*own, *FIGURES_OPTIONS, "--device", device))
        lines.append(keep(shard, out, wait_for(process, time.monotonic() + (seconds or shard.seconds))))
    return lines


def threads(at_once: int) -> int:
    """Cores of each of ``at_once`` shards."""
    return max(1, len(os.sched_getaffinity(0)) // at_once)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("call", choices=("smoke", "figures"))
    parser.add_argument("--out", type=Path, required=True, help="empty folder for what comes back")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, help="time limit of each shard, in place of its own")
    parser.add_argument("--at-once", type=int, default=len(SMOKE_SHARDS), help="shards of smoke side by side")
    parser.add_argument("--quickly", action="store_true", help="figures: budget smoke and small models, for a trial")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    if any(given.out.iterdir()):
        parser.error(f"--out {given.out} is not empty: name an empty folder")
    if given.call == "smoke":
        lines = smoke(given.out, given.device, given.seconds, at_once=given.at_once)
    else:
        lines = figures(given.out, given.device, given.seconds, quickly=given.quickly)
    pack(given.out)
    print(*lines, sep="\n")
    return 0 if all("no JSON" not in line for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
