"""Sources of images, and texts by name, by file and by their digest."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from bench.core import datasets
from bench.core.datasets import load_text
from bench.core.errors import InputError


class _Answer:
    status = 200

    def __enter__(self) -> _Answer:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _answers(*_: Any, **__: Any) -> _Answer:
    return _Answer()


def _refuses(*_: Any, **__: Any) -> _Answer:
    raise urllib.error.URLError("no network")


def _hangs(*_: Any, **__: Any) -> _Answer:
    time.sleep(3)
    return _Answer()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", _refuses)


def _unpacked_cifar10(data_dir: Path) -> Path:
    folder = data_dir / datasets.CIFAR10_FOLDER
    folder.mkdir()
    (folder / "batches.meta").touch()
    for name in datasets.CIFAR10_BATCHES:
        with (folder / name).open("wb") as stream:
            stream.truncate(datasets.CIFAR10_BATCH_BYTES)
    return folder


def test_importing_and_checking_loads_neither_torch_nor_numpy(make_folder: Any) -> None:
    code = (
        "import sys; from pathlib import Path; from bench.core import datasets\n"
        "datasets.check(sys.argv[1], Path('.')); datasets.stamp_of(datasets.parse(sys.argv[1]))\n"
        "sys.exit(str({'torch', 'numpy', 'PIL'} & set(sys.modules)) if {'torch', 'numpy'} & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code, str(make_folder())], check=True, timeout=60)


class TestResolve:
    def test_auto_is_cifar10_where_it_can_be_downloaded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(urllib.request, "urlopen", _answers)
        assert datasets.resolve("auto", tmp_path) == "cifar10"

    @pytest.mark.usefixtures("offline")
    def test_auto_is_cifar10_where_it_is_on_disk_and_mnist_where_it_is_not_whole(self, tmp_path: Path) -> None:
        folder = _unpacked_cifar10(tmp_path)
        assert datasets.resolve("auto", tmp_path) == "cifar10"
        os.truncate(folder / "data_batch_3", 1_000)
        assert datasets.resolve("auto", tmp_path) == "mnist5k"

    def test_a_network_that_does_not_answer_costs_no_more_than_the_limit(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(urllib.request, "urlopen", _hangs)
        monkeypatch.setattr(datasets, "CONNECT_SECONDS", 0.1)
        begin = time.monotonic()
        assert datasets.resolve("auto", tmp_path) == "mnist5k"
        assert time.monotonic() - begin < 1.5

    def test_other_names_stay(self, tmp_path: Path) -> None:
        assert datasets.resolve("mnist5k", tmp_path) == "mnist5k"


class TestCheck:
    def test_what_is_whole_passes(self, tmp_path: Path, make_folder: Any) -> None:
        datasets.check("mnist5k", tmp_path)
        datasets.check(str(make_folder()), tmp_path)

    @pytest.mark.usefixtures("offline")
    def test_cifar10_that_cannot_be_had(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"cifar-10-python.tar.gz cannot be reached; unpack that archive there"):
            datasets.check("cifar10", tmp_path)

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("cifar100", r"unknown data set 'cifar100'\. Did you mean cifar10\? Known: auto, mnist5k, cifar10\."),
            ("./nowhere", r"data folder './nowhere' does not exist; a data folder holds train/<class>/<image>"),
            ("nowhere.py:pets", r"there is no file nowhere\.py"),
            ("nowhere.py:", r"names no callable; it is written FILE\.py:callable"),
            (__file__, r"is a file; a data folder holds"),
        ],
    )
    def test_what_is_no_data_set(self, tmp_path: Path, spec: str, message: str) -> None:
        with pytest.raises(InputError, match=message) as caught:
            datasets.check(spec, tmp_path)
        assert "\n" not in str(caught.value)

    def test_a_folder_without_test(self, tmp_path: Path, make_folder: Any) -> None:
        folder = make_folder()
        shutil.rmtree(folder / "test")
        with pytest.raises(InputError, match=r"pets' has no folder 'test'; a data folder holds"):
            datasets.check(str(folder), tmp_path)

    def test_validation_images_are_taken_where_there_are_no_test_images(self, tmp_path: Path, make_folder: Any) -> None:
        folder = make_folder()
        assert datasets.described(str(folder)) == str(folder)
        shutil.copytree(folder / "test", folder / "val")
        assert datasets.list_folder(folder).test_folder == "test"
        shutil.rmtree(folder / "test")
        datasets.check(str(folder), tmp_path)
        assert datasets.list_folder(folder).test_folder == "val"
        assert datasets.described(str(folder)) == f"{folder} (test images in val/)"
        (folder / "val" / "dog").rename(folder / "val" / "cow")
        with pytest.raises(InputError, match="only in train: dog; only in val: cow"):
            datasets.check(str(folder), tmp_path)

    def test_an_empty_train_folder(self, tmp_path: Path, make_folder: Any) -> None:
        folder = make_folder()
        shutil.rmtree(folder / "train")
        (folder / "train").mkdir()
        with pytest.raises(InputError, match=r"train' is empty; a data folder holds"):
            datasets.check(str(folder), tmp_path)

    def test_a_class_without_images(self, tmp_path: Path, make_folder: Any) -> None:
        folder = make_folder()
        for file in (folder / "test" / "dog").iterdir():
            file.rename(file.with_suffix(".txt"))
        with pytest.raises(
            InputError, match=r"no images in '.*test' for class dog; an image is a file ending in \.jpg"
        ):
            datasets.check(str(folder), tmp_path)

    def test_classes_that_differ_are_named(self, tmp_path: Path, make_folder: Any) -> None:
        folder = make_folder(classes=("cat", "dog"))
        (folder / "test" / "dog").rename(folder / "test" / "cow")
        with pytest.raises(InputError, match="differ: only in train: dog; only in test: cow"):
            datasets.check(str(folder), tmp_path)

    def test_hidden_files_do_not_count(self, tmp_path: Path, make_folder: Any) -> None:
        folder = make_folder()
        (folder / "train" / ".cache").mkdir()
        (folder / "train" / "cat" / "._000.png").write_bytes(b"resource fork")
        datasets.check(str(folder), tmp_path)
        assert [len(files) for files in datasets.list_folder(folder).train] == [5, 5]


class TestStamp:
    def test_it_changes_with_the_files_and_only_with_them(self, tmp_path: Path, make_folder: Any) -> None:
        folder = make_folder()
        image = folder / "train" / "cat" / "001.png"
        stamps = [datasets.stamp_of(datasets.parse(str(folder))), datasets.stamp_of(datasets.parse(str(folder)))]
        assert stamps[0] == stamps[1]
        os.utime(image, ns=(1, 1))
        stamps.append(datasets.stamp_of(datasets.parse(str(folder))))
        image.rename(image.with_name("009.png"))
        stamps.append(datasets.stamp_of(datasets.parse(str(folder))))
        image.with_name("009.png").unlink()
        stamps.append(datasets.stamp_of(datasets.parse(str(folder))))
        assert len(set(stamps)) == 4

    def test_it_changes_with_the_file_of_a_callable(self, tmp_path: Path) -> None:
        file = tmp_path / "mine.py"
        file.write_text("def pets(): ...")
        before = datasets.stamp_of(datasets.parse(f"{file}:pets"))
        file.write_text("def pets(): return 1")
        assert datasets.stamp_of(datasets.parse(f"{file}:pets")) != before


def test_pythons_own_help_needs_no_network(tmp_path: Path) -> None:
    text = load_text("auto", tmp_path)
    assert text.name == "python-topics"
    assert len(text.content) > 100_000
    assert text.digest == hashlib.sha256(text.content.encode()).hexdigest()[:16]


def test_wikitext_is_used_where_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "wikitext-2-raw").mkdir()
    (tmp_path / "wikitext-2-raw" / "wiki.test.raw").write_text("= Robert Boulter =")
    assert load_text("auto", tmp_path).name == load_text("wikitext-2", tmp_path).name == "wikitext-2"
    assert load_text("auto", tmp_path).content == "= Robert Boulter ="
    assert load_text("python-topics", tmp_path).name == "python-topics"


def test_a_file_of_the_users_own(tmp_path: Path) -> None:
    file = tmp_path / "prose.txt"
    file.write_text("Once upon a time")
    before = load_text(str(file), tmp_path)
    file.write_text("Once upon another")
    after = load_text(str(file), tmp_path)
    assert (before.name, after.name) == ("prose.txt", "prose.txt")
    assert before.digest != after.digest


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("wikitext-2", "put wiki.test.raw of wikitext-2-raw-v1 into"),
        ("pyton-topics", "unknown text 'pyton-topics'. Did you mean python-topics"),
        ("empty", "is empty: give a text"),
        ("binary", "cannot be read"),
    ],
)
def test_what_is_no_text_is_refused(given: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        load_text(given, tmp_path / "data")
