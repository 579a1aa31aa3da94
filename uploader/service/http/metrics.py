"""`/metrics`: what this process has done, and how the jobs of its store stand.

Names and types after Prometheus' conventions; docs/monitoring.md lists them.
"""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from uploader.core.job import Status
from uploader.runtime import METERS
from uploader.service.http.site import Site

_COUNTERS = {
    "bytes_confirmed": "Bytes that the storage service has confirmed.",
    "bytes_sent": "Bytes handed to sockets, including those sent again.",
    "bytes_resent": "Bytes that had been sent on the same session before.",
    "files_stored": "Files that the storage service has as a whole.",
    "jobs_set_aside": "Jobs that were left alone for a while: nothing could be written of them.",
    "leases_lost": "Jobs that another worker took over while this one held them.",
}


def add_routes(router: APIRouter, site: Site) -> None:
    """The one route."""
    registry = CollectorRegistry()
    registry.register(_Collector(site))

    @router.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Collector:
    def __init__(self, site: Site) -> None:
        self._site = site

    def describe(self) -> Iterator[Metric]:
        """Nothing: asking the store only to register would be a waste."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Every metric, as of now. Raises StoreError."""
        yield from _counted()
        yield _durations()
        yield from self._standing()

    def _standing(self) -> Iterator[Metric]:
        site, now = self._site, self._site.clock.now()
        jobs = GaugeMetricFamily(
            "uploader_jobs", "Jobs of this store by stage and status.", labels=["stage", "status"]
        )
        for (stage, status), count in site.jobs.counts().items():
            jobs.add_metric([stage, status], count)
        yield jobs
        oldest = site.jobs.oldest_waiting()
        waited_s = 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
        yield GaugeMetricFamily(
            "uploader_oldest_waiting_job_seconds",
            f"Since the oldest {Status.ACTIVE} job that no worker holds was last written.",
            value=waited_s,
        )
        yield GaugeMetricFamily(
            "uploader_workers", "Workers of this store that live.", value=len(site.jobs.workers())
        )
        if (turned_s := site.turned_s()) is not None:
            since_s = site.clock.boot_s() - turned_s
            yield GaugeMetricFamily(
                "uploader_heartbeat_timestamp_seconds",
                "When the worker's loop of this process last turned.",
                value=now.timestamp() - since_s,
            )


def _counted() -> Iterator[Metric]:
    for name, words in _COUNTERS.items():
        count = METERS.counts(name).get("", 0)
        yield CounterMetricFamily(f"uploader_{name}", words, value=count)
    retries = CounterMetricFamily(
        "uploader_retries", "Tries that failed and were put off, by reason.", labels=["reason"]
    )
    for reason, count in METERS.counts("retries").items():
        retries.add_metric([reason], count)
    yield retries


def _durations() -> Metric:
    requests = HistogramMetricFamily(
        "uploader_request_duration_seconds",
        "Requests to Fireworks and to the storage service, answered or not, by call.",
        labels=["call"],
    )
    for call, (counts, sum_s) in METERS.durations().items():
        buckets, so_far = [], 0
        for end_s, count in zip(METERS.ENDS_S, counts, strict=True):
            so_far += count
            buckets.append(("+Inf" if end_s == float("inf") else str(end_s), so_far))
        requests.add_metric([call], buckets, sum_value=sum_s)
    return requests
