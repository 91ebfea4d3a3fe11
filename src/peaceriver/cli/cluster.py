"""``peaceriver status`` and ``peaceriver verify``: how the cluster is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape

from peaceriver.answers import exact
from peaceriver.cli.terminal import (
    EXIT_REFUSED,
    JsonOption,
    UrlOption,
    complain,
    console,
    say,
    say_raw,
    table,
    with_client,
)
from peaceriver.client import DEFAULT_URL, Client
from peaceriver.limits import VERIFY_TIMEOUT_S
from peaceriver.wording import named

#: What a replica is where nothing is wrong.
_USUAL = ("leader", "follower", "learner")
#: What a follower may be behind by while a leader takes messages.
LAG_USUAL_RECORDS = 1_000
#: An operator does not wait longer for a node that hangs.
_STATUS_S = 5.0


def status(url: UrlOption = DEFAULT_URL, as_json: JsonOption = False) -> None:
    """Print every department: who leads it, how far it is, and what lags; exit code 1 where one has no leader."""

    async def read(client: Client) -> int:
        answer = await client.request("GET", "/cluster", margin_s=_STATUS_S)
        cluster = exact(answer)
        if as_json:
            say_raw(answer)
        else:
            _print_status(cluster)
        return 0 if all(each["leader"] for each in cluster["shards"]) else EXIT_REFUSED

    with_client(url, read, as_json=as_json)


def _print_status(cluster: Mapping[str, Any]) -> None:
    for node in cluster["nodes"]:
        say(_node_line(node, sum(_holds(node["name"], shard) for shard in cluster["shards"])))
    for line in troubles(cluster):
        say(line)
    numbers = ("shard", "epoch", "position", "complete", "replicas lag", "views lag", "rules lag", "parked")
    shown = table("shard", "department", "leader", *numbers[1:], right=numbers)
    for shard in cluster["shards"]:
        leader = shard["leader"] or "none"
        cells = (shard["shard"], shard["name"], leader, shard["epoch"], shard["position"], shard["complete"])
        rules = sum(each["waiting"] for each in shard["rules"]), sum(each["parked"] for each in shard["rules"])
        shown.add_row(*map(str, cells), *map(str, lags(shard)), *map(str, rules))
    console.print(shown)


def _holds(node: str, shard: Mapping[str, Any]) -> bool:
    return any(each["node"] == node for each in shard["replicas"])


def _node_line(node: Mapping[str, Any], holds: int) -> str:
    leaving = ""
    if node.get("leaving"):
        leaving = f", is leaving and still holds {holds}" if holds else ", is leaving and holds nothing: stop it"
    if not node["alive"]:
        since = f" since {node['since']}" if "since" in node else ""
        return f"{node['name']} {node['url']} away{since}{leaving}: {node.get('why', 'it does not answer')}"
    leads = len(node.get("leads", ()))
    why = f"; since {node['since']}: {node['why']}" if node.get("why") else ""
    return f"{node['name']} {node['url']} alive, leads {leads} department{'' if leads == 1 else 's'}{leaving}{why}"


def troubles(cluster: Mapping[str, Any]) -> list[str]:
    """What is not as it should be, with since when and why: one line for all departments that it is the same for.

    What a node holds that is away itself is not named: there is a line for the node. Neither is what a follower is
    behind by while it gets it.
    """
    away = {each["name"] for each in cluster["nodes"] if not each["alive"]}
    alike: dict[tuple[str, str, str], list[tuple[int, Mapping[str, Any]]]] = {}
    for shard in cluster["shards"]:
        for replica in shard["replicas"]:
            usual = replica["state"] in _USUAL
            is_behind = (replica["lag"] or 0) > LAG_USUAL_RECORDS
            if replica["node"] not in away and (not usual or is_behind or replica.get("why")):
                key = (replica["node"], replica["state"], replica.get("why") or "")
                alike.setdefault(key, []).append((shard["shard"], replica))
    headless = [shard["shard"] for shard in cluster["shards"] if shard["leader"] is None]
    found: list[str] = []
    if headless:
        waits = "what is sent there waits or is refused; reading goes on"
        found = [f"{named('department', headless)} without a leader: {waits}"]
    return [*found, *(_line(*key, held) for key, held in alike.items())]


def _line(node: str, state: str, why: str, held: Sequence[tuple[int, Mapping[str, Any]]]) -> str:
    usual = state in _USUAL
    since = min((each["since"] for _, each in held if each.get("since")), default=None)
    lag = max((each["lag"] or 0 for _, each in held), default=0)
    return (
        f"{named('department', [code for code, _ in held])} on {node}: {state}"
        + (f" since {since}" if since and (why or not usual) else "")
        + (f", {lag:,} records behind" if lag else "")
        + (f": {why}" if why else "")
    )


def lags(shard: Mapping[str, Any]) -> tuple[int, int]:
    """How many records the slowest replica and the views of a department are behind."""
    replicas = max((each["lag"] for each in shard["replicas"] if each["lag"] is not None), default=0)
    folded = shard["marks"].get("views", {}).get(str(shard["shard"]), shard["complete"])
    return replicas, shard["complete"] - folded


def verify(url: UrlOption = DEFAULT_URL, as_json: JsonOption = False) -> None:
    """Check every journal and every view on every node, and repair them; exit code 1 where damage is left."""

    async def check(client: Client) -> int:
        answer = await client.request("POST", "/cluster/verify", wait_s=VERIFY_TIMEOUT_S)
        found = exact(answer)
        if as_json:
            say_raw(answer)
        else:
            _print_verdicts(found)
        return 0 if found["ok"] else EXIT_REFUSED

    with_client(url, check, as_json=as_json)


def _print_verdicts(found: Mapping[str, Any]) -> None:
    for shard in found["shards"]:
        told = "are as they were written" if not shard["damaged"] else "REPAIRED" if shard["ok"] else "DAMAGED"
        say(f"{shard['shard']}: {shard['records']:,} records {told}")
    damaged = [(shard["shard"], each) for shard in found["shards"] for each in shard["damaged"]]
    if damaged:
        shown = table("node", "shard", "where", "place", "state", "detail", right=("shard",))
        for code, each in damaged:
            names = ("where", "place", "state", "detail")
            shown.add_row(each["node"], str(code), *(escape(each[name]) for name in names))
        console.print(shown)
    for node in found["nodes"]:
        if not node["verified"]:
            complain(f"{node['node']} was not verified: {node['detail']}")
    # Of a history of its own the row says what to do.
    left = sorted({code for code, each in damaged if each["state"] == "open" and each["where"] != "history"})
    if left:
        complain(
            f"{named('department', left)}: damaged, and not repaired from any node that answers; that is tried again "
            "by itself; if it cannot be, start that node with an empty directory, or restore one from a backup"
        )
