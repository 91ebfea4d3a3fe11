"""``peaceriver explain``: where an actor's records are from, and what they led to, in swim lanes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

from peaceriver.answers import Explanation
from peaceriver.cli import lanes
from peaceriver.cli.terminal import JsonOption, UrlOption, say, say_json, with_client
from peaceriver.client import DEFAULT_URL, Client
from peaceriver.errors import NotFound

Shown = Mapping[str, Any]


def explain(
    actor: Annotated[str, typer.Argument(metavar="ACTOR", help="TYPE/ID, as in Order/SO-1; or the stamp of a record.")],
    url: UrlOption = DEFAULT_URL,
    as_json: JsonOption = False,
) -> None:
    """Show what an actor's records follow from, what they led to, and which version of which rule made each."""

    async def work(client: Client) -> int:
        explained = await _explained(client, actor)
        if as_json:
            say_json([_public(each) for each in explained])
            return 0
        names = await client.departments()
        for each in explained:
            _tell(each, names)
        return 0

    with_client(url, work, as_json=as_json)


async def _explained(client: Client, actor: str) -> list[Explanation]:
    """One explanation for each message from outside that has touched the actor, the oldest first."""
    if "/" not in actor:
        return [await client.explain(actor)]
    actor_type, _, actor_id = actor.partition("/")
    held = (await client.find(actor_type, actor_id)).items
    if not held:
        raise NotFound(f"no department holds {actor}; `peaceriver journal` lists what there is")
    found = [each for at in held for each in await client.records(at.shard, actor_type, actor_id)]
    explained: dict[str, Explanation] = {}
    for record in sorted(found, key=lambda each: str(each["stamp"])):
        if record["root"] not in explained:
            explained[record["root"]] = await client.explain(record["stamp"])
    return list(explained.values())


def _tell(explained: Explanation, names: Mapping[int, str]) -> None:
    root = explained.root
    where = names.get(root["shard"], str(root["shard"]))
    who = "" if root["principal"] is None else f", by {root['principal']}"
    say(f"{root['type']} to {root['actor']} in {where}, {root['recorded_at']}{who}")
    for line in lanes.lines(explained.records, names):
        say(f"  {line}")
    for line in _rules(explained.records):
        say(f"  {line}")
    say("")


def _rules(records: Iterable[Shown]) -> list[str]:
    """Which rules took part, and in which version."""
    versions = sorted({(each["rule"], each["rule_version"]) for each in records if each["rule"] is not None})
    return [f"rules: {', '.join(f'{rule} (version {version})' for rule, version in versions)}"] if versions else []


def _public(explained: Explanation) -> dict[str, Any]:
    return {name: getattr(explained, name) for name in explained.__struct_fields__}
