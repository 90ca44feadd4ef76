"""Rounds and actions as OpenTelemetry traces and metrics, sent by OTLP over HTTP. Needs the extra `otel`.

One trace for each round, with a span for each action. Sending has threads of its own: a collector that is away or slow costs
a round nothing, and the SDK's log says so.
Source: OpenTelemetry specification, "OTLP Exporter" and "Trace SDK".
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from podbay import __version__
from podbay.errors import InvalidInputError
from podbay.extras import pip_install
from podbay.healer.acting import Done
from podbay.healer.reconciler import Round

__all__ = ["Telemetry"]

_SECONDS: Final = 5.0
"""That one request to the collector may take."""
_INTERVAL: Final = 15_000
"""Milliseconds between two reports of metrics."""


class Telemetry:
    """One process's. Raises InvalidInputError for an address that is none, and where OpenTelemetry is not installed."""

    def __init__(self, endpoint: str, *, deployment: str, interval: int = _INTERVAL) -> None:
        """endpoint: of the collector, without /v1/traces; interval: milliseconds between two reports of metrics."""
        if not endpoint.startswith(("http://", "https://")):
            raise InvalidInputError(
                f"--otlp {endpoint}: give the collector's address, such as http://localhost:4318"
            )
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise InvalidInputError(f"--otlp needs OpenTelemetry: {pip_install('otel')}") from error
        base = endpoint.rstrip("/")
        resource = Resource.create(
            {
                "service.name": "podbay-healer",
                "service.version": __version__,
                "podbay.deployment": deployment,
            }
        )
        self._traces = TracerProvider(resource=resource)
        sender = OTLPSpanExporter(endpoint=f"{base}/v1/traces", timeout=_SECONDS)
        self._traces.add_span_processor(BatchSpanProcessor(sender))
        self._tracer = self._traces.get_tracer("podbay.healer", __version__)
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(endpoint=f"{base}/v1/metrics", timeout=_SECONDS),
            export_interval_millis=interval,
        )
        self._metrics = MeterProvider(metric_readers=[reader], resource=resource)
        meter = self._metrics.get_meter("podbay.healer", __version__)
        self._rounds = meter.create_counter("podbay.healer.rounds", description="By result.")
        self._actions = meter.create_counter(
            "podbay.healer.actions", description="By check, deed and result."
        )
        self._duration = meter.create_histogram("podbay.healer.round.duration", unit="s")
        self._pods = meter.create_gauge("podbay.healer.pods", description="Task pods of the last round.")
        self._waiting = meter.create_gauge(
            "podbay.healer.waiting", description="Actions whose time has not come."
        )

    def round(self, last: Round, began: datetime, ended: datetime) -> None:
        """A round that was done, or held back."""
        stopped = last.decision.stopped
        span = self._tracer.start_span("heal", start_time=_nanoseconds(began))
        span.set_attributes(
            {
                "podbay.pods": last.pods,
                "podbay.waiting": len(last.decision.waiting),
                "podbay.stopped": stopped,
            }
        )
        for done in last.done:
            self._action(done, span, ended)
        span.end(end_time=_nanoseconds(ended))
        self._rounds.add(1, {"result": "stopped" if stopped else "done"})
        self._duration.record(last.seconds)
        self._pods.set(last.pods)
        self._waiting.set(len(last.decision.waiting))

    def failed(self, began: datetime, ended: datetime, why: str) -> None:
        """A round that the cluster refused."""
        from opentelemetry.trace import Status, StatusCode

        span = self._tracer.start_span("heal", start_time=_nanoseconds(began))
        span.set_status(Status(StatusCode.ERROR, why))
        span.end(end_time=_nanoseconds(ended))
        self._rounds.add(1, {"result": "failed"})

    def close(self) -> None:
        """Send what is left; a collector that does not answer is not waited for longer than one request."""
        self._traces.shutdown()
        self._metrics.shutdown(timeout_millis=_SECONDS * 1000)

    def _action(self, done: Done, parent: object, ended: datetime) -> None:
        from opentelemetry.trace import Span, Status, StatusCode, set_span_in_context

        assert isinstance(parent, Span)
        action = done.action
        began = done.began or ended
        span = self._tracer.start_span(
            action.deed, context=set_span_in_context(parent), start_time=_nanoseconds(began)
        )
        span.set_attributes(
            {
                "k8s.namespace.name": action.namespace,
                f"k8s.{action.kind.lower()}.name": action.name,
                f"k8s.{action.kind.lower()}.uid": action.uid,
                "podbay.check": action.check,
                "podbay.result": done.result,
                "podbay.why": action.message,
            }
        )
        if action.cluster:
            span.set_attribute("k8s.cluster.name", action.cluster)
        if done.result == "failed":
            span.set_status(Status(StatusCode.ERROR, done.text))
        span.end(end_time=_nanoseconds(began) + int(done.seconds * 1e9))
        self._actions.add(1, {"check": action.check, "deed": action.deed, "result": done.result})


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1e9)
