"""Style is a test: the tree follows the house's rules, and each rule is shown to find what it is there to find."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from peaceriver.errors import Refused
from tests import tidy

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
#: The lowest layer of the import contract is the language.
LANGUAGE = {each.strip(" ()\n") for each in PROJECT["tool"]["importlinter"]["contracts"][0]["layers"][-1].split(":")}
IMPURE = {
    "asyncio", "asyncpg", "http", "httpx", "os", "random", "secrets", "socket", "sqlalchemy", "starlette", "subprocess",
    "threading", "time", "uvicorn", "uvloop",
}  # fmt: skip
#: Part of the language is a query, and SQLAlchemy's expressions, which it is made of, are values.
QUERIES = "src/peaceriver/columns.py"


@cache
def tracked() -> tuple[str, ...]:
    """Every file of the tree that is kept or about to be, as git sees it."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip(f"this tree is no checkout: {listed.stderr.strip()[:200]}")
    return tuple(sorted(path for path in listed.stdout.split("\0") if path and (ROOT / path).is_file()))


def texts(*suffixes: str, under: str = "") -> dict[str, str]:
    paths = [path for path in tracked() if path.startswith(under) and path.endswith(suffixes)]
    return {path: (ROOT / path).read_text("utf-8") for path in paths}


def source() -> dict[str, str]:
    return texts(".py", under="src/")


def language() -> dict[str, str]:
    names = {f"src/peaceriver/{module}.py" for module in LANGUAGE}
    return {path: text for path, text in source().items() if path in names or "/protocol/" in path}


def refuse(findings: Iterator[str]) -> None:
    if found := sorted(findings):
        pytest.fail("\n".join(found), pytrace=False)


@pytest.mark.parametrize(
    "check", [tidy.long_modules, tidy.long_functions, tidy.banned_names, tidy.broad_excepts], ids=lambda it: it.__name__
)
def test_the_source_is_small_by_nature_and_says_what_it_means(check: Callable[[tidy.Texts], Iterator[str]]) -> None:
    refuse(check(source()))


@pytest.mark.parametrize("check", [tidy.undone, tidy.machine_paths], ids=lambda it: it.__name__)
def test_no_file_is_half_done_or_tells_of_a_machine(check: Callable[[tidy.Texts], Iterator[str]]) -> None:
    refuse(check(texts(".py", ".sql", ".md", ".toml", "Makefile", ".ci/run")))


def test_no_line_is_too_long_to_read_beside_another() -> None:
    # Prose is exempt: it has one sentence per line, so that a changed sentence is a changed line.
    refuse(tidy.long_lines(texts(".py", ".sql", ".toml", "Makefile", ".ci/run")))


def test_every_exception_from_a_rule_carries_its_reason() -> None:
    refuse(tidy.bare_suppressions(texts(".py")))


def test_the_language_and_the_protocol_know_no_clock_no_chance_and_no_wire() -> None:
    assert {"src/peaceriver/stamp.py", "src/peaceriver/message.py"} <= language().keys()
    why = "the language and the protocol are pure values and functions"
    others = {path: text for path, text in language().items() if path != QUERIES}
    refuse(tidy.forbidden_imports(others, IMPURE, why))
    refuse(tidy.forbidden_imports({QUERIES: language()[QUERIES]}, IMPURE - {"sqlalchemy"}, why))
    refuse(tidy.clocks_and_chance(language()))


def test_only_one_module_speaks_to_the_driver() -> None:
    others = {path: text for path, text in source().items() if not path.startswith("src/peaceriver/postgres/")}
    refuse(tidy.forbidden_imports(others, {"asyncpg"}, "peaceriver.postgres is the driver's only reader"))


#: Built and tested before their user: the replica that follows, gives way to a new leader, and offers what it had.
AWAITED = {"peaceriver.shard.offering"}


def test_no_module_is_dead() -> None:
    entry_points = {script.partition(":")[0] for script in PROJECT["project"]["scripts"].values()}
    refuse(tidy.dead_modules(source(), entry_points | AWAITED))


