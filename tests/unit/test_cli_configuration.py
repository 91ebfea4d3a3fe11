"""A node's configuration: read back as it was written, and every mistake in it named at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peaceriver.errors import StartFailed
from peaceriver.node.configuration import LOOPBACK, Listen, NodeConfiguration, read_configuration, written

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def read(folder: Path, text: str) -> NodeConfiguration:
    path = folder / "node.toml"
    path.write_text(text, "utf-8")
    return read_configuration(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configuration")


@given(
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", fullmatch=True),
    host=st.sampled_from(LOOPBACK),
    port=st.integers(0, 65535),
    dsn=texts,
    app=st.none() | texts.map(lambda text: f"/{text}"),
)
def test_what_is_written_is_read_back(folder: Path, name: str, host: str, port: int, dsn: str, app: str | None) -> None:
    configuration = NodeConfiguration(name=name, listen=Listen(host=host, port=port), dsn=dsn, app=app)
    assert read(folder, written(configuration)) == configuration


def test_paths_are_relative_to_the_file(folder: Path) -> None:
    configuration = read(folder, 'data = "n1"\napp = "shop.py"\n')
    assert (configuration.data, configuration.app) == (str(folder / "n1"), str(folder / "shop.py"))
    assert (configuration.name, configuration.listen) == ("n1", Listen(host="127.0.0.1", port=7400))


def test_an_application_is_a_file_or_a_modules_name(folder: Path) -> None:
    assert read(folder, 'data = "n1"\napp = "company.shop"\n').app == "company.shop"
    assert read(folder, 'data = "n1"\napp = "shop.py"\n').app == str(folder / "shop.py")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("nme = 'x'\nname = 5\ndata = 'd'\n", ["there is no nme", "name: Expected `str`, got `int`"]),
        (
            "data = 'd'\nlisten = { hots = 'x', port = 'y' }\n",
            ["there is no listen.hots", "listen.port: Expected `int`"],
        ),
        ("data = 'd'\nlisten = 5\n", ["listen: Expected `object`, got `int`"]),
        (
            "data = 'd'\nlisten = { host = '0.0.0.0', port = 65536 }\n",
            ["0.0.0.0 is not loopback", "65536 does not lie"],
        ),
        ("data = 'd'\nname = 'a/b'\n", ["name: letters, digits"]),
        ("data = 'd'\ndsn = 'x'\n", ["give either data (a directory) or dsn (a database)"]),
        ("", ["give either data (a directory) or dsn (a database)"]),
        ("data = ''\napp = ''\n", ["data: must not be empty", "app: must not be empty"]),
        ("data = ", ["is not TOML"]),
    ],
)
def test_every_mistake_is_named_at_once(folder: Path, text: str, named: list[str]) -> None:
    with pytest.raises(StartFailed) as caught:
        read(folder, text)
    for each in named:
        assert each in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    with pytest.raises(StartFailed, match=r"nowhere\.toml cannot be read: No such file"):
        read_configuration(folder / "nowhere.toml")
    (folder / "latin.toml").write_bytes(b'name = "\xe4"')
    with pytest.raises(StartFailed, match="is not TOML"):
        read_configuration(folder / "latin.toml")
