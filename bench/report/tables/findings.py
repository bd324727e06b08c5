"""Key results in plain sentences: computed from the rows, and only what the rows can tell apart."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.contents import Contents, is_meaningless
from bench.report.frame import IDENTITY, Row, sorted_failures
from bench.report.groups import Difference, Group, apart
from bench.report.markdown import bullets, escape, listing, megabytes, number, percent
from bench.report.statistics import Accuracy, student_factor
from bench.report.tables.inference import marks, with_error

PLANNED = 2
"""Standard errors beyond which a difference asked for beforehand counts."""
JUDGING_SEEDS = 3
"""Seeds below which a training is not held against a published figure: one seed knows nothing of the spread."""
AMONG_MANY = 3
"""Standard errors beyond which the best of many differs from another one."""
SAME_TRAINING = ("dataset", "image size [px]", "budget", "machine", "code", "device")
"""What trainings share that may be compared."""
SAME_PLACE = ("image size [px]", "batch size", "device", "machine", "code", "threads", "budget")
"""What inference rows share among which a fastest one is looked for."""
RULE = (
    f"Differences are stated only where they show: accuracies more than {PLANNED} standard errors apart ({AMONG_MANY} "
    "for the best of many), latencies whose 95 % intervals do not overlap. An interval from one process knows nothing "
    "of what differs from process to process; *processes* in the tables says how many there were."
)

Places = dict[tuple[object, ...], list[Row]]


def section(contents: Contents) -> str:
    groups = [group for group in contents.trainings if not is_meaningless(group.first)]
    rows = [row for row in contents.inferences if not is_meaningless(row)]
    lines = [*_published(groups), *_best(groups), *_faults(groups), *_fastest(rows), *_gains(rows), *_weights(rows)]
    cautions = [*_cautions(groups, rows), *_missing(contents)]
    if not groups and not rows:
        why = "the smoke budget's figures mean nothing" if len(contents.frame) else "nothing was measured"
        return f"## Key results\n\n{bullets([f'None: {why}.', *cautions])}"
    return f"## Key results\n\n{RULE}\n\n{bullets([*lines, *cautions])}"


def _published(groups: Sequence[Group]) -> list[str]:
    lines = []
    for group in groups:
        difference, published, noted = group.to_published(), group.published, group.as_noted
        if difference is None or published is None or noted is None:
            continue
        lines.append(
            f"{_name(group)} reaches {_share(noted)} on {escape(group.first['dataset'])} as note {published.note} "
            f"measured ({_seeds(noted)}), against {percent(published.accuracy)} % published: "
            f"{_verdict(difference, noted.seeds)}."
        )
    return lines


def _verdict(difference: Difference, seeds: int) -> str:
    points = f"{100 * difference.value:+.2f} ± {100 * difference.standard_error:.2f} points"
    if seeds < JUDGING_SEEDS:
        return f"{points}, which fewer than {JUDGING_SEEDS} seeds cannot judge"
    if not difference.beyond(student_factor(seeds)):
        return f"{points}, no difference that {seeds} seeds can show"
    return f"{points}, {'above' if difference.value > 0 else 'below'} it"


def _best(groups: Sequence[Group]) -> list[str]:
    """The most accurate training among those that may be compared, if it is ahead of any. Shortened ones may not be."""
    whole = [group for group in groups if not group.shortened and not group.held_out]
    judged = [(group, group.accuracy) for group in whole if group.accuracy]
    places: dict[tuple[object, ...], list[tuple[Group, Accuracy]]] = {}
    for group, accuracy in judged:
        places.setdefault(tuple(group.first[name] for name in SAME_TRAINING), []).append((group, accuracy))
    return [line for place in places.values() for line in _best_of(sorted(place, key=lambda pair: -pair[1].mean))]


def _best_of(ranked: Sequence[tuple[Group, Accuracy]]) -> list[str]:
    (best, top), others = ranked[0], ranked[1:]
    level = [_name(group) for group, accuracy in others if not apart(top, accuracy).beyond(AMONG_MANY)]
    ahead = len(others) - len(level)
    if not ahead:
        return []
    tied = f"; not to be told apart from {listing(level)}" if level else ""
    where = f"{escape(best.first['dataset'])}, each network by its own recipe"
    return [
        f"Most accurate on {where}: {_name(best)} with {_share(top)}, ahead of {ahead} of {len(others)} others{tied}."
    ]


def _faults(groups: Sequence[Group]) -> list[str]:
    """What the notes' test-time faults do to the figure, where it shows."""
    lines = []
    for group in groups:
        if not group.accuracy or not group.as_noted or group.held_out:
            continue
        difference = apart(group.accuracy, group.as_noted)
        if difference.beyond(PLANNED):
            gap = f"{100 * abs(difference.value):.2f} ± {100 * difference.standard_error:.2f} points"
            short = ", after a training much shorter than the note's" if group.shortened else ""
            lines.append(
                f"{_name(group)} is {gap} {'more' if difference.value > 0 else 'less'} accurate when it is measured "
                f"without the note's test-time faults: {_share(group.accuracy)} instead of {_share(group.as_noted)}"
                f"{short}."
            )
    return lines