def test_every_statement_has_a_reason_and_a_user() -> None:
    sql = {path: text for path, text in texts(".sql", under="src/").items() if "/sql/" in path}
    assert sql
    refuse(tidy.sql_without_reason(sql))
    refuse(tidy.sql_names(sql, source()))


def test_no_stray_file_lies_in_the_tree() -> None:
    refuse(tidy.stray_files(tracked()))


def problems(of: type[Refused] = Refused) -> dict[str, str]:
    """The titles of all problems by slug."""
    found = {of.slug: of.title}
    for each in of.__subclasses__():
        found |= problems(each)
    return found


def test_every_problem_points_at_a_page_and_every_page_is_pointed_at() -> None:
    pages = {Path(path).stem: text for path, text in texts(".md", under="src/peaceriver/api/problems/").items()}
    refuse(tidy.pages_and_problems(problems(), pages))


# --- each check finds what it is there to find, and lets pass what is close to it


@pytest.mark.parametrize(
    ("check", "text", "found"),
    [
        (tidy.long_modules, "a = 1\n" * 401, ["1: the module has 401 lines"]),
        (tidy.long_modules, "a = 1\n" * 400, []),
        (tidy.long_functions, "def f():\n" + "    a = 1\n" * 70, ["1: f has 71 lines"]),
        (tidy.long_functions, "async def f():\n" + "    a = 1\n" * 70, ["1: f has 71 lines"]),
        (tidy.long_functions, "def f():\n" + "    a = 1\n" * 69, []),
        (tidy.banned_names, "class ShardManager: ...", ["1: 'ShardManager' says 'Manager'"]),
        (tidy.banned_names, "class StringUtils: ...", ["1: 'StringUtils' says 'Util'"]),
        (tidy.banned_names, "class Managed: ...\nclass ServiceLevel: ...", []),
        (tidy.undone, "a = 1  # TO" + "DO later", ["1: 'TO" + "DO'"]),
        (tidy.undone, "a = 1  # XX" + "XL, and todo lists", []),
        (tidy.machine_paths, "open('/ho" + "me/ada/log')", ["1: '/ho" + "me/a'"]),
        (tidy.machine_paths, "GET /shards/100/ho" + "me/work; a/ro" + "ot/b", []),
        (tidy.long_lines, "x" * 121, ["1: the line has 121 letters"]),
        (tidy.long_lines, "x" * 120, []),
        (tidy.bare_suppressions, "a = b  # no" + "qa: F821", ["1: an exception from a rule"]),
        (tidy.bare_suppressions, "a = b  # type: ig" + "nore[misc]", ["1: an exception from a rule"]),
        (tidy.bare_suppressions, "a = b  # type: ig" + "nore[misc]  # the stubs of b are wrong here", []),
        (tidy.broad_excepts, "try:\n  a()\nexcept Exception:\n  log()", ["3: catches everything"]),
        (tidy.broad_excepts, "try:\n  a()\nexcept:\n  log()", ["3: catches everything"]),
        (tidy.broad_excepts, "try:\n  a()\nexcept (OSError, BaseException) as e:\n  log(e)", ["3: catches everything"]),
        (tidy.broad_excepts, "try:\n  a()\nexcept Exception as e:\n  raise B from e", []),
        (tidy.broad_excepts, "try:\n  a()\nexcept Exception:  # outermost: recorded, the mark stays\n  log()", []),
        (tidy.broad_excepts, "try:\n  a()\nexcept OSError:\n  log()", []),
        (tidy.clocks_and_chance, "a = datetime.now(UTC)", ["1: asks datetime.now"]),
        (tidy.clocks_and_chance, "a = 1\nb = uuid4()", ["2: asks uuid4"]),
        (tidy.clocks_and_chance, "a = random.random() + time.time()", ["1: asks random.random", "1: asks time.time"]),
        (tidy.clocks_and_chance, "a = stamp.time\nb = uuid5(x, y)\nc = row.time()", []),
        (tidy.sql_without_reason, "-- read --\nselect 1;", ["1: read says on the next line why"]),
        (tidy.sql_without_reason, "-- a --\n-- Why.\nselect 1;\n-- a --\n-- Why.\nselect 2;", ["4: two statements"]),
        (tidy.sql_without_reason, "-- a --\n-- Because.\nselect 1;", []),
    ],
)  # fmt: skip
def test_a_planted_violation_is_found(
    check: Callable[[tidy.Texts], Iterator[str]], text: str, found: list[str]
) -> None:
    findings = sorted(check({"x.py": text}))
    assert len(findings) == len(found), findings
    for finding, start in zip(findings, found, strict=True):
        assert finding.startswith(f"x.py:{start}"), finding


