"""What is to be seen in the facts: containers, events, conditions and nodes of one pod, however damaged they are.

Sources: core/v1 Pod and Event; pkg/kubelet/container/ref.go for the field path by which an event names a container.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias

from podbay.lifecycle.diagnosis.model import Facts
from podbay.lifecycle.diagnosis.reading import as_int, as_list, as_map, as_text, as_time

__all__ = ["Condition", "Ended", "Kind", "Seen", "Sight", "Told", "Waiting", "look"]

Kind: TypeAlias = Literal["init", "sidecar", "main", "beside"]
"""beside: an ordinary container that is not the task's. sidecar: an init container that stays (restartPolicy Always)."""

_FIELD_PATH: Final = re.compile(r"\{(.+)\}$")


@dataclass(frozen=True, slots=True)
class Waiting:
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Ended:
    reason: str
    message: str
    code: int
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One container: as it was asked for, and as it is."""

    name: str
    kind: Kind
    spec: Mapping[str, Any]
    waiting: Waiting | None = None
    running: bool = False
    ended: Ended | None = None
    """Its end, the last one if it is to be started again."""
    restarts: int = 0

    @property
    def image(self) -> str:
        return as_text(self.spec.get("image")) or "of no name"

    @property
    def begun(self) -> bool:
        return self.running or self.ended is not None

    def limit(self, resource: str) -> str:
        """The limit as it was written, empty when there is none."""
        value = as_map(as_map(self.spec.get("resources")).get("limits")).get(resource)
        return str(value) if isinstance(value, str | int | float) else ""

    def line(self) -> str:
        """Its state as evidence."""
        if self.waiting is not None:
            said = f": {self.waiting.message}" if self.waiting.message else ""
            return f"container {self.name}: waiting, {self.waiting.reason or 'no reason given'}{said}"
        if self.ended is not None:
            return f"container {self.name}: ended with exit code {self.ended.code}, reason {self.ended.reason or 'none'}"
        return f"container {self.name}: {'running' if self.running else 'no state known'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One event."""

    reason: str
    message: str
    kind: str = "Pod"
    container: str = ""
    count: int = 1
    at: datetime | None = None

    def line(self) -> str:
        times = f" ({self.count} times)" if self.count > 1 else ""
        about = f" on {self.kind}" if self.kind != "Pod" else ""
        return f"event {self.reason}{about}{times}: {self.message}"


@dataclass(frozen=True, slots=True)
class Condition:
    status: str
    reason: str
    message: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """All of it. Nothing here raises, whatever the pod holds."""

    facts: Facts
    pod: Mapping[str, Any]
    containers: tuple[Seen, ...] = ()
    events: tuple[Told, ...] = ()
    """Oldest first."""
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    nodes: tuple[Mapping[str, Any], ...] = ()

    @property
    def metadata(self) -> Mapping[str, Any]:
        return as_map(self.pod.get("metadata"))

    @property
    def spec(self) -> Mapping[str, Any]:
        return as_map(self.pod.get("spec"))

    @property
    def status(self) -> Mapping[str, Any]:
        return as_map(self.pod.get("status"))

    @property
    def namespace(self) -> str:
        return as_text(self.metadata.get("namespace"))

    @property
    def name(self) -> str:
        """The pod in a sentence: `pod etl/load-7f`."""
        name = as_text(self.metadata.get("name")) or as_text(self.metadata.get("generateName"))
        where = f"{self.namespace}/" if self.namespace else ""
        return f"pod {where}{name}" if name else "the pod"

    @property
    def phase(self) -> str:
        return as_text(self.status.get("phase"))

    @property
    def over(self) -> bool:
        return self.phase in ("Succeeded", "Failed")

    @property
    def reason(self) -> str:
        return as_text(self.status.get("reason"))

    @property
    def message(self) -> str:
        return as_text(self.status.get("message"))

    @property
    def node_name(self) -> str:
        return as_text(self.spec.get("nodeName"))

    @property
    def node(self) -> Mapping[str, Any]:
        """The pod's own node, if it is among the facts."""
        for node in self.nodes:
            if as_text(as_map(node.get("metadata")).get("name")) == self.node_name != "":
                return node
        return {}

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The end of the main container's log, if the caller knows it."""
        return tuple(line for line in as_list(self.facts.context.get("last_lines")) if isinstance(line, str))

    @property
    def begun(self) -> bool:
        """Whether any container has run."""
        return any(each.begun for each in self.containers)

    @property
    def main(self) -> Seen | None:
        return next((each for each in self.containers if each.kind == "main"), None)

    @property
    def deletion_asked(self) -> datetime | None:
        """When somebody asked for the pod's end; its deletionTimestamp is when the patience ends."""
        at = as_time(self.metadata.get("deletionTimestamp"))
        grace = as_int(self.metadata.get("deletionGracePeriodSeconds")) or 0
        return None if at is None else at - timedelta(seconds=min(max(grace, 0), 10**6))

    def told(self, *reasons: str, container: str | None = None) -> list[Told]:
        """Events with one of these reasons, about that container if one is named, the newest first."""
        return [
            each
            for each in reversed(self.events)
            if each.reason in reasons and (container is None or each.container in ("", container))
        ]

    def ended_before(self, when: datetime | None) -> bool:
        """Whether the main container had ended by itself before that moment."""
        ended = self.main.ended if self.main is not None else None
        return when is not None and ended is not None and ended.at is not None and ended.at < when


