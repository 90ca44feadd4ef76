"""Building `Event` objects the way Kubernetes components do: new ones, and repetitions as a series.

Pure; sending them is the caller's business. Source: client-go/tools/events/event_recorder.go (the recorder that
kube-scheduler uses: eventTime, action, reportingController, no source) and client-go/tools/record (the older one
of kubelet and kube-controller-manager: source, firstTimestamp, lastTimestamp, count).
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from podbay.objects.meta import Object
from podbay.objects.resource import GVR

__all__ = [
    "EVENTS",
    "EventType",
    "object_reference",
    "recorded_event",
    "renamed",
    "reported_event",
    "timestamp",
    "timestamp_micro",
]

EVENTS = GVR("", "v1", "events")

EventType = Literal["Normal", "Warning"]


def timestamp(moment: datetime) -> str:
    """metav1.Time: RFC 3339 in whole seconds, UTC."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def timestamp_micro(moment: datetime) -> str:
    """metav1.MicroTime: RFC 3339 with six decimals, UTC."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def object_reference(obj: Object, *, field_path: str = "") -> Object:
    """A core/v1 ObjectReference to obj."""
    metadata = obj["metadata"]
    reference = {
        "kind": obj.get("kind"),
        "namespace": metadata.get("namespace"),
        "name": metadata["name"],
        "uid": metadata.get("uid"),
        "apiVersion": obj.get("apiVersion"),
        "resourceVersion": metadata.get("resourceVersion"),
        "fieldPath": field_path,
    }
    return {key: value for key, value in reference.items() if value}


def _name(reference: Object, moment: datetime) -> str:
    nanoseconds = int(moment.timestamp()) * 10**9 + moment.microsecond * 1000
    return f"{reference['name']}.{nanoseconds:x}"


def renamed(event: Object) -> Object:
    """The same Event under the next name, for when another of this object was made in the same microsecond."""
    name, _, stamp = event["metadata"]["name"].rpartition(".")
    return {**event, "metadata": {**event["metadata"], "name": f"{name}.{int(stamp, 16) + 1:x}"}}


def _base(reference: Object, moment: datetime) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": _name(reference, moment),
            # Events about cluster-scoped objects live in `default`.
            "namespace": reference.get("namespace") or "default",
        },
        "involvedObject": reference,
    }


def reported_event(
    regarding: Object,
    *,
    type: EventType,  # noqa: A002 - the API's own field name
    reason: str,
    action: str,
    note: str,
    controller: str,
    instance: str,
    now: datetime,
    related: Object | None = None,
) -> Object:
    """An Event as the events.k8s.io recorder makes it. `regarding` and `related` are object references."""
    event = _base(regarding, now)
    event |= {
        "reason": reason,
        "message": note,
        "source": {},
        "firstTimestamp": None,
        "lastTimestamp": None,
        "type": type,
        "eventTime": timestamp_micro(now),
        "action": action,
        "reportingComponent": controller,
        "reportingInstance": instance,
    }
    if related is not None:
        event["related"] = related
    return event


def recorded_event(
    involved: Object,
    *,
    type: EventType,  # noqa: A002 - the API's own field name
    reason: str,
    message: str,
    component: str,
    now: datetime,
    host: str = "",
) -> Object:
    """An Event as the older recorder makes it; a repetition raises `count` and moves `lastTimestamp`."""
    event = _base(involved, now)
    moment = timestamp(now)
    event |= {
        "reason": reason,
        "message": message,
        "source": {"component": component, **({"host": host} if host else {})},
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
        "type": type,
        "eventTime": None,
        "reportingComponent": component,
        "reportingInstance": host,
    }
    return event
