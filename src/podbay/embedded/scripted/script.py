"""What pods of scripted nodes do: rules as data, and the annotations that overrule them for one pod.

    rules:
      - match: {namespace: "team-*", name: "train-*", image: "*/gpu:*", labels: {app: x}, annotations: {a: b}}
        start: {delay: 0.5, jitter: 0.2}
        stop: {seconds: 2, ignore_sigterm: false, exit_code: 143}
        restart_backoff: 10
        containers:
          "*":
            - {run: 2, exit_code: 1, cpu: 250m, memory: 300Mi, log: ["one", {after: 1, text: "two", stream: stderr}]}
            - {wait: [{reason: ErrImagePull, message: "no", for: 3}], run: forever, ready_after: 0.5}

The first rule whose `match` holds applies; every given field must match, texts may hold `*` and `?`. A container takes
the first glob that fits its name; its list has one entry per attempt and the last one repeats. Times are seconds, or
texts such as "100ms", "5s", "2m", "1h", "forever". Annotations `scripted.podbay.dev/<key>` (one pod's main containers)
or `scripted.podbay.dev/<key>.<container>` (any container) overrule the attempt; `ANNOTATIONS` lists the keys. A native
sidecar without `run` lives until the pod ends and leaves its message then.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from podbay.errors import InvalidInputError
from podbay.objects.meta import Object, annotations_of, labels_of, name_of, namespace_of
from podbay.objects.quantity import Quantity

__all__ = [
    "ANNOTATIONS",
    "DEFAULT_SCRIPT",
    "PREFIX",
    "Attempt",
    "LogLine",
    "Match",
    "Rule",
    "Script",
    "Wait",
    "duration",
]

PREFIX = "scripted.podbay.dev/"
ANNOTATIONS = {
    "run-seconds": "how long the container runs",
    "jitter-seconds": "at most this much longer, at random",
    "exit-code": "what it exits with",
    "signal": "the signal that ends it (the exit code becomes 128 + signal)",
    "reason": "state.terminated.reason, such as OOMKilled",
    "message": "state.terminated.message",
    "log": "log text, written at the start",
    "ready-after-seconds": "when it becomes ready, after its start",
    "cpu": "the CPU that it uses while it runs, a quantity; none unless given",
    "memory": "the memory that it uses while it runs, a quantity; none unless given",
    "waiting-reason": "it waits with this reason before it runs",
    "waiting-message": "the message of that wait",
    "waiting-seconds": "how long it waits; forever unless given",
    "start-delay-seconds": "how long the pod stays in ContainerCreating (pod)",
    "stop-seconds": "how long it takes to end after SIGTERM (pod)",
    "ignore-sigterm": "true: deletion takes the whole grace period (pod)",
    "restart-backoff-seconds": "the first CrashLoopBackOff; it doubles up to 300 s (pod)",
}

_NONE = Quantity.parse("0")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|)")


def duration(value: Any, where: str) -> float:
    """Seconds; "forever" is infinity. Raises InvalidInputError naming `where`."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    if value == "forever":
        return math.inf
    found = _DURATION.fullmatch(str(value))
    if found is None:
        raise InvalidInputError(
            f'{where}: {value!r} is not a duration; write seconds or a text such as "500ms", "5s", "forever"'
        )
    return float(found[1]) * _UNITS[found[2]]