def look(facts: Facts) -> Sight:
    """Read the facts."""
    pod = as_map(facts.pod)
    status = as_map(pod.get("status"))
    conditions = {
        as_text(each.get("type")): Condition(
            as_text(each.get("status")),
            as_text(each.get("reason")),
            as_text(each.get("message")),
            as_time(each.get("lastTransitionTime")),
        )
        for each in map(as_map, as_list(status.get("conditions")))
    }
    told = [_told(as_map(event)) for event in as_list(facts.events) if _is_about(as_map(event), pod)]
    # Events without a time keep their place before all others: what is dated is better evidence.
    told.sort(key=lambda each: each.at.timestamp() if each.at is not None else 0.0)
    return Sight(
        facts=facts,
        pod=pod,
        containers=tuple(_containers(pod, facts.container)),
        events=tuple(told),
        conditions=conditions,
        nodes=tuple(as_map(node) for node in as_list(facts.nodes)),
    )


def _containers(pod: Mapping[str, Any], main: str) -> Iterator[Seen]:
    spec, status = as_map(pod.get("spec")), as_map(pod.get("status"))
    ordinary = [as_map(each) for each in as_list(spec.get("containers"))]
    names = [as_text(each.get("name")) for each in ordinary]
    if main not in names and len(names) == 1:
        main = names[0]
    for fields, part in (("initContainers", "initContainerStatuses"), ("containers", "containerStatuses")):
        states = {as_text(s.get("name")): s for s in map(as_map, as_list(status.get(part)))}
        for container in map(as_map, as_list(spec.get(fields))):
            name = as_text(container.get("name"))
            kind: Kind = "main" if name == main else "beside"
            if fields == "initContainers":
                kind = "sidecar" if container.get("restartPolicy") == "Always" else "init"
            yield _seen(name, kind, container, states.get(name) or {})


def _seen(name: str, kind: Kind, spec: Mapping[str, Any], status: Mapping[str, Any]) -> Seen:
    state = as_map(status.get("state"))
    waiting = as_map(state.get("waiting"))
    ended = _ended(as_map(state.get("terminated")))
    return Seen(
        name=name,
        kind=kind,
        spec=spec,
        waiting=Waiting(as_text(waiting.get("reason")), as_text(waiting.get("message"))) if waiting else None,
        running="running" in state,
        ended=ended or _ended(as_map(as_map(status.get("lastState")).get("terminated"))),
        restarts=as_int(status.get("restartCount")) or 0,
    )


def _ended(state: Mapping[str, Any]) -> Ended | None:
    code = as_int(state.get("exitCode"))
    if code is None:
        return None
    message = as_text(state.get("message"))
    return Ended(as_text(state.get("reason")), message, code, as_time(state.get("finishedAt")))


def _is_about(event: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Events of a former pod of the same name are of no interest."""
    subject = as_map(event.get("involvedObject")) or as_map(event.get("regarding"))
    uid, mine = as_text(subject.get("uid")), as_text(as_map(pod.get("metadata")).get("uid"))
    return as_text(subject.get("kind")) not in ("", "Pod") or not uid or not mine or uid == mine


def _told(event: Mapping[str, Any]) -> Told:
    """An event of either API group, core/v1 or events.k8s.io/v1."""
    subject = as_map(event.get("involvedObject")) or as_map(event.get("regarding"))
    path = _FIELD_PATH.search(as_text(subject.get("fieldPath")))
    series = as_map(event.get("series"))
    times = (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event.get("firstTimestamp"),
        as_map(event.get("metadata")).get("creationTimestamp"),
    )
    return Told(
        reason=as_text(event.get("reason")),
        message=as_text(event.get("message")) or as_text(event.get("note")),
        kind=as_text(subject.get("kind")) or "Pod",
        container=path[1] if path else "",
        count=as_int(series.get("count")) or as_int(event.get("count")) or 1,
        at=next((when for when in map(as_time, times) if when is not None), None),
    )
