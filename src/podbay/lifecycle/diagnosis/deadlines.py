"""Deadlines of ours that have passed, joined with what the pod was waiting for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from podbay.lifecycle.diagnosis.category import Category
from podbay.lifecycle.diagnosis.model import Diagnosis
from podbay.lifecycle.diagnosis.sight import Sight

__all__ = ["CATEGORIES", "find_slowness", "with_deadline"]

QUEUE: Final = Category(
    word="QueueDeadline",
    meaning="The pod waited in a queue (quota, gate) longer than it may.",
    fix="Raise the deadline for waiting in a queue, or have the queue's quota raised.",
    blame="platform",
    heals="never",
)
SCHEDULE: Final = Category(
    word="ScheduleDeadline",
    meaning="The pod got no node within its deadline, and nothing says why.",
    fix="Check that a scheduler runs (`schedulerName`), or raise `schedule_timeout_seconds`.",
    blame="platform",
    heals="never",
)
START: Final = Category(
    word="StartDeadline",
    meaning="The pod had a node and did not start within its deadline, and nothing says why.",
    fix="Raise `startup_timeout_seconds`, and look at the node.",
    blame="platform",
    heals="never",
)
RUN: Final = Category(
    word="RunDeadline",
    meaning="The task ran longer than it may (execution_timeout), and was ended by us.",
    fix="Raise `execution_timeout`, or make the task faster.",
    blame="user",
    heals="never",
)
SLOW_PULL: Final = Category(
    word="ImagePullSlow",
    meaning="The image was still being pulled when the deadline for starting passed.",
    fix="Raise `startup_timeout_seconds`, make the image smaller, or keep it on the nodes.",
    blame="platform",
    heals="maybe",
)
SLOW_INIT: Final = Category(
    word="InitContainerSlow",
    meaning="An init container was still running when a deadline passed.",
    fix="Read the init container's log for what it waits for; raise the deadline if it needs the time.",
    blame="user",
    heals="maybe",
)
SLOW_CREATE: Final = Category(
    word="ContainerCreating",
    meaning="The node was still preparing the container (volumes, network) when the deadline for starting passed.",
    fix="Look at the pod's events and at the node; raise `startup_timeout_seconds` if it is only slow.",
    blame="platform",
    heals="maybe",
)

CATEGORIES: Final = (QUEUE, SCHEDULE, START, RUN, SLOW_PULL, SLOW_INIT, SLOW_CREATE)

_DEADLINES: Final[dict[str, tuple[Category, str]]] = {
    "queue": (QUEUE, "was still waiting in a queue"),
    "schedule": (SCHEDULE, "had no node"),
    "start": (START, "had not started"),
    "run": (RUN, "had not ended"),
}


def with_deadline(sight: Sight, found: Sequence[Diagnosis]) -> list[Diagnosis]:
    """What was found, with the deadline that passed told in the first of it; and the deadline itself behind.

    A pod that ran too long is ended for that alone: what is found of it then is how it was ended.
    """
    name = sight.facts.context.get("deadline")
    category, words = _DEADLINES.get(name if isinstance(name, str) else "", (None, ""))
    if category is None:
        return list(found)
    seconds = sight.facts.context.get("deadline_seconds")
    after = f" after {seconds:g} s" if isinstance(seconds, int | float) else ""
    told = f"{sight.name} {words}{after}"
    line = f"the deadline for the {name} phase passed{after}"
    own = category.found(told[:1].upper() + told[1:], evidence=[line])
    if category is RUN or not found:
        return [own, *found]
    cause = found[0].cause.removeprefix(f"{sight.name[:1].upper()}{sight.name[1:]} has no node: ")
    first = replace(found[0], cause=f"{own.cause}: {_lower(cause)}", evidence=(*found[0].evidence[:5], line))
    return [first, *found[1:], own]


def _lower(text: str) -> str:
    """A sentence's beginning as it stands after a colon; names and abbreviations stay as they are."""
    first = text.partition(" ")[0]
    known = {
        "The",
        "There",
        "Volume",
        "Container",
        "Pod",
        "Node",
        "Init",
        "Sidecar",
        "A",
        "Admission",
        "Quota",
        "Namespace",
    }
    return text[:1].lower() + text[1:] if first in known else text


def find_slowness(sight: Sight) -> Iterator[Diagnosis]:
    """What a pod was busy with, when it is known only that it took too long."""
    if sight.facts.context.get("deadline") not in ("start", "run") or sight.over or not sight.pod:
        return
    for each in sight.containers:
        if each.kind == "init" and each.running:
            cause = f"Init container {each.name} of {sight.name} still runs"
            yield SLOW_INIT.found(cause, evidence=[each.line()], container=each.name)
            return
    for each in sight.containers:
        # The newest of both tells: images are pulled again and again until it works.
        told = [t for t in sight.told("Pulling", "Pulled", "Failed", "BackOff") if t.container == each.name]
        if told and told[0].reason == "Pulling" and not each.begun:
            cause = f"The image {each.image} of container {each.name} is still being pulled"
            yield SLOW_PULL.found(cause, evidence=[told[0].line()], container=each.name)
            return
    main = sight.main
    if main is not None and main.waiting is not None and main.waiting.reason == "ContainerCreating":
        cause = f"Container {main.name} of {sight.name} is still being prepared by its node"
        lines = [told.line() for told in reversed(sight.events[-2:])]
        yield SLOW_CREATE.found(cause, evidence=[main.line(), *lines], container=main.name)
