"""The options of a run: one literal table that pytest, ``--help``, docs/options.md and the plan read. No torch.

``python -m bench.plan.options`` prints the table of docs/options.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.core.precisions import COMPILED_MODES, PRECISIONS
from bench.core.runtimes import RUNTIMES
from bench.core.workspace import TRACKERS
from bench.plan.values import Parse, at_least, file, margin, minutes, names, numbers, path, seconds, statistics, weights

MODES = ("eager", *COMPILED_MODES)
FEWEST_NEW_TOKENS = 2
"""The first new token belongs to prefill: decoding is timed from there on."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of the command line."""

    name: str
    help: str
    values: str = ""
    """Allowed values, in words. Empty: it is a switch."""
    default: Any = None
    """Value where the option is missing; None where the budget or the machine decides."""
    shown: str = ""
    """The default in words, where the value alone does not tell."""
    type: type = str
    choices: tuple[str, ...] = ()
    parse: Parse | None = None
    """Check and conversion of a value; None: the plan looks it up itself."""

    @property
    def key(self) -> str:
        """Name under which pytest keeps the value."""
        return self.name.removeprefix("--").replace("-", "_")

    @property
    def default_in_words(self) -> str:
        return self.shown or ("off" if self.type is bool else str(self.default))


BUDGETS_OWN = "the budget's"

