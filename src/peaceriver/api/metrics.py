"""What Prometheus sees of a node: its own registry, so that two nodes in one process do not add up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.responses import Response

from peaceriver.api.asked import Asked
from peaceriver.api.context import Context
from peaceriver.errors import Refused
from peaceriver.node.node import Node
from peaceriver.shard.proposal import Sent, Spooled
from peaceriver.shard.shard import DELIVERY

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
#: From a message alone on a fast disk to a full batch behind a slow one.
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """Counts what passes this node's HTTP API, and shows where its departments stand."""

    def __init__(self, node: Node) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "peaceriver_http_requests",
            "Requests answered",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._request_seconds = Histogram(
            "peaceriver_http_request_seconds",
            "From the head of a request to the end of its answer",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._messages = Counter(
            "peaceriver_messages", "Messages by what became of them", ("outcome",), registry=self.registry
        )
        self._append_seconds = Histogram(
            "peaceriver_append_seconds",
            "From a message that was read to its receipt: admission, queue, transaction",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.registry.register(_Departments(node))
        # Looking a child up by its labels costs more than counting, so each is looked up once.
        self._answered: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._sent: dict[str, Counter] = {}

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        key = (method if method in _METHODS else "other", route, status)
        counters = self._answered.get(key)
        if counters is None:
            counters = self._requests.labels(key[0], route, str(status)), self._request_seconds.labels(route)
            self._answered[key] = counters
        counters[0].inc()
        counters[1].observe(seconds)

    def sent(self, outcomes: Iterable[Sent], seconds: float) -> None:
        self._append_seconds.observe(seconds)
        for each in outcomes:
            name = _named(each)
            counter = self._sent.get(name)
            if counter is None:
                counter = self._sent[name] = self._messages.labels(name)
            counter.inc()


def _named(outcome: Sent) -> str:
    if isinstance(outcome, Refused):
        return outcome.slug
    if isinstance(outcome, Spooled):
        return "spooled"
    return "duplicate" if outcome.duplicate else "recorded"


class _Departments(Collector):
    """Where each department stands, read when Prometheus asks."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterator[Metric]:
        position = GaugeMetricFamily("peaceriver_journal_position", "The journal's last position", labels=("shard",))
        complete = GaugeMetricFamily("peaceriver_journal_complete", "How far it is complete", labels=("shard",))
        view_lag = GaugeMetricFamily("peaceriver_view_lag_records", "Complete and not yet folded", labels=("shard",))
        taken_in = GaugeMetricFamily(
            "peaceriver_delivery_position", "How far what a source sent has been taken in", labels=("shard", "source")
        )
        waiting = GaugeMetricFamily("peaceriver_rule_waiting_records", "Not acted on yet", labels=("shard", "rule"))
        parked = GaugeMetricFamily(
            "peaceriver_rule_parked_actors", "Actors behind an exception", labels=("shard", "rule")
        )
        spooled = GaugeMetricFamily("peaceriver_spooled_messages", "Waiting here for a leader", labels=("shard",))
        leads = GaugeMetricFamily("peaceriver_leads", "1 where this node leads the department", labels=("shard",))
        epoch = GaugeMetricFamily("peaceriver_promised_epoch", "The epoch that is promised here", labels=("shard",))
        lag = GaugeMetricFamily(
            "peaceriver_replica_lag_records", "How far a follower of this leader is behind", labels=("shard", "node")
        )
        recovering = GaugeMetricFamily(
            "peaceriver_recovering", "1 where the replica here copies only and does not count", labels=("shard",)
        )
        for code, shard in self._node.shards.items():
            replica = self._node.replication.keepers[code].replica
            spooled.add_metric((str(code),), self._node.pending.spooled_for(code))
            leads.add_metric((str(code),), float(replica.leads is not None))
            epoch.add_metric((str(code),), replica.promised)
            recovering.add_metric((str(code),), float(replica.recovering))
            for name, behind in replica.lags().items():
                lag.add_metric((str(code), name), behind)
            for agent in self._node.agents.at(code):
                waiting.add_metric((str(code), agent.rule), agent.waiting)
                parked.add_metric((str(code), agent.rule), len(agent.parked))
            label = (str(code),)
            position.add_metric(label, shard.tip.position)
            complete.add_metric(label, shard.complete.value)
            view_lag.add_metric(label, shard.complete.value - shard.folded.value)
            for (reader, source), mark in shard.marks.items():
                if reader == DELIVERY:
                    taken_in.add_metric((str(code), str(source)), mark)
        damaged = GaugeMetricFamily("peaceriver_damaged", "Damaged here and not repaired", labels=("shard",))
        for code, shard in self._node.shards.items():
            damaged.add_metric((str(code),), len(shard.damage.known))
        yield from (position, complete, view_lag, taken_in, waiting, parked, spooled)
        yield from (leads, epoch, lag, recovering, damaged)
        incidents = CounterMetricFamily("peaceriver_incidents", "Damage found here", labels=("shard", "where"))
        for (code, part), number in self._node.verifying.found.items():
            incidents.add_metric((str(code), part), number)
        yield incidents

    def describe(self) -> Iterator[Metric]:
        """Nothing beforehand: departments come and go with the directory."""
        return iter(())


async def get(context: Context, asked: Asked) -> Response:
    """``GET /metrics``, in the text format of Prometheus."""
    return Response(generate_latest(context.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
