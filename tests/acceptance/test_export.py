"""Journals and views as Parquet, read by DuckDB: all of it at one cutoff, exact, or not at all."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow.parquet as pq
import pytest

from peaceriver.answers import exact
from peaceriver.cli import export as command
from peaceriver.cli import exporting, parquet, terminal
from peaceriver.errors import Unreachable
from tests.acceptance.commands import Said, peaceriver
from tests.acceptance.door import Door

_SCHEMA = {
    "type": "object",
    "properties": {
        "customer": {"type": "string"},
        "total": {"type": "number"},
        "parts": {"type": "integer"},
        "huge": {"type": "number"},
        "never": {"type": "number"},
        "open": {"type": "boolean"},
        "at": {"type": "string", "format": "date-time"},
        "day": {"type": "string", "format": "date"},
        "shard": {"type": "string"},
        "Total": {"type": "string"},
        'it\'s a "name": 100%': {"type": "string"},
        "lines": {"type": "array"},
    },
}
_JSON = {"Content-Type": "application/json"}


class Shop:
    """Two departments with sales, and a type without a model."""

    def __init__(self, door: Door, folder: Path) -> None:
        self.door = door
        self.folder = folder
        #: The department and the id of each parcel.
        self.ids: list[tuple[int, str]] = []
        self.north, self.south = door.department(), door.department()
        assert door.http.put("/directory/models/Parcel", json=_SCHEMA).status_code in (200, 201)
        for number in range(1, 8):
            code = (self.north, self.south)[number % 2]
            text = (
                f'{{"customer": "ÄB\\n{number}",  "total": {number}.10, "parts": {number}, "huge": 1e{number * 6},'
                f' "open": {"true" if number > 2 else "false"}, "at": "2026-11-0{number}T08:00:00.123456+01:00",'
                f' "day": "2026-11-0{number}", "shard": "s", "Total": "t", "lines": [1.0, 12345678901234567890]}}'
            )
            answer = door.http.post(f"/shards/{code}/Parcel", content=text.encode(), headers=_JSON).raise_for_status()
            self.ids.append((code, answer.json()["actor"].partition("/")[2]))
        last = door.create(self.south, "Loose/L-1", {"a": [1, "x"]})
        door.send(
            {"from": self.north, "to": self.south, "actor": "Loose/L-2", "action": "create", "body": {}}
        ).raise_for_status()
        door.receipt({"to": self.south, "actor": "Loose/L-1", "action": "cancel", "body": {"reason": "none"}})
        self.after = last["stamp"]

    def export(self, name: str, *arguments: str) -> Said:
        where = ("--shards", f"{self.north},{self.south}", "--models", "Parcel,Loose")
        return peaceriver("export", str(self.folder / name), *where, *arguments, url=self.door.url)

    def told(self, name: str) -> Any:
        return exact((self.folder / name / "export.json").read_bytes())

    def sql(self, statement: str, name: str = "out") -> list[tuple[Any, ...]]:
        """Ask DuckDB: $journal and $TYPE stand for the files."""
        for each in ("Parcel", "Loose"):
            files = f"{self.folder}/{name}/views/{each}/*/*.parquet"
            statement = statement.replace(f"${each}", f"read_parquet('{files}', hive_partitioning = true)")
        files = f"{self.folder}/{name}/journal/*/*.parquet"
        return duckdb.sql(
            statement.replace("$journal", f"read_parquet('{files}', hive_partitioning = true)")
        ).fetchall()

    def ask(self, sql: str, as_of: str) -> list[list[Any]]:
        question = {"sql": sql, "as_of": as_of, "shards": [self.north, self.south]}
        answer = self.door.http.post("/query", json=question)
        rows: list[list[Any]] = exact(answer.raise_for_status().content)["rows"]
        return rows


@pytest.fixture
def shop(door: Door, tmp_path: Path) -> Shop:
    return Shop(door, tmp_path)


def nothing_but(folder: Path, *names: str) -> bool:
    return {each.name for each in folder.iterdir()} == set(names)


def test_everything_is_there_once_and_joins(shop: Shop) -> None:
    said = shop.export("out")
    assert said.code == 0, said.err
    assert nothing_but(shop.folder, "out")
    told = shop.told("out")
    assert f"as of {told['as_of']}" in said.out
    counted = dict(shop.sql("select shard, count(*) from $journal group by shard"))
    assert {str(code): number for code, number in counted.items()} == told["journal"]["shards"]
    assert told["journal"]["shards"] == {str(code): position for code, position in told["cutoff"]["positions"].items()}
    assert shop.sql("select shard, count(*) from $Parcel group by shard order by shard") == [
        (shop.north, 3),
        (shop.south, 4),
    ]
    assert shop.sql("select sum(total), sum(parts), max(typeof(total)) from $Parcel") == [
        (Decimal("28.70"), Decimal(28), "DECIMAL(18,2)")
    ]
    joined = shop.sql(
        "select j.action, j.type, v.customer, v.actor_stamp = j.stamp, v.document = j.body from $Parcel v"
        " join $journal j using (shard, actor_id) where j.actor_type = 'Parcel' and v.parts = 1"
    )
    assert joined == [("create", "Parcel.create", "ÄB\n1", True, True)]
    assert shop.sql("select actor_status, actor_version from $Loose where actor_id = 'L-1'") == [("cancelled", 2)]
    assert shop.sql("select \"from\" from $journal where actor = 'Loose/L-2' and kind = 'received'") == [(shop.north,)]


def test_the_files_say_what_the_api_says_at_the_cutoff(shop: Shop) -> None:
    assert shop.export("out").code == 0
    as_of = shop.told("out")["as_of"]
    columns = 'actor_id, actor_version, actor_status, actor_stamp, customer, total, parts, "open", document::text'
    ours = shop.sql(f"select {columns}, shard from $Parcel order by actor_id, shard")
    theirs = shop.ask(f'select {columns}, actor_shard from "Parcel" order by actor_id, actor_shard', as_of)
    assert ours == [tuple(each) for each in theirs]
    ours = shop.sql('select day::text, epoch_us("at"), "Total_2", shard_2 from $Parcel order by parts')
    theirs = shop.ask(
        'select day::text, (extract(epoch from at) * 1000000)::bigint, "Total", shard from "Parcel" order by parts',
        as_of,
    )
    assert ours == [tuple(each) for each in theirs]
    for code in (shop.north, shop.south):
        page = exact(shop.door.http.get(f"/shards/{code}/journal", params={"limit": "1000"}).content)["records"]
        until = shop.told("out")["journal"]["shards"][str(code)]
        names = [each for each in page[0] if each not in ("valid_at", "recorded_at", "body", "shard")]
        quoted = ", ".join(f'"{name}"' for name in names)
        ours = shop.sql(f"select {quoted} from $journal where shard = {code} order by position")
        assert ours == [tuple(each[name] for name in names) for each in page[:until]]
        bodies = shop.sql(f"select body from $journal where shard = {code} order by position")
        assert [exact(each) for (each,) in bodies] == [each["body"] for each in page[:until]]


def test_the_same_cutoff_gives_the_same_files_later(shop: Shop) -> None:
    assert shop.export("out").code == 0
    as_of = shop.told("out")["as_of"]
    code, actor_id = shop.ids[0]
    shop.door.modify(code, f"Parcel/{actor_id}", {"total": 10**30 + 1})
    shop.door.create(shop.north, "Parcel/new", {"total": 1})
    assert shop.export("again", "--as-of", as_of).code == 0
    files = {path.relative_to(shop.folder / "out"): path for path in (shop.folder / "out").rglob("*.*")}
    assert len(files) == 2 + 2 + 1 + 1
    for path, ours in files.items():
        assert (shop.folder / "again" / path).read_bytes() == ours.read_bytes(), path
    assert shop.export("later").code == 0
    assert shop.sql("select count(*) from $Parcel", "later") == [(8,)]
    about = pq.read_schema(next(iter((shop.folder / "out" / "views").rglob("*.parquet")))).metadata
    assert about[b"peaceriver.cutoff"].decode() == as_of


def test_numbers_are_exact_and_those_that_no_decimal_holds_are_text(shop: Shop) -> None:
    said = shop.export("out", "--no-journal")
    columns = {each["name"]: each for each in shop.told("out")["views"]["Parcel"]["columns"]}
    assert columns["total"]["type"] == "decimal128(18, 2)"
    assert columns["parts"]["type"] == columns["never"]["type"] == "decimal128(18, 0)"
    assert (columns["huge"]["type"], columns["huge"]["note"]) == (
        "string",
        "numbers as text: 43 digits before the point and 0 after it",
    )
    assert "huge: numbers as text" in said.out
    assert shop.sql("select huge::double = 1e42 from $Parcel where parts = 7") == [(True,)]
    assert "journal" not in shop.told("out")
    assert not (shop.folder / "out/journal").exists()


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["99999999999999999999999999999999999999"], "DECIMAL(38,0)", "99999999999999999999999999999999999999"),
        (["0.00000000000000000000000000000000000001"], "DECIMAL(38,38)", "1E-38"),
        (
            ["-12345678901234567890.123456789012345678", "1e3"],
            "DECIMAL(38,18)",
            "-12345678901234566890.123456789012345678",
        ),
        (["999999999999999.999"], "DECIMAL(18,3)", "999999999999999.999"),
        (["100000000000000000000000000000000000000"], "VARCHAR", None),
        (["1", "0.000000000000000000000000000000000000001"], "VARCHAR", None),
        (["2.5", "1.00000000000000000000"], "DECIMAL(38,20)", "3.5"),
        (["2", f"1.{'0' * 40}"], "VARCHAR", None),
    ],
)
def test_the_limits_of_decimals(door: Door, tmp_path: Path, values: list[str], kind: str, expected: str | None) -> None:
    code = door.department()
    model = f"Limit_{code}"
    schema = {"type": "object", "properties": {"n": {"type": "number"}}}
    door.http.put(f"/directory/models/{model}", json=schema).raise_for_status()
    for each in values:
        content = f'{{"n": {each}}}'.encode()
        last = door.http.post(f"/shards/{code}/{model}", content=content, headers=_JSON).raise_for_status()
    said = peaceriver(
        "export", str(tmp_path / "out"), "--models", model, "--shards", str(code), "--after", last.json()["stamp"],
        url=door.url,
    )  # fmt: skip
    assert said.code == 0, said.err
    files = f"read_parquet('{tmp_path}/out/views/{model}/*/*.parquet')"
    if expected is None:
        found = duckdb.sql(f"select n, typeof(n) from {files}").fetchall()
        assert sorted(Decimal(each) for each, _ in found) == sorted(map(Decimal, values))
        assert {each for _, each in found} == {kind}
    else:
        assert duckdb.sql(f"select sum(n), max(typeof(n)) from {files}").fetchall() == [(Decimal(expected), kind)]


def test_a_model_without_actors_has_one_empty_file(door: Door, tmp_path: Path) -> None:
    code = door.department()
    model = f"Empty_{code}"
    schema = {"type": "object", "properties": {"n": {"type": "number"}}}
    door.http.put(f"/directory/models/{model}", json=schema).raise_for_status()
    said = peaceriver("export", str(tmp_path / "out"), "--models", model, "--shards", str(code), "--json", url=door.url)
    assert said.code == 0, said.err
    assert said.json["views"][model]["rows"] == 0
    assert duckdb.sql(f"select n from '{tmp_path}/out/views/{model}/*/*.parquet'").fetchall() == []


def test_memory_holds_one_group_of_rows_and_one_page(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shop.export("out").code == 0
    as_of = shop.told("out")["as_of"]
    monkeypatch.setattr(parquet, "GROUP_ROWS_MAX", 2)
    monkeypatch.setattr(exporting, "PAGE_RECORDS_MAX", 3)
    assert shop.export("parts", "--as-of", as_of).code == 0
    for path in (shop.folder / "out").rglob("*.parquet"):
        parts = pq.ParquetFile(shop.folder / "parts" / path.relative_to(shop.folder / "out"))
        assert parts.num_row_groups == -(-parts.metadata.num_rows // 2)
        assert parts.read().equals(pq.read_table(path, partitioning=None))
    monkeypatch.setattr(parquet, "GROUP_ROWS_MAX", 1_000)
    monkeypatch.setattr(parquet, "GROUP_BYTES_MAX", 1)
    assert shop.export("bytes", "--as-of", as_of, "--no-journal").code == 0
    assert pq.ParquetFile(next((shop.folder / "bytes").rglob("*.parquet"))).metadata.row_group(0).num_rows == 1


def test_nothing_is_written_over_and_an_empty_directory_is_taken(shop: Shop) -> None:
    (shop.folder / "full").mkdir()
    (shop.folder / "full" / "mine").touch()
    (shop.folder / "file").touch()
    (shop.folder / "empty").mkdir()
    for name in ("full", "file"):
        said = shop.export(name)
        assert (said.code, "there is something already" in said.err) == (1, True)
    assert nothing_but(shop.folder / "full", "mine")
    missing = shop.export("no/such")
    assert (missing.code, "No such file or directory" in missing.err) == (1, True)
    assert shop.export("empty").code == 0
    assert nothing_but(shop.folder, "full", "file", "empty")


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (Unreachable("gone"), 3), (OSError(28, "full"), 1)]
)
def test_what_does_not_end_well_leaves_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    async def broken(self: Any, file: Any, *_: Any) -> None:
        assert not nothing_but(shop.folder)
        raise error

    monkeypatch.setattr(exporting.Export, "_view", broken)
    assert shop.export("out").code == code
    assert nothing_but(shop.folder)


def test_a_value_that_does_not_fit_is_refused_and_leaves_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = exporting._measured

    async def narrow(*args: Any) -> Any:
        view = await measured(*args)
        fields = tuple((name, msgspec.structs.replace(each, scale=0)) for name, each in view.fields)
        return exporting.View(view.actor_type, view.folder, fields, view.rows)

    monkeypatch.setattr(exporting, "_measured", narrow)
    said = shop.export("out")
    assert (said.code, "Parquet does not take a value of the column 'total': " in said.err) == (1, True), said.err
    assert nothing_but(shop.folder)


def test_a_view_that_comes_short_is_no_export(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = exporting._measured

    async def more(*args: Any) -> Any:
        view = await measured(*args)
        return exporting.View(view.actor_type, view.folder, view.fields, {code: n + 1 for code, n in view.rows.items()})

    monkeypatch.setattr(exporting, "_measured", more)
    said = shop.export("out")
    assert (said.code, "of 4 rows of Parcel" in said.err) == (3, True)
    assert nothing_but(shop.folder)


def test_without_pyarrow_it_says_what_to_install(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ("peaceriver.cli.exporting", "peaceriver.cli.parquet"):
        monkeypatch.delitem(sys.modules, each)
    monkeypatch.delattr("peaceriver.cli.exporting")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    said = shop.export("out")
    assert (said.code, "pip install 'peaceriver[export]'" in said.err) == (2, True)


@pytest.mark.parametrize("arguments", [("--format", "xml"), ("--no-journal", "--no-views"), ("--shards", "x")])
def test_wrong_usage_of_exports(door: Door, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert peaceriver("export", str(tmp_path / "out"), *arguments, url=door.url).code == 2


def test_what_is_not_there_cannot_be_exported(shop: Shop) -> None:
    said = shop.export("out", "--models", "Unheard")
    assert (said.code, "there is no model 'Unheard'" in said.err) == (1, True)
    future = shop.export("out", "--as-of", f"{shop.north}:1000000,{shop.south}:1")
    assert (future.code, "lies in the future" in future.err) == (1, True)
    assert nothing_but(shop.folder)


def test_before_there_was_any_department_there_is_nothing_to_export(door: Door, tmp_path: Path) -> None:
    said = peaceriver("export", str(tmp_path / "out"), "--as-of", "2020-01-01T00:00:00Z", url=door.url)
    assert (said.code, "nothing to export" in said.err) == (1, True)
    assert nothing_but(tmp_path)


def test_at_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "errors_console", terminal.Console(force_terminal=True, width=100))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with command._progress(10) as tell:
        tell("journal of 100", 10)
    assert "10/10" in capsys.readouterr().out


def test_names_of_folders_differ_for_those_who_do_not_tell_large_from_small() -> None:
    assert exporting._other_than({"order", "order_2"}, "Order") == "Order_3"
    assert exporting._other_than({"order"}, "Orders") == "Orders"


def test_departments_that_are_at_different_versions_of_a_model_are_exported_together(
    door: Door, tmp_path: Path
) -> None:
    codes = [door.department(), door.department()]
    model = f"Turned_{codes[0]}"
    for kind, code, value in (("number", codes[0], 5), ("string", codes[1], "five")):
        schema = {"type": "object", "properties": {"size": {"type": kind}}}
        door.http.put(f"/directory/models/{model}", json=schema).raise_for_status()
        last = door.create(code, f"{model}/1", {"size": value})
        door.get(f"/shards/{code}/{model}/1", after=last["stamp"])
    where = ("--models", model, "--shards", ",".join(map(str, codes)), "--no-journal")
    said = peaceriver("export", str(tmp_path / "out"), *where, url=door.url)
    assert said.code == 0, said.err
    rows = duckdb.sql(f"select size, document from '{tmp_path}/out/views/{model}/*/*.parquet'").fetchall()
    assert {(size, *exact(document).values()) for size, document in rows} == {(None, 5), ("five", "five")}