@dataclass(frozen=True, slots=True)
class Wait:
    """A time in state.waiting."""

    seconds: float
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line, written `after` seconds after the container's start."""

    after: float
    text: str
    stream: str = "stdout"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of a container."""

    waits: tuple[Wait, ...] = ()
    run_seconds: float = 0.0
    jitter_seconds: float = 0.0
    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    message: str = ""
    ready_after: float = 0.0
    cpu: Quantity = _NONE
    memory: Quantity = _NONE
    """What it uses while it runs (metrics.k8s.io)."""
    log: tuple[LogLine, ...] = ()

    @property
    def final_code(self) -> int:
        return 128 + self.signal if self.signal else self.exit_code


@dataclass(frozen=True, slots=True)
class Match:
    """Which pods a rule is about; empty fields match all."""

    namespace: str = "*"
    name: str = "*"
    image: str = "*"
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def holds(self, pod: Object) -> bool:
        images = [c.get("image") or "" for c in pod["spec"].get("containers") or ()]
        return (
            fnmatchcase(namespace_of(pod), self.namespace)
            and fnmatchcase(name_of(pod), self.name)
            and (self.image == "*" or any(fnmatchcase(i, self.image) for i in images))
            and _all_match(self.labels, labels_of(pod))
            and _all_match(self.annotations, annotations_of(pod))
        )


def _all_match(wanted: Mapping[str, str], found: Mapping[str, str]) -> bool:
    return all(key in found and fnmatchcase(found[key], pattern) for key, pattern in wanted.items())


_SUCCEED = (Attempt(),)


@dataclass(frozen=True, slots=True)
class Rule:
    """What matching pods do. containers pairs name globs with attempts."""

    match: Match = field(default_factory=Match)
    delay: float = 0.0
    delay_jitter: float = 0.0
    stop_seconds: float = 0.0
    stop_exit_code: int = 143
    ignore_sigterm: bool = False
    restart_backoff: float = 10.0
    containers: tuple[tuple[str, tuple[Attempt, ...]], ...] = ()

    def attempts(self, container: str) -> tuple[Attempt, ...]:
        """The attempts of a container; one that no glob names runs for 0 s and succeeds."""
        return next((found for glob, found in self.containers if fnmatchcase(container, glob)), _SUCCEED)


@dataclass(frozen=True, slots=True)
class Script:
    """Rules in order. Pods that match none start at once, run for 0 s and succeed."""

    rules: tuple[Rule, ...] = ()

    def rule_for(self, pod: Object) -> Rule:
        """The rule of a pod, its annotations included. Raises InvalidInputError for a bad annotation."""
        rule = next((r for r in self.rules if r.match.holds(pod)), Rule())
        given = {k[len(PREFIX) :]: v for k, v in annotations_of(pod).items() if k.startswith(PREFIX)}
        return _overrule(rule, given, pod) if given else rule

    @classmethod
    def from_data(cls, data: Any, where: str = "script") -> Script:
        """Read a list of rules. Raises InvalidInputError naming the field."""
        rules = data.get("rules") if isinstance(data, Mapping) else data
        if not isinstance(rules, Sequence) or isinstance(rules, str):
            raise InvalidInputError(f"{where}: expected a list of rules")
        return cls(tuple(_rule(r, f"{where}.rules[{i}]") for i, r in enumerate(rules)))


DEFAULT_SCRIPT = Script()


def _fields(data: Any, allowed: str, where: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise InvalidInputError(f"{where}: expected fields, found {data!r}")
    unknown = sorted(set(data) - set(allowed.split()))
    if unknown:
        raise InvalidInputError(f"{where}.{unknown[0]}: unknown field; known are {allowed}")
    return data


def _rule(data: Any, where: str) -> Rule:
    given = _fields(data, "match start stop restart_backoff containers", where)
    match = _fields(given.get("match") or {}, "namespace name image labels annotations", f"{where}.match")
    start = _fields(given.get("start") or {}, "delay jitter", f"{where}.start")
    stop = _fields(given.get("stop") or {}, "seconds ignore_sigterm exit_code", f"{where}.stop")
    containers = given.get("containers") or {}
    if not isinstance(containers, Mapping):
        raise InvalidInputError(f"{where}.containers: expected name globs with lists of attempts")
    return Rule(
        match=Match(**match),
        delay=duration(start.get("delay", 0), f"{where}.start.delay"),
        delay_jitter=duration(start.get("jitter", 0), f"{where}.start.jitter"),
        stop_seconds=duration(stop.get("seconds", 0), f"{where}.stop.seconds"),
        stop_exit_code=_integer(stop.get("exit_code", 143), f"{where}.stop.exit_code"),
        ignore_sigterm=bool(stop.get("ignore_sigterm")),
        restart_backoff=duration(given.get("restart_backoff", 10), f"{where}.restart_backoff"),
        containers=tuple(
            (str(glob), _attempts(attempts, f"{where}.containers[{glob}]"))
            for glob, attempts in containers.items()
        ),
    )


def _attempts(data: Any, where: str) -> tuple[Attempt, ...]:
    listed = [data] if isinstance(data, Mapping) else data
    if not isinstance(listed, Sequence) or isinstance(listed, str) or not listed:
        raise InvalidInputError(f"{where}: expected an attempt or a list of attempts")
    return tuple(_attempt(a, f"{where}[{i}]") for i, a in enumerate(listed))


def _attempt(data: Any, where: str) -> Attempt:
    given = _fields(data, "wait run jitter exit_code signal reason message ready_after cpu memory log", where)
    return Attempt(
        waits=tuple(_wait(w, f"{where}.wait[{i}]") for i, w in enumerate(given.get("wait") or ())),
        run_seconds=duration(given.get("run", 0), f"{where}.run"),
        jitter_seconds=duration(given.get("jitter", 0), f"{where}.jitter"),
        exit_code=_integer(given.get("exit_code", 0), f"{where}.exit_code"),
        signal=_integer(given.get("signal", 0), f"{where}.signal"),
        reason=str(given.get("reason") or ""),
        message=str(given.get("message") or ""),
        ready_after=duration(given.get("ready_after", 0), f"{where}.ready_after"),
        cpu=_quantity(given.get("cpu", 0), f"{where}.cpu"),
        memory=_quantity(given.get("memory", 0), f"{where}.memory"),
        log=_log(given.get("log") or (), f"{where}.log"),
    )


def _wait(data: Any, where: str) -> Wait:
    given = _fields(data, "reason message for", where)
    if not given.get("reason"):
        raise InvalidInputError(f"{where}.reason: required")
    seconds = duration(given.get("for", "forever"), f"{where}.for")
    return Wait(seconds, str(given["reason"]), str(given.get("message") or ""))


def _log(data: Any, where: str) -> tuple[LogLine, ...]:
    if isinstance(data, str):
        data = data.splitlines()
    lines = []
    for i, line in enumerate(data):
        if isinstance(line, str):
            lines.append(LogLine(0.0, line))
            continue
        given = _fields(line, "after text stream", f"{where}[{i}]")
        stream = given.get("stream", "stdout")
        if stream not in ("stdout", "stderr"):
            raise InvalidInputError(f"{where}[{i}].stream: {stream!r} is neither stdout nor stderr")
        after = duration(given.get("after", 0), f"{where}[{i}].after")
        lines.append(LogLine(after, str(given.get("text") or ""), stream))
    return tuple(sorted(lines, key=lambda line: line.after))


def _quantity(value: Any, where: str) -> Quantity:
    if isinstance(value, Quantity):
        return value
    try:
        return Quantity.from_json(value)
    except ValueError:
        raise InvalidInputError(f'{where}: {value!r} is not a quantity such as "250m" or "300Mi"') from None


def _integer(value: Any, where: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise InvalidInputError(f"{where}: {value!r} is not a whole number") from None


def _overrule(rule: Rule, given: Mapping[str, str], pod: Object) -> Rule:
    """The rule with the pod's annotations applied to its main containers."""
    for key in given:
        if key.partition(".")[0] not in ANNOTATIONS:
            raise InvalidInputError(f"annotation {PREFIX}{key}: unknown; known are {', '.join(ANNOTATIONS)}")
    containers = []
    for container in pod["spec"].get("containers") or ():
        name = container["name"]
        own = {key: given.get(f"{key}.{name}", given.get(key)) for key in ANNOTATIONS}
        chosen = {k: v for k, v in own.items() if v is not None}
        containers.append((name, tuple(_overruled(a, chosen) for a in rule.attempts(name))))
    for container in pod["spec"].get("initContainers") or ():
        name = container["name"]
        chosen = {key: given[f"{key}.{name}"] for key in ANNOTATIONS if f"{key}.{name}" in given}
        if chosen:
            containers.append((name, tuple(_overruled(a, chosen) for a in rule.attempts(name))))
    return replace(
        rule,
        delay=_seconds(given, "start-delay-seconds", rule.delay),
        stop_seconds=_seconds(given, "stop-seconds", rule.stop_seconds),
        restart_backoff=_seconds(given, "restart-backoff-seconds", rule.restart_backoff),
        ignore_sigterm=given.get("ignore-sigterm", str(rule.ignore_sigterm)).lower() == "true",
        containers=(*containers, *rule.containers),
    )


