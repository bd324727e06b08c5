"""What rows show, in plain sentences: computed from them, and only what they can tell apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bench.report.cells import HARDLY_CONVERTED, marks, ratio_range, sides, variant, with_error
from bench.report.contents import Contents, place_words
from bench.report.frame import sorted_failures
from bench.report.front import slower
from bench.report.groups import Group, apart
from bench.report.markdown import escape, listing, megabytes, number, percent, points
from bench.report.rows import (
    BASELINES,
    HARDLY,
    PLACE,
    Row,
    grouped,
    hardly_converted,
    is_meaningless,
    one_accuracy,
    side_of_one,
)
from bench.report.statistics import Accuracy, Difference, student_factor

PLANNED = 2
"""Standard errors beyond which a difference asked for beforehand counts."""
JUDGING_SEEDS = 3
"""Seeds below which a training is not held against a published figure: one seed knows nothing of the spread."""
AMONG_MANY = 3
"""Standard errors beyond which the best of many differs from another one."""
SAME_TRAINING = ("dataset", "image size [px]", "budget", "machine", "code", "device")
"""What trainings share that may be compared."""
TRAINED = ("model", "recipe", "dataset", "image size [px]", *PLACE)
"""What trainings of one network share that differ in nothing but their seed."""


def trainings(contents: Contents) -> list[str]:
    """What the trainings show, as Markdown lines."""
    groups = [group for group in contents.trainings if not is_meaningless(group.first)]
    return [*_published(groups), *_best(groups), *_faults(groups)]


def inferences(contents: Contents) -> list[str]:
    """What the inference rows show, as Markdown lines."""
    rows = [row for row in contents.inferences if not is_meaningless(row)]
    telling = [row for row in rows if not hardly_converted(row)]
    return [*_fastest(telling), *_gains(telling), *_weights(rows)]


def cautions(contents: Contents, picked: Sequence[Row] = (), *, shortened_told: bool = False) -> list[str]:
    """What no reader of any sentence must miss, as Markdown lines: of the ``picked`` rows which are marked."""
    groups = [group for group in contents.trainings if not is_meaningless(group.first)]
    rows = [row for row in contents.inferences if not is_meaningless(row)]
    short = [] if shortened_told else shortened_words(rows, contents.trainings)
    return [*_marked(contents, picked), *_hardly(rows), *short, *_trained(groups, rows), *_missing(contents)]


def shortened_words(rows: Sequence[Row], trainings: Sequence[Group]) -> list[str]:
    """A sentence for each reason why networks of ``rows`` were not trained to the end of their recipes."""
    trained = [row for row in rows if row["artefact"] and one_accuracy(row) is not None and not is_meaningless(row)]
    budgets = {row["budget"] for row in trained} - {"full"}
    cut = {group.first["artefact"] for group in trainings if group.shortened}
    reasons = [f"under the budget {escape(budget)}" for budget in sorted(budgets)]
    asked = any(row["budget"] == "full" and row["artefact"] in cut for row in trained)
    reasons += ["after fewer training images than the recipe has"] if asked else []
    return [
        f"Accuracies {reason} are those of shortened trainings: they say what a precision costs these weights, not "
        "which network is the better one."
        for reason in reasons
    ]


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
    gap = f"{points(difference.value, difference.standard_error)} points"
    if seeds < JUDGING_SEEDS:
        return f"{gap}, which fewer than {JUDGING_SEEDS} seeds cannot judge"
    if not difference.beyond(student_factor(seeds)):
        return f"{gap}, no difference that {seeds} seeds can show"
    return f"{gap}, {'above' if difference.value > 0 else 'below'} it"


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
    for members in grouped(rows, ("image size [px]", "batch size", *PLACE)).values():
        ranked = sorted(members, key=lambda row: float(row["median [s]"]))
        best = ranked[0]
        others = [row for row in ranked if row["model"] != best["model"]]
        rival = next(iter(others), None)
        if rival is not None and all(slower(best, row) for row in others):
            lines.append(
                f"Shortest latency at {best['image size [px]']} px, batch {best['batch size']}{_where(rows, best)}: "
                f"{variant(best)} with {_latency(best)}; the next network is {variant(rival)} with {_latency(rival)}."
            )
    return lines


def _gains(rows: Sequence[Row]) -> list[str]:
    """What compiling does at fp32, then what each precision does in each mode, beside fp32 in the same mode."""
    compiling = [row for row in rows if row["precision"] == BASELINES[0] and row["mode"] != BASELINES[1]]
    reduced = [row for row in rows if row["precision"] != BASELINES[0]]
    lines = [_gain(rows, some, "eager") for some in grouped(compiling, (*PLACE, "mode")).values()]
    lines += [_gain(rows, some, "same mode") for some in grouped(reduced, (*PLACE, "precision", "mode")).values()]
    return [line for line in lines if line]


def _gain(rows: Sequence[Row], members: Sequence[Row], baseline: str) -> str:
    """In how many of ``members`` the row is faster than its baseline, slower, or not told apart; empty if none is."""
    ratio = f"speed-up over fp32 {baseline}"
    pairs = [row for row in members if row[f"{ratio} [1]"] is not None]
    if not any(side_of_one(row, ratio) in ("above", "below") for row in pairs):
        return ""
    precision, mode = members[0]["precision"], members[0]["mode"]
    against = mode if baseline == "same mode" else BASELINES[1]
    count = "1 pair" if len(pairs) == 1 else f"{len(pairs)} pairs"
    whole = [row["speed-up over fp32 eager [1]"] for row in pairs if against != BASELINES[1]]
    known = [value for value in whole if value is not None]
    over_eager = f"; over fp32 eager {ratio_range(known)} ×" if known else ""
    return (
        f"{escape(f'{precision} {mode}')} against fp32 {escape(against)}, in {count} of rows{_where(rows, pairs[0])}: "
        f"{sides(pairs, ratio)}{over_eager}.{_compiling(pairs)}"
    )


def _weights(rows: Sequence[Row]) -> list[str]:
    """Exact, so the extremes need no error."""
    known = [row for row in rows if row["weights [B]"] is not None and row["precision"] == BASELINES[0]]
    if len({row["model"] for row in known}) < 2:
        return []
    least, most = (pick(known, key=lambda row: int(row["weights [B]"])) for pick in (min, max))
    sizes = [f"{megabytes(row['weights [B]'])} MB ({escape(row['model'])})" for row in (least, most)]
    return [f"Weights at fp32 take from {sizes[0]} to {sizes[1]}."]


def _marked(contents: Contents, picked: Sequence[Row]) -> list[str]:
    """How many rows bear each kind of mark; then the picked ones among them, by name."""
    timed = [row for group in contents.languages for row in (*group.of("prefill"), *group.of("decode"))]
    rows = [row for row in (*contents.inferences, *timed) if not is_meaningless(row)]
    kinds = Counter(kind for row in rows for kind in dict.fromkeys(mark.split(":")[0] for mark in marks(row)))
    if not kinds:
        return []
    counts = ", ".join(f"{escape(kind)} {count}" for kind, count in kinds.most_common())
    total = f"Marks in the last column of the tables, of {len(rows)} rows of inference: {counts}."
    chosen = {id(row): row for row in picked}.values()
    bearing = [row for row in chosen if marks(row)]
    if not bearing:
        return [total, "No pick bears a mark."] if picked else [total]
    named = listing([_marked_name(row) for row in bearing], most=len(bearing))
    return [total, f"Of the rows that the picks come from, {len(bearing)} of {len(chosen)} bear a mark: {named}."]


def _marked_name(row: Row) -> str:
    experiment = "" if row["experiment"] == "inference" else f" {row['experiment']}"
    return f"{variant(row)}{experiment} at batch {row['batch size']}"


def _trained(groups: Sequence[Group], rows: Sequence[Row]) -> list[str]:
    """What is to be known of the trainings that the accuracies come from, be they in this file or not."""
    lines = []
    chance = [_name(group) for group in groups if group.at_chance]
    if chance:
        lines.append(f"No better than guessing after training, so that accuracies tell nothing: {listing(chance)}.")
    seeds: dict[tuple[object, ...], set[int]] = {}
    trained = [row for row in rows if row["artefact"] and one_accuracy(row) is not None]
    for row in (*trained, *(row for group in groups for row in group.rows)):
        seeds.setdefault(tuple(row[name] for name in TRAINED), set()).add(row["seed"])
    if seeds and all(len(some) == 1 for some in seeds.values()):
        lines.append(
            "Every network was trained with one seed: the ± of an accuracy leaves out the spread between seeds."
        )
    return lines


def _hardly(rows: Sequence[Row]) -> list[str]:
    """Precisions that left networks as they were, with those networks."""
    names: dict[str, dict[str, None]] = {}
    for row in rows:
        if hardly_converted(row):
            names.setdefault(escape(row["precision"]), {})[escape(row["model"])] = None
    told = [f"{precision} on {listing(list(models))}" for precision, models in names.items()]
    if not told:
        return []
    limit = f"below {100 * HARDLY:.0f} % of parameters and of FLOPs"
    return [f"{HARDLY_CONVERTED.capitalize()} ({limit}), and counted in no statement: {'; '.join(told)}."]


def _missing(contents: Contents) -> list[str]:
    pairs = sorted_failures(contents.runs)
    if not pairs:
        return []
    unsupported = sum(failure.kind == "unsupported" for _, failure in pairs)
    counts = f"{len(pairs) - unsupported} failed, {unsupported} unsupported"
    return [f"Cases without a measurement: {counts} ([reasons](#failures-and-unsupported-cases))."]


def _where(rows: Sequence[Row], row: Row) -> str:
    return "".join(f", {escape(told)}" for told in place_words(rows, row))


def _compiling(rows: Sequence[Row]) -> str:
    seconds = [row["cold compile [s]"] for row in rows if row["cold compile [s]"]]
    if not seconds:
        return ""
    return f" Compiling took {' to '.join(dict.fromkeys((number(min(seconds)), number(max(seconds)))))} s first."


def _latency(row: Row) -> str:
    return f"{with_error(row, 'median', scale=1e3)} ms"


def _name(group: Group) -> str:
    return escape(f"{group.first['model']} ({group.first['recipe'] or 'no recipe'})")


def _share(accuracy: Accuracy) -> str:
    return f"{percent(accuracy.mean, accuracy.standard_error)} %"


def _seeds(accuracy: Accuracy) -> str:
    return "1 seed" if accuracy.seeds == 1 else f"{accuracy.seeds} seeds"
