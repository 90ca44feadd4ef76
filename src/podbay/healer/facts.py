"""One pod as the checks see it: its status, its task instances, its siblings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from podbay.healer.matching import Claim, LabelIndex, LabelsKey, claim_of, labels_key
from podbay.healer.rules import Rules
from podbay.healer.world import AirflowAnswer, ClusterAt, PodAt, TaskInstance, TaskKey, World, key_of
from podbay.lifecycle.hold import HELD_SINCE, HELD_UNTIL, KEEP
from podbay.lifecycle.view import PodView, parse_time, view_of
from podbay.objects.meta import Object, annotations_of, labels_of
from podbay.pods.build import MAIN_CONTAINER_ANNOTATION
from podbay.pods.identity import ALREADY_CHECKED_LABEL, TaskIdentity, identity_of

__all__ = ["KEEP", "Case", "Finding", "PodFacts", "facts_of", "held_until", "task_of", "was_left_for_a_while"]

"""Annotation "true": the healer leaves the pod alone for good."""

Deed: TypeAlias = Literal["report", "delete", "force_delete", "fail_task", "retry_task"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check has found of one pod, and what it would do about it once that is old enough."""

    check: str
    deed: Deed
    message: str
    """A sentence for a person."""
    age: float | None
    """Seconds since it is so, by stamps; None: since the healer has noticed."""
    grace: float
    """Seconds it must have been so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """One pod."""

    pod: Object
    claim: Claim
    identity: TaskIdentity | None
    cluster: ClusterAt
    view: PodView
    age: float
    """Seconds since it was created, by the API server's clock; 0 for a stamp that cannot be read."""
    since: float
    owners: tuple[TaskInstance, ...]
    absent: bool
    """Airflow has no task instance for it, as far as it was asked."""
    known: bool
    """Airflow has answered for it: `owners` or `absent` is the answer."""

    @property
    def is_live(self) -> bool:
        """It runs or will run, and nobody has asked it to end."""
        return self.view.phase not in ("Succeeded", "Failed") and self.view.deleted_at is None

    @property
    def try_number(self) -> int:
        """Of the try that made it; -1 when that cannot be told."""
        if self.identity is not None:
            return self.identity.try_number
        text = labels_of(self.pod).get("try_number", "")
        return int(text) if text.isdecimal() else -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What a check is given."""

    pod: PodFacts
    world: World
    rules: Rules
    siblings: tuple[PodFacts, ...] = field(default=())
    """The other pods of the same task instance."""

    @property
    def owner(self) -> TaskInstance | None:
        """The task instance, when it is exactly one."""
        return self.pod.owners[0] if len(self.pod.owners) == 1 else None


def facts_of(world: World, rules: Rules) -> list[tuple[PodFacts, tuple[PodFacts, ...]]]:
    """Every pod of this deployment that is known as it is now, with its siblings."""
    index = LabelIndex(world.airflow.tasks.values())
    groups: dict[TaskKey | LabelsKey, list[PodFacts]] = {}
    for each in world.pods:
        claim = claim_of(each.pod, rules)
        if claim == "foreign" or each.cluster.trouble:
            continue
        facts = _facts(each, claim, world, rules, index)
        groups.setdefault(task_of(facts), []).append(facts)
    return [
        (facts, tuple(other for other in group if other is not facts))
        for group in groups.values()
        for facts in group
    ]


def _facts(each: PodAt, claim: Claim, world: World, rules: Rules, index: LabelIndex) -> PodFacts:
    pod = each.pod
    identity = identity_of(pod) if claim in ("ours", "damaged") else None
    created = parse_time((pod.get("metadata") or {}).get("creationTimestamp"))
    age = (each.cluster.now - created).total_seconds() if created is not None else 0.0
    owners, absent, known = _OPEN
    if identity is not None:
        owners, absent, known = _owners(identity, world.airflow)
    elif claim != "shell":
        # Airflow is asked for no longer a time than must be: a kept pod may be as old as the cluster.
        is_asked = claim == "upstream" and age >= rules.young and not held_until(pod, each.cluster.now)
        owners, absent, known = _owners_by_labels(pod, world.airflow, index, is_asked=is_asked)
    return PodFacts(
        pod=pod,
        claim=claim,
        identity=identity,
        cluster=each.cluster,
        view=view_of(pod, _main_container(pod)),
        age=max(0.0, age),
        since=each.since,
        owners=owners,
        absent=absent,
        known=known,
    )


_Owners: TypeAlias = tuple[tuple[TaskInstance, ...], bool, bool]
"""PodFacts.owners, absent and known."""
_OPEN: Final[_Owners] = ((), False, False)


def _owners(identity: TaskIdentity, airflow: AirflowAnswer) -> _Owners:
    key = key_of(identity)
    owner = airflow.tasks.get(key)
    if owner is not None:
        return (owner,), False, True
    return (), key in airflow.absent, key in airflow.absent


def _owners_by_labels(pod: Object, airflow: AirflowAnswer, index: LabelIndex, *, is_asked: bool) -> _Owners:
    """is_asked: those that are over were asked for, for this pod too."""
    owners = index.owners(pod)
    if airflow.left_open and not any(owner.is_active for owner in owners):
        # One that is not listed may have the same labels.
        return _OPEN
    if owners:
        return owners, False, True
    return (), is_asked, is_asked


def task_of(facts: PodFacts) -> TaskKey | LabelsKey:
    """What tells the pods of one task instance from those of others."""
    if facts.identity is not None:
        return key_of(facts.identity)
    return labels_key(labels_of(facts.pod))


def _main_container(pod: Object) -> str:
    annotations: Mapping[str, str] = annotations_of(pod)
    containers: list[dict[str, Any]] = (pod.get("spec") or {}).get("containers") or []
    names = [str(each.get("name")) for each in containers]
    for wanted in (annotations.get(MAIN_CONTAINER_ANNOTATION), "base"):
        if wanted in names:
            return str(wanted)
    return names[0] if names else "base"


def was_left_for_a_while(pod: Object) -> bool:
    """The run that made it was over and held it: it is not wanted beyond its hold."""
    has_ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return has_ended and HELD_SINCE in annotations_of(pod)


def held_until(pod: Object, now: datetime) -> str:
    """Why the pod is to be left alone; empty when it is not."""
    annotations = annotations_of(pod)
    if annotations.get(KEEP, "").lower() == "true":
        return f"kept ({KEEP})"
    is_checked = str(labels_of(pod).get(ALREADY_CHECKED_LABEL, "")).lower() == "true"
    if is_checked and not was_left_for_a_while(pod):
        return "kept (already_checked)"
    text = annotations.get(HELD_UNTIL)
    if text is None:
        return ""
    until = parse_time(text)
    if until is None or until.tzinfo is None:
        # Somebody wanted it held; that we cannot read until when is no reason to end it.
        return f"held until {text!r}, which is no time"
    return f"held until {text}" if until > now else ""