def _seconds(given: Mapping[str, str], key: str, default: float) -> float:
    return duration(given[key], f"annotation {PREFIX}{key}") if key in given else default


def _overruled(attempt: Attempt, given: Mapping[str, str]) -> Attempt:
    waits = attempt.waits
    if "waiting-reason" in given:
        seconds = _seconds(given, "waiting-seconds", math.inf)
        waits = (Wait(seconds, given["waiting-reason"], given.get("waiting-message", "")),)
    log = _log(given["log"], "log") if "log" in given else attempt.log
    return replace(
        attempt,
        waits=waits,
        run_seconds=_seconds(given, "run-seconds", attempt.run_seconds),
        jitter_seconds=_seconds(given, "jitter-seconds", attempt.jitter_seconds),
        exit_code=_integer(given.get("exit-code", attempt.exit_code), f"annotation {PREFIX}exit-code"),
        signal=_integer(given.get("signal", attempt.signal), f"annotation {PREFIX}signal"),
        reason=given.get("reason", attempt.reason),
        message=given.get("message", attempt.message),
        ready_after=_seconds(given, "ready-after-seconds", attempt.ready_after),
        cpu=_quantity(given.get("cpu", attempt.cpu), f"annotation {PREFIX}cpu"),
        memory=_quantity(given.get("memory", attempt.memory), f"annotation {PREFIX}memory"),
        log=log,
    )
