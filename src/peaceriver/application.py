"""Applications: the departments, models, rules and views among a Python file's module-level names."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import msgspec

from peaceriver.actor import Actor
from peaceriver.department import Department
from peaceriver.errors import StartFailed
from peaceriver.query.named import View
from peaceriver.rule import Rule

T = TypeVar("T")
K = TypeVar("K", int, str)


class Application(msgspec.Struct, frozen=True):
    """What an application defines."""

    name: str
    departments: tuple[Department, ...]
    #: Actor classes by type name; their message types are registered on them.
    models: dict[str, type[Actor]]
    #: By name.
    rules: dict[str, Rule]
    #: Named views, by name.
    views: dict[str, View] = {}


def load(app: ModuleType | Path | str | None) -> Application:
    """Find an application's definitions: of a module, of a Python file, or of an importable name.

    Raises StartFailed where it cannot be imported, or defines a thing twice.
    """
    if app is None:
        return Application("", (), {}, {})
    module = app if isinstance(app, ModuleType) else _imported(str(app))
    departments = _unique(module, Department, attrgetter("code"), "departments", "code")
    rules = _unique(module, Rule, attrgetter("name"), "rules called", "name=")
    views = _unique(module, View, attrgetter("name"), "views called", "name=")
    models: dict[str, type[Actor]] = {}
    for each in vars(module).values():
        if isinstance(each, type) and issubclass(each, Actor) and each is not Actor:
            if models.get(each.__name__, each) is not each:
                raise StartFailed(f"{module.__name__} defines two models called {each.__name__}; rename one")
            models[each.__name__] = each
    for department in departments.values():
        for model in department.receives or ():
            if isinstance(model, type):
                models.setdefault(model.__name__, model)
    return Application(module.__name__, tuple(departments[code] for code in sorted(departments)), models, rules, views)


def _unique(module: ModuleType, kind: type[T], key: Callable[[T], K], twice: str, advice: str) -> dict[K, T]:
    """What a module defines of one kind, by its key; raises StartFailed where two share one."""
    found: dict[K, T] = {}
    for each in _defined(module):
        if isinstance(each, kind):
            name = key(each)
            if found.get(name, each) is not each:
                raise StartFailed(f"{module.__name__} has two {twice} {name}; give one of them another {advice}")
            found[name] = each
    return found


def _defined(module: ModuleType) -> Iterator[object]:
    """What has a name in the module, also within its lists and tuples: many departments may be alike."""
    for value in vars(module).values():
        yield from value if isinstance(value, list | tuple) else (value,)


def is_file(app: str) -> bool:
    """Whether an application is named by its file; else by its module's name."""
    return app.endswith(".py")


def _imported(name: str) -> ModuleType:
    path = Path(name)
    if not is_file(name):
        try:
            return importlib.import_module(name)
        except ImportError as error:
            raise StartFailed(f"the application {name} cannot be imported: {error}") from error
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise StartFailed(f"there is no application at {path}")
    module = importlib.util.module_from_spec(spec)
    # Classes look their module up by name, for their annotations.
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise StartFailed(f"the application {path} fails when it is imported: {error!r}") from error
    return module
