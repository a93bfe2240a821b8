"""Metrics in Prometheus' text format: of this process's requests, and of the database's devices, load balancers and
deployments, which every process of the service tells alike."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator
from functools import lru_cache

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from balancer.api.policy import ADMIN, Rule
from balancer.api.response import Response, of_type
from balancer.api.wsgi import Request, Route, Table
from balancer.core.model import Caller, Figures
from balancer.core.service import Service
from balancer.core.status import LoadBalancerStatus, device_status, status_of

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
_REQUESTS = Counter(
    "balancer_http_requests", "Requests answered by this process.", ("method", "route", "status"), registry=REGISTRY
)
_SECONDS = Histogram(
    "balancer_http_request_duration_seconds",
    "Time from the head of a request to its answer, waiting for a deployment included.",
    ("method", "route"),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    registry=REGISTRY,
)
# Whoever makes up methods shall not make up series.
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")


def request(method: str, route: str, status: str, seconds: float) -> None:
    """Count one. `route` is its path in the table, empty for none."""
    counter, histogram = _series(method if method in _METHODS else "other", route or "none", status)
    counter.inc()
    histogram.observe(seconds)


@lru_cache(maxsize=2000)
def _series(method: str, route: str, status: str) -> tuple[Counter, Histogram]:
    return _REQUESTS.labels(method, route, status), _SECONDS.labels(method, route)


class _Database(Collector):
    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        figures = self._figures
        yield GaugeMetricFamily(
            "balancer_workers", "Workers that are alive and not switched off.", value=len(figures.workers)
        )
        yield GaugeMetricFamily(
            "balancer_devices_waiting", "Devices with a change to be deployed.", value=figures.waiting_devices
        )
        yield GaugeMetricFamily(
            "balancer_devices_waiting_longest_seconds",
            "How long the device that has waited longest has had a change to be deployed.",
            value=figures.longest_wait,
        )
        devices = Tally((device_status(each)[0].value, each.admin_state.value) for each in figures.devices)
        family = GaugeMetricFamily("balancer_devices", "Devices.", labels=("status", "admin_state"))
        for labels, number in sorted(devices.items()):
            family.add_metric(labels, number)
        yield family
        balancers = Tally[LoadBalancerStatus]()
        for group in figures.load_balancers:
            status = status_of(group.generation, group.applied_generation, failed=group.failed)
            balancers[status] += group.number
        family = GaugeMetricFamily("balancer_load_balancers", "Load balancers.", labels=("status",))
        for each in LoadBalancerStatus:
            family.add_metric((each.value,), balancers[each])
        yield family
        yield from self._deployments()

    def _deployments(self) -> Iterator[Metric]:
        labels = ("device", "outcome", "plan")
        number = CounterMetricFamily("balancer_deployments", "Deployments, repeated ones included.", labels=labels)
        seconds = SummaryMetricFamily("balancer_deployment_duration_seconds", "Time they took.", labels=labels)
        for each in self._figures.deployments:
            values = (each.device_id, each.outcome.value.lower(), each.plan or "none")
            number.add_metric(values, each.number)
            seconds.add_metric(values, count_value=each.number, sum_value=each.seconds)
        yield number
        yield seconds


def text(service: Service, caller: Caller) -> bytes:
    """Raises `Forbidden` unless an administrator asks."""
    registry = CollectorRegistry()
    registry.register(_Database(service.figures(caller)))
    return generate_latest(REGISTRY) + generate_latest(registry)


def table(service: Service) -> Table:
    def show(request: Request) -> Response:
        return of_type(CONTENT_TYPE_LATEST, text(service, request.caller))

    return {"/metrics": {"GET": Route(Rule("balancer:metrics:show", ADMIN), show)}}
