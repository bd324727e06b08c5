"""Check that each slower row of a run has a named reason: ``python tests/check_reasons.py results/run.json``.

Exit status 1 if one has none; each is printed.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.report.limits import slower, why_slower  # noqa: E402  (the checkout is found first)
from bench.report.load import load_all  # noqa: E402
from bench.report.pairing import compared  # noqa: E402

EXPERIMENTS = ("inference", "layers", "prefill", "decode")


def main(files: list[str]) -> int:
    runs, refused = load_all([Path(file) for file in files])
    rows = [one for one in compared(runs) if one.case.experiment in EXPERIMENTS and not one.is_twin and slower(one)]
    without = [one for one in rows if why_slower(one) is None]
    for one in without:
        print(f"no reason: {one.case.name}")
    print(f"{len(rows)} rows are slower, {len(without)} of them without a reason")
    for line in refused:
        print(line)
    return 1 if without or refused else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
