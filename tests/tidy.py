"""The house's style as checks: pure functions from texts to findings, one sentence each, ``file:line: what is wrong``.

Only what no formatter, linter or type checker looks at is here. ``test_tidy.py`` runs them over the tree, and over
planted violations of each.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import PurePosixPath
from typing import TypeVar

Node = TypeVar("Node", bound=ast.AST)
#: A text file: its path in the tree, with slashes, and what it says.
Texts = Mapping[str, str]

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
LINE_LETTERS_MAX = 120

_BANNED = re.compile(r"(Manager|Helper|Util|Utils|Handler|Service)s?$")
_BANNED_FILES = {"common", "handlers", "helpers", "manager", "misc", "service", "services", "util", "utils"}
#: Written apart, so that this file passes its own check.
_UNDONE = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")
_MACHINE_PATH = re.compile(r"(?<![\w.])/(root|home|Users|work)/(?!linuxbrew)\w")
_SUPPRESSION = re.compile(r"#\s*(?:noqa(?::\s*[A-Z]+[0-9]+(?:,\s*[A-Z]+[0-9]+)*)?|type:\s*ignore(?:\[[^\]]*\])?)(.*)")
_SUFFIXES = {".py", ".sql", ".md", ".toml", ".txt", ".json", ".typed", ".csv", ".xes", ".jsonocel"}
_NAMES = {"Makefile", "LICENSE", ".gitignore", ".ci/run"}


def long_modules(texts: Texts) -> Iterator[str]:
    for path, text in texts.items():
        if (lines := text.count("\n")) > MODULE_LINES_MAX:
            yield f"{path}:1: the module has {lines} lines and may have {MODULE_LINES_MAX}"


def long_functions(texts: Texts) -> Iterator[str]:
    functions: list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]] = [
        *_nodes(texts, ast.FunctionDef),
        *_nodes(texts, ast.AsyncFunctionDef),
    ]
    for path, node in functions:
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > FUNCTION_LINES_MAX:
            yield f"{path}:{node.lineno}: {node.name} has {lines} lines and may have {FUNCTION_LINES_MAX}"


def banned_names(texts: Texts) -> Iterator[str]:
    for path, node in _nodes(texts, ast.ClassDef):
        if match := _BANNED.search(node.name):
            yield f"{path}:{node.lineno}: {node.name!r} says {match[1]!r}, which says nothing; name what it is"
    for path in texts:
        if PurePosixPath(path).stem in _BANNED_FILES:
            yield f"{path}:1: a drawer for everything; name the module after what it is about"


def undone(texts: Texts) -> Iterator[str]:
    yield from _lines_with(_UNDONE, texts, "do it, or file an issue")


def machine_paths(texts: Texts) -> Iterator[str]:
    yield from _lines_with(_MACHINE_PATH, texts, "this path is somebody's own machine")


def long_lines(texts: Texts) -> Iterator[str]:
    for path, number, line in _lines(texts):
        if len(line) > LINE_LETTERS_MAX:
            yield f"{path}:{number}: the line has {len(line)} letters and may have {LINE_LETTERS_MAX}"


def bare_suppressions(texts: Texts) -> Iterator[str]:
    for path, number, line in _lines(texts):
        match = _SUPPRESSION.search(line)
        if match and len(re.findall(r"\w", match[1])) < 10:
            yield f"{path}:{number}: an exception from a rule carries its reason on the line"


def broad_excepts(texts: Texts) -> Iterator[str]:
    """Only the outermost loop of a task may catch everything, and says on the line what becomes of the failure."""
    for path, node in _nodes(texts, ast.ExceptHandler):
        caught = [] if node.type is None else list(ast.walk(node.type))
        broad = node.type is None or any(
            isinstance(each, ast.Name) and each.id in {"Exception", "BaseException"} for each in caught
        )
        raises = any(isinstance(each, ast.Raise) for statement in node.body for each in ast.walk(statement))
        line = texts[path].splitlines()[node.lineno - 1]
        if broad and not raises and "# outermost:" not in line:
            yield f"{path}:{node.lineno}: catches everything; catch what can happen, or say '# outermost: why'"


def forbidden_imports(texts: Texts, forbidden: Collection[str], why: str) -> Iterator[str]:
    """``forbidden`` are top-level modules."""
    for path, number, name in _imports(texts):
        if name.partition(".")[0] in forbidden:
            yield f"{path}:{number}: imports {name}; {why}"


_CLOCKS = {
    "now",
    "utcnow",
    "today",
    "time",
    "time_ns",
    "monotonic",
    "perf_counter",
    "urandom",
    "uuid1",
    "uuid4",
    "random",
}


def clocks_and_chance(texts: Texts) -> Iterator[str]:
    """What the language says must not depend on when, or on luck."""
    for path, node in _nodes(texts, ast.Call):
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
        owner = called.value.id if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) else ""
        if name in _CLOCKS and (owner in {"", "datetime", "date", "time", "os", "random", "uuid"}):
            yield f"{path}:{node.lineno}: asks {owner and owner + '.'}{name}; time and chance come in as arguments"


def dead_modules(texts: Texts, entry_points: Collection[str]) -> Iterator[str]:
    """Modules of a package (paths below ``src``) that no other module names and that are no entry point."""
    modules = {_module(path): path for path in texts}
    named: set[str] = set(entry_points)
    for path, _, name in _imports(texts):
        # `from a import b` may name the module a.b or something in a.
        named |= {each for each in (name, name.rpartition(".")[0]) if each != _module(path)}
    for path, node in _nodes(texts, ast.Constant):
        if isinstance(node.value, str) and node.value in modules and node.value != _module(path):
            named.add(node.value)
    for module, path in modules.items():
        is_package = path.endswith("/__init__.py")
        if not is_package and not module.endswith(".__main__") and module not in named:
            yield f"{path}:1: nothing imports it; use it or remove it"


_STATEMENT = re.compile(r"^-- (\w+) --$")
_LOADED = re.compile(r"""^(\w+) = Statements\(\s*"[\w.]+",\s*"(\w+)"\s*\)""", re.MULTILINE)


def sql_without_reason(texts: Texts) -> Iterator[str]:
    for path, text in texts.items():
        lines = text.splitlines()
        seen: set[str] = set()
        for number, line in enumerate(lines, start=1):
            if not (match := _STATEMENT.match(line)):
                continue
            if match[1] in seen:
                yield f"{path}:{number}: two statements are called {match[1]}"
            seen.add(match[1])
            following = lines[number] if number < len(lines) else ""
            if not re.match(r"-- \w", following) or _STATEMENT.match(following):
                yield f"{path}:{number}: {match[1]} says on the next line why it is there"


def sql_names(sql: Texts, python: Texts) -> Iterator[str]:
    """Statements that nobody uses, and uses of statements that do not exist.

    A file's statements are the attributes of a module's ``name = Statements(package, file)``, and of its imports.
    """
    there = {
        (PurePosixPath(path).stem, match[1]): f"{path}:{number}"
        for path, number, line in _lines(sql)
        if (match := _STATEMENT.match(line))
    }
    used: set[tuple[str, str]] = set()
    for path, line, file, name in _sql_uses(python):
        used.add((file, name))
        if (file, name) not in there:
            yield f"{path}:{line}: there is no statement {name} in {file}.sql"
    for key in there.keys() - used:
        yield f"{there[key]}: nobody uses {key[1]}"


def _sql_uses(python: Texts) -> Iterator[tuple[str, int, str, str]]:
    """Path, line, file and name of every use of a statement."""
    loaded = [(_module(path), match[1], match[2]) for path, text in python.items() for match in _LOADED.finditer(text)]
    for path, text in python.items():
        known = {variable: file for module, variable, file in loaded if module == _module(path)}
        for _, node in _nodes({path: text}, ast.ImportFrom):
            for each in node.names:
                imported, alias = f"{node.module}.{each.name}", each.asname or each.name
                for module, variable, file in loaded:
                    if imported == f"{module}.{variable}":
                        known[alias] = file
                    elif imported == module:
                        known[f"{alias}.{variable}"] = file
        for _, use in _nodes({path: text}, ast.Attribute):
            if (owner := ast.unparse(use.value)) in known:
                yield path, use.lineno, known[owner], use.attr


def stray_files(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        if path not in _NAMES and PurePosixPath(path).suffix not in _SUFFIXES:
            yield f"{path}:1: the tree holds no files of this type"


def pages_and_problems(titles: Mapping[str, str], pages: Texts) -> Iterator[str]:
    """Every problem has a page under its title, and every page a problem; both by slug."""
    for slug in sorted(titles.keys() | pages.keys()):
        page = f"src/peaceriver/api/problems/{slug}.md:1:"
        if slug not in pages:
            yield f"{page} is missing; the problem {slug} points at it"
        elif slug not in titles:
            yield f"{page} no problem points at it"
        elif not pages[slug].startswith(f"# {titles[slug]}\n"):
            yield f"{page} begins otherwise than with '# {titles[slug]}', the problem's title"


def _lines(texts: Texts) -> Iterator[tuple[str, int, str]]:
    for path, text in texts.items():
        for number, line in enumerate(text.splitlines(), start=1):
            yield path, number, line


def _lines_with(pattern: re.Pattern[str], texts: Texts, why: str) -> Iterator[str]:
    for path, number, line in _lines(texts):
        if match := pattern.search(line):
            yield f"{path}:{number}: {match[0]!r}: {why}"


def _nodes(texts: Texts, *kinds: type[Node]) -> Iterator[tuple[str, Node]]:
    for path, text in texts.items():
        for node in ast.walk(_tree(text)):
            if isinstance(node, kinds):
                yield path, node


@cache
def _tree(text: str) -> ast.Module:
    return ast.parse(text)


def _imports(texts: Texts) -> Iterator[tuple[str, int, str]]:
    for path, plain in _nodes(texts, ast.Import):
        for each in plain.names:
            yield path, plain.lineno, each.name
    for path, node in _nodes(texts, ast.ImportFrom):
        for each in node.names:
            yield path, node.lineno, f"{node.module}.{each.name}"


def _module(path: str) -> str:
    """The dotted name of a module below ``src``."""
    return path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
