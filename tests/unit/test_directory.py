"""The directory in memory: it follows shard 0 whatever a page says."""

from __future__ import annotations

import pytest
import structlog

from peaceriver import jsontext
from peaceriver.directory import pages
from peaceriver.directory.directory import Directory
from peaceriver.directory.pages import VIEWS
from peaceriver.errors import Invalid
from peaceriver.record import Record


def published(position: int, name: str, definition: str) -> Record:
    page = {"definition": definition, "app": "", "active": True}
    return Record(
        0,
        position,
        position,
        1,
        position * 16,
        "received",
        actor_type=VIEWS,
        actor_id=name,
        action="create",
        message_type="create",
        actor_version=1,
        body=jsontext.write(page),
    )


def test_a_view_that_cannot_be_read_any_more_is_refused_when_it_is_asked_for_and_not_before() -> None:
    directory = Directory()
    odd = {"sql": "select pg_sleep(9)", "variables": {"n": "integer"}, "colour": "green"}
    directory.apply(published(1, "odd", jsontext.write(odd)))
    directory.apply(published(2, "none", "[]"))
    directory.apply(published(3, "sound", '{"sql":"select :n as n","variables":{"n":"integer"}}'))
    with structlog.testing.capture_logs() as told:
        assert [each.name for each in directory.readable_views()] == ["sound"]
        assert [each.name for each in directory.readable_views()] == ["sound"]
    assert [(each["view"], each["log_level"]) for each in told] == [("none", "warning"), ("odd", "warning")]
    for _ in range(2):
        with pytest.raises(Invalid, match="the view odd cannot be read any more"):
            assert directory.views["odd"].view
    shown = directory.views["odd"].public()
    assert shown == odd | {"description": "", "kept": False, "variables": {"n": {"type": "integer"}}}
    assert directory.views["sound"].public() == directory.views["sound"].view.public()
    assert directory.views["none"].public()["sql"] == ""


def test_a_view_that_cannot_be_read_is_not_let_in() -> None:
    for definition in ('{"sql":"select pg_sleep(9)"}', "[]", "{"):
        document = jsontext.write({"definition": definition, "app": "", "active": True})
        assert list(pages.offences(VIEWS, "odd", "create", document))