def _fastest(rows: Sequence[Row]) -> list[str]:
    """For each image and batch size the network of shortest latency, if every other network is clearly slower."""
    lines = []
    for members in _by(rows, SAME_PLACE).values():
        ranked = sorted(members, key=lambda row: float(row["median [s]"]))
        best = ranked[0]
        others = [row for row in ranked if row["model"] != best["model"]]
        rival = next(iter(others), None)
        if rival is not None and all(_slower(best, row) for row in others):
            lines.append(
                f"Shortest latency at {best['image size [px]']} px, batch {best['batch size']}{_where(rows, best)}: "
                f"{_variant(best)} with {_latency(best)}; the next network is {_variant(rival)} with {_latency(rival)}."
            )
    return lines


def _gains(rows: Sequence[Row]) -> list[str]:
    """Each precision and mode against fp32 eager: in how many rows faster, slower, or not told apart."""
    paired = [row for row in rows if row["speed-up over fp32 eager [1]"] is not None]
    lines = []
    for pairs in _by(paired, ("device", "machine", "code", "threads", "budget", "precision", "mode")).values():
        members = [row for row in pairs if row["speed-up over fp32 eager from [1]"] is not None]
        faster = [row for row in members if row["speed-up over fp32 eager from [1]"] > 1]
        slower = [row for row in members if row["speed-up over fp32 eager to [1]"] < 1]
        sides = (("faster", faster), ("slower", slower))
        told = [f"{word} in {len(some)} ({_range(some)})" for word, some in sides if some]
        rest = len(members) - len(faster) - len(slower)
        if told:
            few = len(pairs) - len(members)
            told += [f"not told apart in {rest}"] if rest else []
            told += [f"too few samples to tell in {few}"] if few else []
            what = escape(f"{members[0]['precision']} {members[0]['mode']}")
            lines.append(
                f"{what} against fp32 eager, in {len(pairs)} pairs of rows{_where(rows, members[0])}: "
                f"{', '.join(told)}.{_compiling(pairs)}"
            )
    return lines


def _weights(rows: Sequence[Row]) -> list[str]:
    """Exact, so the extremes need no error."""
    known = [row for row in rows if row["weights [B]"] is not None and row["precision"] == "fp32"]
    if len({row["model"] for row in known}) < 2:
        return []
    least, most = (pick(known, key=lambda row: int(row["weights [B]"])) for pick in (min, max))
    sizes = [f"{megabytes(row['weights [B]'])} MB ({escape(row['model'])})" for row in (least, most)]
    return [f"Weights at fp32 take from {sizes[0]} to {sizes[1]}."]


def _cautions(groups: Sequence[Group], rows: Sequence[Row]) -> list[str]:
    marked = [row for row in rows if marks(row)]
    lines = []
    if marked:
        names = listing(list(dict.fromkeys(escape(row["model"]) for row in marked)))
        lines.append(
            f"Read with care {len(marked)} of {len(rows)} inference rows, whose last column has a mark: {names}."
        )
    chance = [_name(group) for group in groups if group.at_chance]
    if chance:
        lines.append(f"No better than guessing after training, so that accuracies tell nothing: {listing(chance)}.")
    if groups and all(len(group.rows) == 1 for group in groups):
        lines.append("Every training ran with one seed: the ± of its accuracy leaves out the spread between seeds.")
    return lines


def _missing(contents: Contents) -> list[str]:
    pairs = sorted_failures(contents.runs)
    if not pairs:
        return []
    unsupported = sum(failure.kind == "unsupported" for _, failure in pairs)
    counts = f"{len(pairs) - unsupported} failed, {unsupported} unsupported"
    return [f"Cases without a measurement: {counts} ([reasons](#failures-and-unsupported-cases))."]


def _by(rows: Sequence[Row], names: Sequence[str]) -> Places:
    places: Places = {}
    for row in rows:
        places.setdefault(tuple(row[name] for name in names), []).append(row)
    return places


def _slower(one: Row, other: Row) -> bool:
    """Whether ``other`` takes longer by their intervals, which do not overlap."""
    ends = one["median to [s]"], other["median from [s]"]
    return None not in ends and ends[0] < ends[1]


def _where(rows: Sequence[Row], row: Row) -> str:
    """What of the place is not the same in all ``rows``."""
    names = [name for name in SAME_PLACE[2:] if name in IDENTITY and len({other[name] for other in rows}) > 1]
    return "".join(f", {name} {escape(str(row[name]))}" for name in names)


def _range(rows: Sequence[Row]) -> str:
    ratios = [row["speed-up over fp32 eager [1]"] for row in rows]
    return " to ".join(dict.fromkeys((f"{min(ratios):.2f}", f"{max(ratios):.2f}"))) + " ×"


def _compiling(rows: Sequence[Row]) -> str:
    seconds = [row["cold compile [s]"] for row in rows if row["cold compile [s]"]]
    if not seconds:
        return ""
    return f" Compiling took {' to '.join(dict.fromkeys((number(min(seconds)), number(max(seconds)))))} s first."


def _variant(row: Row) -> str:
    return escape(f"{row['model']} ({row['precision']} {row['mode']})")


def _latency(row: Row) -> str:
    return f"{with_error(row, 'median', scale=1e3)} ms"


def _name(group: Group) -> str:
    return escape(f"{group.first['model']} ({group.first['recipe'] or 'no recipe'})")


def _share(accuracy: Accuracy) -> str:
    return f"{percent(accuracy.mean, accuracy.standard_error)} %"


def _seeds(accuracy: Accuracy) -> str:
    return "1 seed" if accuracy.seeds == 1 else f"{accuracy.seeds} seeds"
