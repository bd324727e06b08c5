"""Networks of the user's own: a file or a module, and everything that can be wrong with one."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

import pytest
from torch import nn

import models
from models import CLASSIFIERS, ModelError, classifier, user_classifier
from models.factory import module_file

FILE = """
    import sys
    from torch import nn
    from neighbour import WIDTH

    def plain():
        return nn.Sequential(nn.Flatten(), nn.Linear(WIDTH, 10))

    def told(num_classes):
        return nn.Linear(WIDTH, num_classes)

    def late():
        import late_neighbour
        return nn.Identity()

    class Own(nn.Module):
        def __init__(self, classes=3, width=WIDTH):
            super().__init__()
            self.layer = nn.Linear(width, classes)

    def failing():
        raise RuntimeError("no such luck\\nsecond line")

    def wanting(width):
        return nn.Identity()

    def leaving():
        sys.exit(2)

    def text():
        return "a network"

    def a_class():
        return Own

    ready = plain()
    number = 7
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("WIDTH = 12\n")
    (tmp_path / "late_neighbour.py").write_text("")
    path = tmp_path / "net.py"
    path.write_text(dedent(FILE))
    return path


@pytest.fixture(autouse=True)
def _forget_neighbours() -> None:
    for name in ("neighbour", "late_neighbour"):
        sys.modules.pop(name, None)


def test_a_file_is_built_with_its_neighbours(file: Path) -> None:
    path_before = list(sys.path)
    spec = user_classifier(f"{file}:plain", 64)
    assert (spec.group, spec.image_size, spec.head, spec.name) == ("user", 64, None, f"{file}:plain")
    network = spec.build(5)
    assert isinstance(network, nn.Sequential)
    assert sum(parameter.numel() for parameter in network.parameters()) == 12 * 10 + 10
    assert isinstance(user_classifier(f"{file}:late").build(), nn.Identity)
    assert sys.path == path_before


@pytest.mark.parametrize(("name", "outputs"), [("told", 5), ("Own", 5)])
def test_a_callable_that_asks_is_told_the_classes(file: Path, name: str, outputs: int) -> None:
    network = classifier(f"{file}:{name}").build(5)
    assert [m.out_features for m in network.modules() if isinstance(m, nn.Linear)] == [outputs]


def test_a_module_is_built() -> None:
    spec = classifier("models.cnn:cnn_small", 32)
    assert spec.group == "user"
    assert spec.source == Path(models.__file__).parent / "cnn.py"
    network = spec.build(7)
    assert isinstance(network, nn.Sequential)


def test_a_relative_file_is_found_again_from_elsewhere(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    spec = classifier("net.py:plain")
    monkeypatch.chdir("/")
    assert spec.name == "net.py:plain"
    assert spec.source == file.resolve()
    assert isinstance(spec.build(), nn.Sequential)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nowhere.py:net", "there is no file nowhere.py"),
        ("no_such_package_here.nets:net", "there is no module no_such_package_here.nets"),
        ("my nets:net", "is no network: give FILE.py:callable or package.module:callable"),
        (":net", "is no network"),
        ("models.cnn:", "give the name of a function or class after the colon"),
        ("models.cnn:cnn small", "give the name of a function or class after the colon"),
    ],
)
def test_a_reference_that_leads_nowhere_is_refused_before_anything_is_imported(reference: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        classifier(reference)


@pytest.mark.parametrize("image_size", [0, -1])
def test_a_size_below_one_pixel_is_refused(image_size: int) -> None:
    with pytest.raises(ModelError, match=f"takes images of 1 pixels or more a side, not {image_size}"):
        classifier("models.cnn:cnn_small", image_size)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "has no 'missing'; it defines Own, a_class, failing, late, leaving, plain, text, told, wanting$"),
        ("number", "'number' is of type int, not a function or class$"),
        ("ready", "is built already: give its class, or a function that returns a new one$"),
        ("failing", "cannot be built: RuntimeError: no such luck$"),
        ("leaving", "cannot be built: SystemExit: 2$"),
        ("wanting", "cannot be built: TypeError: .*missing 1 required positional argument: 'width'$"),
        ("text", "returned an object of type str, not a torch.nn.Module$"),
        ("a_class", "returned the class Own, not a torch.nn.Module$"),
    ],
)
def test_what_is_wrong_with_a_callable_is_told_in_one_line(file: Path, name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as raised:
        user_classifier(f"{file}:{name}").build(10)
    assert "\n" not in str(raised.value)
    assert str(file) in str(raised.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def net(:", "cannot be imported: SyntaxError: "),
        ("import no_such_package_here", "cannot be imported: ModuleNotFoundError: No module named"),
        ("raise SystemExit('usage: net.py')", "cannot be imported: SystemExit: usage: net.py"),
        ("assert False", "cannot be imported: AssertionError$"),
    ],
)
def test_a_file_that_cannot_be_imported_is_told_in_one_line(tmp_path: Path, source: str, message: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(source)
    modules = set(sys.modules)
    with pytest.raises(ModelError, match=message):
        classifier(f"{path}:net").build()
    assert not {name for name in set(sys.modules) - modules if name.startswith("user_network")}


def test_memory_running_out_is_not_taken_for_a_fault_of_the_network(tmp_path: Path) -> None:
    path = tmp_path / "large.py"
    path.write_text("def net():\n    raise MemoryError\n")
    with pytest.raises(MemoryError):
        classifier(f"{path}:net").build()


def test_classes_of_a_users_file_are_found_by_the_name_of_their_module(file: Path) -> None:
    own = type(user_classifier(f"{file}:Own").build())
    assert getattr(sys.modules[own.__module__], "Own", None) is own


def test_the_file_of_a_module_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "unimported_package"
    (package / "inner").mkdir(parents=True)
    for file in (package / "__init__.py", package / "inner" / "__init__.py", package / "inner" / "networks.py"):
        file.write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert module_file("unimported_package.inner.networks") == package / "inner" / "networks.py"
    assert module_file("unimported_package.inner") == package / "inner" / "__init__.py"
    assert module_file("unimported_package") == package / "__init__.py"
    assert module_file("unimported_package.nowhere") is None
    assert user_classifier("unimported_package.inner.networks:network").source == package / "inner" / "networks.py"


def test_networks_of_the_suite_have_no_file_of_the_user() -> None:
    assert all(spec.source is None for spec in CLASSIFIERS.values())
