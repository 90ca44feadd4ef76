"""Event: what happened to an object, served under two names, `v1` and `events.k8s.io/v1`, from one collection.

Objects are stored in the shape of `v1`. Recording events and forgetting them after their time is done elsewhere.
Source: pkg/registry/core/event, pkg/apis/core/validation/events.go, pkg/apis/events/v1/conversion.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from podbay.apiserver.field import FieldError, Path, invalid, required
from podbay.apiserver.metadata import immutable
from podbay.apiserver.registry import Column, ResourceType, Strategy, StrategyContext
from podbay.apiserver.tables import NAME_COLUMN, since
from podbay.objects.equality import semantically_equal
from podbay.objects.meta import Object
from podbay.objects.names import (
    dns1123_subdomain_errors,
    masked_prefix,
    path_segment_name_errors,
    path_segment_prefix_errors,
    qualified_name_errors,
)
from podbay.objects.resource import GVR

__all__ = ["CORE_EVENT", "EVENTS_EVENT", "RESOURCE_TYPES", "from_core", "to_core"]

_NOTE_LIMIT = 1024
_TEXT_LIMIT = 128
_TYPES = ("Normal", "Warning")

_RENAMED = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
"""Fields of events.k8s.io/v1 and their names in v1; the others are called the same."""
_RENAMED_BACK = {core: events for events, core in _RENAMED.items()}

_IMMUTABLE = (
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "reason",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
)
"""What an update through events.k8s.io may not change, in the order of the checks (reason is checked twice)."""


def to_core(obj: Object) -> Object:
    """An events.k8s.io/v1 Event in the shape of v1; apiVersion stays."""
    return {_RENAMED.get(key, key): value for key, value in obj.items()}


def from_core(obj: Object) -> Object:
    """A v1 Event in the shape of events.k8s.io/v1; apiVersion stays."""
    return {_RENAMED_BACK.get(key, key): value for key, value in obj.items()}


class CoreEventStrategy(Strategy):
    """Events written through v1: old clients' rules only."""

    allow_create_on_update = True
    garbage_collected = False
    metadata_repeats = (0, 0)

    def validate_name(self, name: str, *, prefix: bool) -> Sequence[str]:
        return path_segment_prefix_errors(name) if prefix else path_segment_name_errors(name)

    def validate(self, obj: Object, ctx: StrategyContext) -> list[FieldError]:
        return _legacy_errors(obj, "reportingComponent")

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        return _legacy_errors(obj, "reportingComponent")


class EventsEventStrategy(CoreEventStrategy):
    """Events written through events.k8s.io/v1: complete, without the deprecated fields, and fixed once written."""

    metadata_repeats = (0, 1)

    def validate_name(self, name: str, *, prefix: bool) -> Sequence[str]:
        return dns1123_subdomain_errors(masked_prefix(name) if prefix else name)

    def validate(self, obj: Object, ctx: StrategyContext) -> list[FieldError]:
        errors = _legacy_errors(obj, "reportingController") + _series_errors(obj)
        if not obj.get("eventTime"):
            errors.append(required(Path("eventTime")))
        if obj.get("type") not in _TYPES:
            errors.append(invalid(Path("type"), "", f"has invalid value: {obj.get('type') or ''}"))
        for key in ("firstTimestamp", "lastTimestamp", "count"):
            if obj.get(key):
                errors.append(invalid(Path(key), "", "needs to be unset"))
        if any((obj.get("source") or {}).values()):
            errors.append(invalid(Path("source"), "", "needs to be unset"))
        return errors

    def validate_update(self, obj: Object, old: Object, ctx: StrategyContext) -> list[FieldError]:
        errors = _legacy_errors(obj, "reportingController")
        if not semantically_equal(obj.get("series"), old.get("series")):
            errors += _series_errors(obj)
        for key in _IMMUTABLE:
            shown = "reportingController" if key == "reportingComponent" else key
            errors += immutable(obj.get(key), old.get(key), Path(shown))
        return errors


def _legacy_errors(obj: Object, controller_field: str) -> list[FieldError]:
    """What every event must satisfy; controller_field is what the caller's version calls the reporting controller."""
    namespace = obj["metadata"].get("namespace") or ""
    about = (obj.get("involvedObject") or {}).get("namespace") or ""
    mismatch = invalid(Path("involvedObject").child("namespace"), about, "does not match event.namespace")
    errors: list[FieldError] = []
    if not obj.get("eventTime"):
        if (about and about != namespace) or (not about and namespace not in ("", "default")):
            errors.append(mismatch)
    else:
        if not about and namespace not in ("default", "kube-system"):
            errors.append(mismatch)
        errors += _new_style_errors(obj, controller_field)
    errors += [
        invalid(Path("namespace"), namespace, message) for message in dns1123_subdomain_errors(namespace)
    ]
    return errors


def _new_style_errors(obj: Object, controller_field: str) -> list[FieldError]:
    controller = obj.get("reportingComponent") or ""
    path = Path(controller_field)
    errors = [] if controller else [required(path)]
    errors += [invalid(path, controller, message) for message in qualified_name_errors(controller)]
    for key in ("reportingInstance", "action", "reason"):
        value = obj.get(key) or ""
        if not value:
            errors.append(required(Path(key)))
        errors += _length_errors(key, value, _TEXT_LIMIT)
    return errors + _length_errors("message", obj.get("message") or "", _NOTE_LIMIT)


