"""Figures for Prometheus: requests by route, payments posted, orders by state, pushes.

Each application has a registry of its own. Labels come from route templates, never from paths, so
that their number is bounded.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headend.domain.events import PushRefusal
from headend.ports.orders import StateCount
from headend.services.pushes import PushCounts

_LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
UNMATCHED = "unmatched"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The figures of one application."""

    def __init__(self, pushes: PushCounts | None = None) -> None:
        self.registry = CollectorRegistry()
        if pushes is not None:
            self.registry.register(_PushFigures(pushes))
        self.latency = Histogram(
            "headend_http_request_seconds",
            "Time from the request's head to the end of its answer.",
            ["method", "route", "status"],
            buckets=_LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self.payments_posted = Counter(
            "headend_payments_posted",
            "Payments posted by this process, repetitions not counted.",
            ["channel"],
            registry=self.registry,
        )
        self.orders = Gauge(
            "headend_supply_orders",
            "Supply orders by action and state.",
            ["action", "state"],
            registry=self.registry,
        )

    def render(self, counts: Iterable[StateCount]) -> bytes:
        """Return the exposition text with the orders as counted just now."""
        self.orders.clear()
        for count in counts:
            self.orders.labels(count.action, count.state).set(count.orders)
        return generate_latest(self.registry)


class _PushFigures(Collector):
    """Tells what came of the pushes that this process listened for."""

    def __init__(self, counts: PushCounts) -> None:
        self._counts = counts

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Return the counts by outcome: taken, hearsay, or why refused."""
        family = CounterMetricFamily(
            "headend_pushes", "Pushes heard by this process, by outcome.", labels=["outcome"]
        )
        family.add_metric(["taken"], self._counts.taken)
        family.add_metric(["hearsay"], self._counts.hearsay)
        for reason in PushRefusal:
            family.add_metric([reason.value], self._counts.refused[reason.value])
        return [family]


class RequestTimer:
    """Measures every request."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "OTHER"
            self._metrics.latency.labels(method, route_of(scope), str(status)).observe(
                time.perf_counter() - started
            )


class CountCache:
    """Keeps a count for a while: scraping must not load the database."""

    def __init__(self, keep_s: float = 5.0) -> None:
        self._keep_s = keep_s
        self._counts: Sequence[StateCount] = ()
        self._until = float("-inf")

    def get(self) -> Sequence[StateCount] | None:
        """Return the kept count, or None when it is too old."""
        return self._counts if time.monotonic() < self._until else None

    def put(self, counts: Sequence[StateCount]) -> None:
        """Keep a count."""
        self._counts, self._until = counts, time.monotonic() + self._keep_s


def route_of(scope: Scope) -> str:
    """Return the template of the matched route."""
    return str(getattr(scope.get("route"), "path", UNMATCHED))