def test_a_drawer_for_everything_is_found_by_its_name() -> None:
    assert list(tidy.banned_names({"src/peaceriver/utils.py": "", "src/peaceriver/stamp.py": ""})) == [
        "src/peaceriver/utils.py:1: a drawer for everything; name the module after what it is about"
    ]


def test_a_forbidden_import_is_found_however_it_is_written() -> None:
    text = "import asyncpg\nfrom asyncpg.pool import Pool\ndef f():\n    import asyncpg.types\nfrom x import asyncpg\n"
    found = list(tidy.forbidden_imports({"x.py": text}, {"asyncpg"}, "no"))
    assert sorted(finding.split(":")[1] for finding in found) == ["1", "2", "4"]


def test_a_module_that_nothing_names_is_dead() -> None:
    tree = {
        "src/p/__init__.py": "from p import used",
        "src/p/used.py": "import p.asked",
        "src/p/asked.py": "RUN = ['python', '-m', 'p.run']",
        "src/p/run.py": "",
        "src/p/start.py": "",
        "src/p/dead.py": "import p.dead",
    }
    assert list(tidy.dead_modules(tree, {"p.start"})) == ["src/p/dead.py:1: nothing imports it; use it or remove it"]


def test_statements_that_nobody_uses_and_uses_of_none_are_found() -> None:
    sql = {"src/p/sql/a.sql": "-- one --\n-- Why.\nselect 1;\n-- two --\n-- Why.\nselect 2;"}
    sql["src/p/sql/b.sql"] = "-- one --\n-- Why.\nselect 1;\n"
    python = {
        "src/p/journal.py": 'sql = Statements("p", "a")\nsql.one.rows(tx)\n',
        "src/p/view.py": "from p import journal, other\njournal.sql.three.rows(tx)\nother.sql.four\n",
        "src/p/folds.py": "from p.journal import (\n    fold,\n    sql as read,\n)\nread.five.rows(tx)\n",
    }
    assert sorted(tidy.sql_names(sql, python)) == [
        "src/p/folds.py:5: there is no statement five in a.sql",
        "src/p/sql/a.sql:4: nobody uses two",
        "src/p/sql/b.sql:1: nobody uses one",
        "src/p/view.py:2: there is no statement three in a.sql",
    ]


def test_a_stray_file_is_found() -> None:
    assert list(tidy.stray_files(["a.py", "Makefile", "core.dump", "src/x"])) == [
        "core.dump:1: the tree holds no files of this type",
        "src/x:1: the tree holds no files of this type",
    ]


def test_a_problem_without_a_page_a_page_without_a_problem_and_a_page_of_another_title_are_found() -> None:
    titles = {"busy": "The queue is full", "conflict": "It conflicts", "invalid": "Not acceptable"}
    pages = {"busy": "# The queue is full\n\nWait.\n", "gone": "# Gone\n", "invalid": "# Invalid\n"}
    assert [
        finding.removeprefix("src/peaceriver/api/problems/") for finding in tidy.pages_and_problems(titles, pages)
    ] == [
        "conflict.md:1: is missing; the problem conflict points at it",
        "gone.md:1: no problem points at it",
        "invalid.md:1: begins otherwise than with '# Not acceptable', the problem's title",
    ]