OPTIONS: tuple[Option, ...] = (
    Option(
        name="--device",
        values="auto, cpu, cuda, cuda:N",
        help="device that is measured",
        default="auto",
        shown="auto, which is CUDA if there",
    ),
    Option(
        name="--dataset",
        values="auto, mnist5k, cifar10, a folder with train/ and test/ (or val/), FILE.py:callable",
        help="data of trainings and of judged inference",
        default="auto",
        shown="auto, which is cifar10 if on disk or downloadable, else mnist5k",
    ),
    Option(
        name="--data-dir",
        values="a folder",
        help="folder of data sets and their cache",
        shown="data, in the checkout",
        parse=path,
    ),
    Option(
        name="--budget",
        values="smoke (every path once; figures mean nothing), quick, gpu, full",
        help="how much is measured",
        shown="gpu on CUDA, quick on CPU",
    ),
    Option(
        name="--models",
        values="names, FILE.py:callable, package.module:callable, timm:NAME, hf:ID_OR_FOLDER; commas between",
        help="classifiers to measure",
        shown=BUDGETS_OWN,
    ),
    Option(
        name="--llm",
        values="names, hub ids (OWNER/NAME), folders; commas between",
        help="language models to measure",
        shown="smollm2-135m; none where --models is given",
    ),
    Option(
        name="--text",
        values="auto, python-topics, wikitext-2, a file",
        help="text that prompts and perplexity are taken from",
        default="auto",
        shown="auto, which is wikitext-2 if in the data folder, else python-topics",
    ),
    Option(
        name="--prompt-tokens",
        values="whole numbers, commas between",
        help="lengths of prompts; decoding goes on from the shortest",
        shown=BUDGETS_OWN,
        parse=numbers(1),
    ),
    Option(
        name="--new-tokens",
        values=f"a whole number from {FEWEST_NEW_TOKENS}",
        help="tokens of a timed generation, and the most of an answer",
        shown=BUDGETS_OWN,
        type=int,
        parse=at_least(FEWEST_NEW_TOKENS),
    ),
    Option(
        name="--text-tokens",
        values="a whole number from 2",
        help="tokens of the text that perplexity is judged on",
        shown=BUDGETS_OWN,
        type=int,
        parse=at_least(2),
    ),
    Option(
        name="--weights",
        values="a file of torch.save or safetensors, FILE:KEY, DEFAULT for torchvision's own",
        help="trained weights of the one network that --models names; nothing is trained then",
        shown="none",
        parse=weights,
    ),
    Option(
        name="--class-map",
        values='a file of JSON like {"cat": 281}',
        help="output of each class of the data set, for a network with other classes",
        shown="none; equal names are matched",
        parse=file,
    ),
    Option(
        name="--imagenet-weights",
        values="a folder with vgg16-*.pth or resnet18-*.pth",
        help="ImageNet's weights that transfers of budget full begin with",
        shown="the folder of torch's downloads",
    ),
    Option(
        name="--classes",
        values="a whole number",
        help="classes of your own network",
        shown="the data set's",
        type=int,
        parse=at_least(1),
    ),
    Option(
        name="--image-size",
        values="pixels",
        help="side of the images given to the networks",
        shown="each network's own",
        type=int,
        parse=at_least(1),
    ),
    Option(
        name="--normalize",
        values="M,M,M/S,S,S",
        help="means and standard deviations that your weights were trained with",
        shown="the recipe's",
        parse=statistics,
    ),
    Option(
        name="--runtimes",
        values=f"{', '.join(RUNTIMES)}; commas between",
        help="libraries to run the models in",
        shown=BUDGETS_OWN,
        parse=names("runtime", RUNTIMES),
    ),
    Option(
        name="--precisions",
        values="names from docs/method.md, commas between",
        help="precisions to measure",
        shown=BUDGETS_OWN,
        parse=names("precision", PRECISIONS),
    ),
    Option(
        name="--modes",
        values=f"{', '.join(MODES)}; commas between",
        help="ways to run torch's networks",
        shown=BUDGETS_OWN,
        parse=names("mode", MODES),
    ),
    Option(
        name="--batch-sizes",
        values="whole numbers, commas between",
        help="images or prompts of one call",
        shown=BUDGETS_OWN,
        parse=numbers(1, falling=True),
    ),
    Option(
        name="--seeds",
        values="whole numbers, commas between",
        help="one training for each",
        shown=BUDGETS_OWN,
        parse=numbers(0),
    ),
    Option(
        name="--train-images",
        values="a whole number",
        help="images that each training sees, all epochs together; 0 trains nothing: networks are timed, not judged",
        shown=BUDGETS_OWN,
        type=int,
        parse=at_least(0),
    ),
    Option(
        name="--test-images",
        values="a whole number",
        help="test images that judge accuracy, the first so many",
        shown=BUDGETS_OWN,
        type=int,
        parse=at_least(1),
    ),
    Option(
        name="--repeats",
        values="a whole number",
        help="fresh processes for each timed case: sets that take turns, or repeats",
        shown=BUDGETS_OWN,
        type=int,
        parse=at_least(1),
    ),
    Option(
        name="--threads",
        values="a whole number",
        help="threads of a case on the CPU",
        shown="the cores that pytest may use",
        type=int,
        parse=at_least(1),
    ),
    Option(
        name="--track",
        values=f"{', '.join(TRACKERS)}, none; commas between",
        help="who draws the curves of trainings",
        default="tensorboard",
        parse=names("tracker", (*TRACKERS, "none")),
    ),
    Option(
        name="--profile",
        help="trace each case once, after it was timed, into results/profiles/",
        type=bool,
    ),
    Option(
        name="--isolation",
        values="process, none",
        help="process: each case has its own; none: cases run in pytest, for a debugger",
        default="process",
        choices=("process", "none"),
    ),
    Option(
        name="--cluster",
        values="local, HOST:PORT of a Ray cluster (docs/cluster.md)",
        help="run cases on the nodes of a Ray cluster, one at a time on each",
        shown="none: cases run on this machine",
    ),
    Option(
        name="--nodes",
        values="a resource or accelerator type of Ray's",
        help="kind of the cluster's nodes to use",
        shown="all, which have to be alike",
    ),
    Option(
        name="--case-timeout",
        values="seconds",
        help="time after which a case is ended",
        shown=BUDGETS_OWN,
        type=float,
        parse=seconds,
    ),
    Option(
        name="--minutes",
        values="a number",
        help="end after so many minutes: what tells the most is measured first, what does not fit is named",
        shown="no limit",
        type=float,
        parse=minutes,
    ),
    Option(
        name="--max-drop",
        values="points of accuracy, or points/per cent of perplexity",
        help="losses that do not count where the report picks a route",
        shown="1/2",
        parse=margin,
    ),
    Option(
        name="--resume",
        help="take finished cases of the same code, machine and data from the journal",
        type=bool,
    ),
)


def add_options(add: Callable[..., None]) -> None:
    """Declare every option by ``add``, the ``addoption`` of a group of pytest's parser."""
    for option in OPTIONS:
        values = f"Values: {option.values}. " if option.values else ""
        words = f"{option.help}. {values}Default: {option.default_in_words}."
        if option.type is bool:
            add(option.name, action="store_true", help=words)
        else:
            choices = {"choices": option.choices} if option.choices else {"metavar": "VALUE"}
            add(option.name, type=option.type, default=option.default, help=words, **choices)


def read(value_of: Callable[[str], Any]) -> dict[str, Any]:
    """Every option's value, checked and converted, by its key. None where the budget or the machine decides.

    Args:
        value_of: gives the value of a key as pytest has it, None where the option is missing.

    Raises:
        InputError: a value is not allowed.
    """
    values: dict[str, Any] = {}
    for option in OPTIONS:
        value = value_of(option.key)
        value = option.default if value is None else value
        values[option.key] = option.parse(option.name, value) if option.parse and value is not None else value
    return values


def markdown() -> str:
    """The table of docs/options.md."""
    rows = [f"| `{option.name}` | {option.values} | {option.default_in_words} | {option.help} |" for option in OPTIONS]
    return "\n".join(["| option | values | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
