"""Language models: memory and load, speed and quality, a pair of tables a model; then what the rows show."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.contents import SHORT, Contents, common_line
from bench.report.language_lines import SCENE, LanguageGroup
from bench.report.load import LanguageModelFacts, TextFacts
from bench.report.markdown import bullets, escape, integer, listing, small_percent, unblocked
from bench.report.rows import PLACE, Row, figure
from bench.report.tables import conversations, language_findings, language_tables

TEXT = """\
Memory and load, then speed and quality, one line a precision and mode. ± of a time is the longer side of its 95 %
interval, and is missing where samples are too few for one; ± of a perplexity is one standard error."""
LEGEND = (
    "*Load* is from files to a model, rounding its weights included; on a CPU weights of the file's own type are only "
    "mapped, and read by the first step. MB are 10^6 bytes. *Stays after loading* is what the process, or CUDA, holds "
    "then, mapped weights among it; the *load peak* is the most that loading adds, the *steady peak* the most that "
    "decoding adds to a process that has loaded, or that CUDA allocated in all.",
    "*First token* is the time from a prompt to its first answering token (prefill). *Tokens/s* are new tokens only "
    "(decode), prefill not counted, from blocks of steps in generations of a forced length; *p50* and *p95* are the "
    "times between two of them. Energy is that of decode steps, prefill left out.",
    "*Speed-up over fp32* is in the mode of the row, from the medians of the time between tokens, with the widest "
    "range that the two intervals allow in brackets.",
    "*Perplexity* is by tokens of this model's own vocabulary: it compares rows of one model. *Change* is the ratio "
    "to fp32's less 1, window by window on the same tokens, ± its standard error over the windows, which are taken to "
    "be independent. It stands only where text, context, stride and tokens are the same.",
    "Sentences name only what shows: speeds whose intervals do not overlap, and which are 10 % apart besides (on a "
    "CPU a factor of 2) where one process measured a row; changes of perplexity that the spread between windows does "
    "not explain, at 95 % by Student's t.",
    "*Parts from fp32 after*: tokens of greedy answers that are alike, counted over the turns of the conversation, up "
    "to the first that is not. Two answers may part and be equally good.",
)

SHARES = (
    "*Share of limit*: a step must read every weight as stored, and the key-value cache, once, and multiply each of "
    "them for every sequence. The time that this takes at the machine's limits is held against the median step; the "
    "word names the limit that is nearer, and is left out where memory alone is known."
)
SHARE_OF_MEMORY = (
    "*Share of limit*: a step must read every weight as stored, and the key-value cache, once. The time that this "
    "takes at the memory bandwidth is held against the median step; no other limit is known here."
)
OWN_BANDWIDTH = (
    "No ceilings were measured: each decoding process measured a bandwidth, and the highest of them holds for all."
)


def section(contents: Contents) -> str:
    """Empty where no language model was asked for."""
    facts = _models(contents)
    had = {group.model for group in contents.languages}
    lost = [item for item in facts if item.problem and item.name not in had]
    if not contents.languages and not lost:
        return ""
    rows = [row for group in contents.languages for row in group.rows]
    parts = ["## Language models"]
    if rows:
        parts += [common_line(contents, rows, PLACE), TEXT, bullets([*LEGEND, *_share_legend(contents, rows)])]
    for group in contents.languages:
        parts += _group(contents, group, [item for item in facts if item.name == group.model])
    parts += [f"{unblocked(escape(item.name))} could not be had: {escape(item.problem or '')}." for item in lost]
    return "\n\n".join(filter(None, parts))


def _share_legend(contents: Contents, rows: Sequence[Row]) -> list[str]:
    """What *share of limit* is held against; nothing where no row has one."""
    if all(row["share of limit [1]"] is None for row in rows):
        return []
    if any(row["share of arithmetic [1]"] is not None for row in rows):
        return [SHARES]
    measured = "ceilings" in contents.experiments
    return [f"{SHARE_OF_MEMORY} {'' if measured else OWN_BANDWIDTH}".strip()]


def _group(contents: Contents, group: LanguageGroup, facts: Sequence[LanguageModelFacts]) -> list[str]:
    title = escape(", ".join((group.model, *_apart(contents, group))))
    picture = _picture(contents, group)
    findings = language_findings.sentences(group)
    return [
        f"### {title}",
        *(_source(item) for item in facts),
        bullets([f"Read every figure of {escape(group.model)} with this: {escape(note)}." for note in group.caveats]),
        _text_line(contents, group),
        *language_tables.parts(group),
        *((f"**What the rows of {title} show**{group.carried}", bullets(findings)) if findings else ()),
        *picture,
        *conversations.parts(group),
    ]


def _models(contents: Contents) -> list[LanguageModelFacts]:
    return list(dict.fromkeys(item for run in contents.runs for item in run.language_models))


def _apart(contents: Contents, group: LanguageGroup) -> list[str]:
    """What tells this group from the others of its model."""
    others = [other for other in contents.languages if other.model == group.model]
    names = [name for name in SCENE if len({other.first[name] for other in others}) > 1]
    told = [f"{SHORT.get(name, name)} {group.first[name]}" for name in names]
    texts = {other.text for other in others}
    return [*told, *([f"text {' '.join(group.text)}"] if group.text and len(texts) > 1 else [])]


def _source(facts: LanguageModelFacts) -> str:
    told = [
        f"from {escape(facts.source)}" if facts.source else "",
        f"{integer(facts.parameters)} parameters" if facts.parameters else "",
        "random weights: no quality figure" if facts.random else "",
        f"digest {escape(facts.digest)}" if facts.digest else "",
    ]
    return f"{unblocked(escape(facts.name))}: {', '.join(filter(None, told)) or 'its source was not recorded'}."


def _text_line(contents: Contents, group: LanguageGroup) -> str:
    """The text with its digest, and how it was cut."""
    cuts = dict.fromkeys(_windows(row) for row in group.of("perplexity"))
    if group.text is None:
        return ""
    name, digest = group.text
    known: list[TextFacts] = [item for run in contents.runs for item in run.texts if item.digest == digest and digest]
    size = f", {integer(known[0].characters)} characters" if known and known[0].characters else ""
    scored = f"; perplexity over {listing(list(cuts))}" if cuts else ""
    return f"Text: {escape(name)} (digest {escape(digest) or 'not recorded'}{size}){scored}."


def _windows(row: Row) -> str:
    windows = len(row["series"].get("window_tokens", ()))
    facts = (
        f"windows of {integer(figure(row, 'context'))} tokens",
        f"stride {integer(figure(row, 'stride'))}",
        f"{integer(row['quality samples'])} tokens scored",
    )
    return f"{integer(windows)} {', '.join(facts)}"


def _picture(contents: Contents, group: LanguageGroup) -> list[str]:
    """With the model's last group, since it shows them all."""
    model = escape(group.model)
    image = contents.picture("language", group.model, f"decoding speed of {model} by precision")
    last = [other for other in contents.languages if other.model == group.model][-1]
    if not image or last is not group:
        return []
    text = (
        f"**Decoding of {model} against memory bandwidth.** The dot is what was measured, ± its 95 % "
        "interval, the bar what the bandwidth allows for the bytes of that precision, the number the share of that "
        f"limit.{_shares(group)} The further left of its bar a dot lies, the more the row is held back by something "
        "other than reading its weights. The axis is logarithmic."
    )
    return [text, image]


def _shares(group: LanguageGroup) -> str:
    """Who comes nearest to the limit, and who stays furthest from it."""
    headline = group.headline("decode")
    pairs = [(line, row) for line in group.lines if (row := line.at("decode", headline)) is not None]
    known = [(share, line) for line, row in pairs if (share := row["share of bandwidth [1]"]) is not None]
    if len(known) < 2:
        return ""
    (low, worst), (high, best) = (pick(known, key=lambda pair: pair[0]) for pick in (min, max))
    ends = [f"{escape(line.name)} {small_percent(share)} %" for share, line in ((high, best), (low, worst))]
    return f" Nearest to it comes {ends[0]}, furthest from it stays {ends[1]}."