def _length_errors(key: str, value: str, limit: int) -> list[FieldError]:
    if len(value.encode()) <= limit:
        return []
    return [invalid(Path(key), "", f"can have at most {limit} characters")]


def _series_errors(obj: Object) -> list[FieldError]:
    series = obj.get("series")
    if series is None:
        return []
    errors: list[FieldError] = []
    if (series.get("count") or 0) < 2:
        errors.append(invalid(Path("series.count"), "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        errors.append(required(Path("series.lastObservedTime")))
    return errors


def _about(key: str) -> Callable[[Object], str]:
    return lambda obj: (obj.get("involvedObject") or {}).get(key) or ""


def _text(key: str) -> Callable[[Object], str]:
    return lambda obj: obj.get(key) or ""


def _source(obj: Object) -> str:
    return (obj.get("source") or {}).get("component") or obj.get("reportingComponent") or ""


_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_FIELDS: Mapping[str, Callable[[Object], str]] = {
    **{f"involvedObject.{key}": _about(key) for key in _REFERENCE},
    **{f"regarding.{key}": _about(key) for key in _REFERENCE},
    "reason": _text("reason"),
    "reportingComponent": _text("reportingComponent"),
    "reportingController": _text("reportingComponent"),
    "source": _source,
    "type": _text("type"),
}
"""The names of both versions, since both read the same stored entries."""


def _cells(obj: Object, now: datetime) -> list[Any]:
    first = since(obj.get("firstTimestamp") or obj.get("eventTime"), now)
    last = since(obj["lastTimestamp"], now) if obj.get("lastTimestamp") else first
    count = obj.get("count") or 1
    series = obj.get("series")
    if series is not None:
        last, count = since(series.get("lastObservedTime"), now), series.get("count") or 0
    about = obj.get("involvedObject") or {}
    kind, name = (about.get("kind") or "").lower(), about.get("name")
    source = obj.get("source") or {}
    reporter = [
        source.get("component") or obj.get("reportingComponent") or "",
        source.get("host") or obj.get("reportingInstance") or "",
    ]
    return [
        last,
        obj.get("type") or "",
        obj.get("reason") or "",
        f"{kind}/{name}" if name else kind,
        about.get("fieldPath") or "",
        ", ".join(reporter) if reporter[1] else reporter[0],
        (obj.get("message") or "").strip(),
        first,
        count,
        obj["metadata"]["name"],
    ]


_COLUMNS = (
    Column("Last Seen", "string", "The time at which the most recent occurrence of this event was recorded."),
    Column("Type", "string", "Type of this event (Normal, Warning), new types could be added in the future"),
    Column(
        "Reason",
        "string",
        "This should be a short, machine understandable string that gives the reason for the transition into the "
        "object's current status.",
    ),
    Column("Object", "string", "The object that this event is about."),
    Column(
        "Subobject",
        "string",
        "If referring to a piece of an object instead of an entire object, this string should contain a valid "
        "JSON/Go field access statement, such as desiredState.manifest.containers[2]. For example, if the object "
        'reference is to a container within a pod, this would take on a value like: "spec.containers{name}" (where '
        '"name" refers to the name of the container that triggered the event) or if no container name is specified '
        '"spec.containers[2]" (container with index 2 in this pod). This syntax is chosen only to have some '
        "well-defined way of referencing a part of an object.",
        priority=1,
    ),
    Column(
        "Source",
        "string",
        "The component reporting this event. Should be a short machine understandable string.",
        priority=1,
    ),
    Column("Message", "string", "A human-readable description of the status of this operation."),
    Column(
        "First Seen",
        "string",
        "The time at which the event was first recorded. (Time of server receipt is in TypeMeta.)",
        priority=1,
    ),
    Column("Count", "string", "The number of times this event has occurred.", priority=1),
    Column(NAME_COLUMN.name, NAME_COLUMN.type, NAME_COLUMN.description, NAME_COLUMN.format, priority=1),
)

CORE_EVENT = ResourceType(
    gvr=GVR("", "v1", "events"),
    kind="Event",
    type_name="io.k8s.api.core.v1.Event",
    namespaced=True,
    singular="event",
    short_names=("ev",),
    strategy=CoreEventStrategy(),
    fields=_FIELDS,
    columns=_COLUMNS,
    cells=_cells,
)

EVENTS_EVENT = ResourceType(
    gvr=GVR("events.k8s.io", "v1", "events"),
    kind="Event",
    type_name="io.k8s.api.events.v1.Event",
    namespaced=True,
    singular="event",
    short_names=("ev",),
    strategy=EventsEventStrategy(),
    fields=_FIELDS,
    columns=_COLUMNS,
    cells=_cells,
    storage_key=CORE_EVENT.key,
    to_storage=to_core,
    from_storage=from_core,
)

RESOURCE_TYPES: tuple[ResourceType, ...] = (CORE_EVENT, EVENTS_EVENT)
