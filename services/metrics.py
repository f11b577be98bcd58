"""Numbers about a running service, as Prometheus reads them at `/metrics`.

    workgym_requests_total{method, route, status}    requests answered; `none` where there was no answer
    workgym_request_seconds{method, route}           how long they took
    workgym_verbs_total{verb, outcome}               business verbs: `done`, or the reason of the refusal
    workgym_faults_total{kind}                       faults made on purpose (`workgym.services.faults`)
    workgym_worlds                                   worlds kept, with those that others are copied from
    workgym_database_up                              1 when the database answers
    workgym_database_connections{state}              of the pool: in_use, idle

Every label has as many values as the code has words for it. The numbers are of one process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated

from fastapi import FastAPI, Header, Response
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import QueuePool, func, select, table
from sqlalchemy.exc import DBAPIError

from workgym.services.kernel import InfrastructureFault
from workgym.services.storage import Database

PATH = "/metrics"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

_COUNT_WORLDS = select(func.count()).select_from(table("worlds"))  # of whichever service it is


class Metrics:
    """The counters of one application.

    Attributes:
        registry: theirs; a part of the hosting registers what it counts itself.
        requests: by method, route and status.
        seconds: by method and route.
        verbs: by verb and outcome.
        faults: by kind.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "workgym_requests", "Requests answered", ("method", "route", "status"), registry=registry
        )
        self.seconds = Histogram(
            "workgym_request_seconds",
            "How long requests took",
            ("method", "route"),
            buckets=SECONDS,
            registry=registry,
        )
        self.verbs = Counter("workgym_verbs", "Business verbs", ("verb", "outcome"), registry=registry)
        self.faults = Counter("workgym_faults", "Faults made on purpose", ("kind",), registry=registry)


class DatabaseMetrics(Collector):
    """What a database says when it is asked; one that does not answer is told, and fails nothing."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def collect(self) -> Iterator[Metric]:
        """Ask."""
        worlds: int | None = None
        with suppress(InfrastructureFault, DBAPIError), self.database.read() as tx:
            worlds = tx.connection.execute(_COUNT_WORLDS).scalar_one()
        if worlds is not None:
            yield GaugeMetricFamily("workgym_worlds", "Worlds kept", worlds)
        yield GaugeMetricFamily(
            "workgym_database_up", "Whether the database answers", float(worlds is not None)
        )
        pool = self.database.engine.pool
        if isinstance(pool, QueuePool):
            connections = GaugeMetricFamily(
                "workgym_database_connections", "Connections of the pool", labels=("state",)
            )
            connections.add_metric(("in_use",), pool.checkedout())
            connections.add_metric(("idle",), pool.checkedin())
            yield connections


def metrics_of(app: FastAPI) -> Metrics:
    """The counters of an application, the same for all its parts."""
    found = getattr(app.state, "metrics", None)
    if found is None:
        found = app.state.metrics = Metrics()
    assert isinstance(found, Metrics)
    return found


def show_metrics(app: FastAPI, database: Database) -> None:
    """Let Prometheus read the counters of an application at `/metrics`."""
    registry = metrics_of(app).registry
    registry.register(DatabaseMetrics(database))

    @app.get(
        PATH,
        tags=["telemetry"],
        summary="Read the metrics",
        response_class=Response,
        responses={200: {"description": "Samples", "content": {"text/plain": {}}}},
    )
    def read_metrics(accept: Annotated[str, Header()] = "") -> Response:
        """Samples in the text format of Prometheus, or as OpenMetrics where the reader accepts it."""
        encode, kind = choose_encoder(accept)
        return Response(encode(registry), media_type=kind)
