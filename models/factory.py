"""From ``FILE.py:callable`` or ``package.module:callable`` to a network. No torch at import.

A network of the user's own is run as it is found: whatever goes wrong in it becomes one line that names it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

CLASS_ARGUMENTS = ("num_classes", "classes")


class ModelError(ValueError):
    """A network cannot be built as asked. The message is one line: the input, the reason and the remedy."""


def reason(error: BaseException) -> str:
    """Type and first line of an error's message."""
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def is_file(target: str) -> bool:
    """True if the part of a reference before the colon names a Python file, not a module."""
    return target.endswith(".py")


def module_file(target: str) -> Path | None:
    """The Python file of a module, found without importing it or its packages; None if there is none."""
    top, *rest = target.split(".")
    found = importlib.util.find_spec(top)
    if found is None:
        return None
    bases = [Path(folder).joinpath(*rest) for folder in found.submodule_search_locations or ()]
    candidates = [file for base in bases for file in (base.with_suffix(".py"), base / "__init__.py")]
    if not rest and found.origin:
        candidates = [Path(found.origin)]
    return next((file for file in candidates if file.suffix == ".py" and file.is_file()), None)


def parse(reference: str) -> tuple[str, str]:
    """The two parts of a reference, checked without importing anything.

    Raises:
        ModelError: it is malformed, or its file or top-level package is not there.
    """
    # The last colon: a path on Windows has one of its own.
    target, _, name = reference.rpartition(":")
    if is_file(target):
        if not Path(target).expanduser().is_file():
            raise ModelError(f"network '{reference}': there is no file {target}")
    elif not all(part.isidentifier() for part in target.split(".")):
        raise ModelError(f"'{reference}' is no network: give FILE.py:callable or package.module:callable")
    elif not _importable(target.partition(".")[0]):
        raise ModelError(f"network '{reference}': there is no module {target} to import; for a file give its .py")
    if not name.isidentifier():
        raise ModelError(f"network '{reference}': give the name of a function or class after the colon")
    return target, name


def build(reference: str, outputs: int, *, name: str) -> nn.Module:
    """The network that a reference builds, told the number of outputs if it has a parameter for it.

    Raises:
        ModelError: the import raises, the module has no such callable, it raises or returns no ``nn.Module``.
    """
    target, attribute = parse(reference)
    with _beside(target):
        with _told(f"network '{name}': {target} cannot be imported"):
            module = _run_file(Path(target).expanduser()) if is_file(target) else importlib.import_module(target)
        factory = _callable(module, attribute, name, target)
        with _told(f"network '{name}' cannot be built"):
            network = factory(**_class_argument(factory, outputs))
    return _checked(network, name)


def _callable(module: ModuleType, attribute: str, name: str, target: str) -> Callable[..., Any]:
    from torch import nn

    if not hasattr(module, attribute):
        known = ", ".join(sorted(key for key, value in vars(module).items() if _is_own_callable(value, module)))
        raise ModelError(f"network '{name}': {target} has no '{attribute}'; it defines {known or 'nothing to call'}")
    found: Any = getattr(module, attribute)
    if isinstance(found, nn.Module):
        raise ModelError(f"network '{name}' is built already: give its class, or a function that returns a new one")
    if not callable(found):
        raise ModelError(f"network '{name}': '{attribute}' is of type {type(found).__name__}, not a function or class")
    return found  # type: ignore[no-any-return]


def _checked(network: object, name: str) -> nn.Module:
    from torch import nn

    if isinstance(network, nn.Module):
        return network
    what = (
        f"the class {network.__name__}" if isinstance(network, type) else f"an object of type {type(network).__name__}"
    )
    raise ModelError(f"network '{name}': its callable returned {what}, not a torch.nn.Module")


def _class_argument(factory: Callable[..., Any], outputs: int) -> dict[str, int]:
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # Written in C: it does not tell.
        return {}
    return next(({name: outputs} for name in CLASS_ARGUMENTS if name in parameters), {})


def _run_file(path: Path) -> ModuleType:
    # A name that no other file has, and that classes of the module can be found under.
    name = f"user_network_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not Python source")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextlib.contextmanager
def _beside(target: str) -> Iterator[None]:
    """Lets a file import its neighbours, as ``python FILE.py`` does, for as long as it builds. A module: no change."""
    if not is_file(target):
        yield
        return
    folder = str(Path(target).expanduser().resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # The user's code may have taken it away.
            sys.path.remove(folder)


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn an error of the user's code into one line; a script that ends itself (argparse) gets one as well."""
    try:
        yield
    except (MemoryError, ModelError):
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(f"{what}: {reason(error)}") from error


def _importable(package: str) -> bool:
    # Only of the top level: to find a module within a package, Python imports the package.
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _is_own_callable(value: Any, module: ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__
