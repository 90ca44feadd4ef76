"""What the healer exports by OpenTelemetry, read by a receiver of OTLP over HTTP with OpenTelemetry's own messages."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from healer_worlds import RULES, answer, pod, task, world
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from patience import eventually

from podbay.errors import InvalidInputError
from podbay.healer.acting import Done
from podbay.healer.decide import decide
from podbay.healer.reconciler import Round
from podbay.healer.telemetry import Telemetry

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Receiver:
    """What it was sent."""

    url: str = ""
    spans: list[Any] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)

    async def traces(self, request: web.Request) -> web.Response:
        found = ExportTraceServiceRequest.FromString(await _body(request))
        for each in found.resource_spans:
            self.resources.append(_attributes(each.resource.attributes))
            self.spans += [span for scope in each.scope_spans for span in scope.spans]
        return _protobuf(ExportTraceServiceResponse().SerializeToString())

    async def measures(self, request: web.Request) -> web.Response:
        found = ExportMetricsServiceRequest.FromString(await _body(request))
        for each in found.resource_metrics:
            for scope in each.scope_metrics:
                self.metrics |= {metric.name: metric for metric in scope.metrics}
        return _protobuf(ExportMetricsServiceResponse().SerializeToString())


async def _body(request: web.Request) -> bytes:
    # aiohttp has undone the compression already where it was asked for.
    raw = await request.read()
    return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw


def _protobuf(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/x-protobuf")


def _attributes(found: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in found}


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    app = web.Application()
    app.add_routes([web.post("/v1/traces", found.traces), web.post("/v1/metrics", found.measures)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield found
    finally:
        await runner.cleanup()


def a_round() -> Round:
    seen = world(pod(uid="u"), airflow=answer(task("failed", ended=400)))
    decision = decide(seen, RULES)
    [action] = decision.actions
    done = Done(action, "done", began=BEGAN + timedelta(seconds=1), seconds=0.5)
    return Round(decision=decision, done=(done,), pods=1, seconds=2.0)


async def test_a_round_is_a_trace_and_an_action_is_a_span_of_it() -> None:
    async with receiver() as collector:
        telemetry = Telemetry(collector.url, deployment="prod", interval=200)
        telemetry.round(a_round(), BEGAN, BEGAN + timedelta(seconds=2))
        telemetry.failed(BEGAN, BEGAN + timedelta(seconds=1), "the cluster is away")
        await eventually(lambda: len(collector.spans) == 3)
        await eventually(lambda: "podbay.healer.actions" in collector.metrics)
        await asyncio.to_thread(telemetry.close)
    by_name = {span.name: span for span in collector.spans if not span.status.code}
    whole, action = by_name["heal"], by_name["delete"]
    assert (action.parent_span_id, action.trace_id) == (whole.span_id, whole.trace_id)
    assert whole.end_time_unix_nano - whole.start_time_unix_nano == 2_000_000_000
    assert action.end_time_unix_nano - action.start_time_unix_nano == 500_000_000
    told = _attributes(action.attributes)
    assert (told["podbay.check"], told["podbay.result"], told["k8s.pod.uid"]) == (
        "OwnerFinished",
        "done",
        "u",
    )
    assert "failed" in told["podbay.why"]
    [failed] = [span for span in collector.spans if span.status.code == 2]
    assert failed.status.message == "the cluster is away"
    assert collector.resources[0]["service.name"] == "podbay-healer"
    assert collector.resources[0]["podbay.deployment"] == "prod"
    [counted] = collector.metrics["podbay.healer.actions"].sum.data_points
    assert counted.as_int == 1
    assert _attributes(counted.attributes) == {"check": "OwnerFinished", "deed": "delete", "result": "done"}
    [pods] = collector.metrics["podbay.healer.pods"].gauge.data_points
    assert pods.as_int == 1


async def test_a_collector_that_is_away_costs_a_round_nothing() -> None:
    telemetry = Telemetry("http://127.0.0.1:1", deployment="prod")
    telemetry.round(a_round(), BEGAN, BEGAN + timedelta(seconds=2))
    await asyncio.wait_for(asyncio.to_thread(telemetry.close), 60)


def test_an_address_that_is_none() -> None:
    with pytest.raises(InvalidInputError, match="such as http://localhost:4318"):
        Telemetry("localhost:4318", deployment="prod")
