"""What stands between a podbay.yaml and a cluster: objects to create, change, delete, and what is in the way. Pure.

A plan holds the versions of the objects it was made from; applying it fails cleanly where somebody has changed one since.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from podbay.deployment.desired import desired_objects
from podbay.deployment.difference import FieldChange, field_changes
from podbay.deployment.labels import (
    ADOPTED_ANNOTATION,
    MANAGED_BY,
    NAMESPACE_LABEL,
    REVISION_ANNOTATION,
    is_applied_by_us,
    is_owned,
)
from podbay.deployment.model import ENV_SECRETS, Deployment
from podbay.deployment.parts import COLLECTIONS
from podbay.objects.meta import Object, annotations_of, labels_of, metadata_of, name_of
from podbay.pods.identity import DEPLOYMENT_LABEL

__all__ = ["Action", "Change", "Key", "Observed", "Plan", "make_plan"]

Key: TypeAlias = tuple[str, str]
"""Kind and name; every deployment has one namespace."""
Action: TypeAlias = Literal["create", "update", "delete", "release", "none"]
"""release: an object that was there before us loses our fields and stays (destroy only)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What a cluster has: every object that carries our labels or one of our names."""

    objects: Mapping[Key, Object] = field(default_factory=dict)
    unserved: frozenset[str] = frozenset()
    """Kinds that this cluster does not know."""
    elsewhere: tuple[str, ...] = ()
    """Other namespaces of a deployment of this name."""
    references: Mapping[Key, bool] = field(default_factory=dict)
    """Objects that podbay.yaml names but does not make: whether they are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to happen to one object."""

    action: Action
    key: Key
    desired: Object | None = None
    live: Object | None = None
    fields: tuple[FieldChange, ...] = ()
    obstacle: str = ""
    """Why it cannot be done as things stand; empty when it can."""
    drift: bool = False
    """podbay.yaml has not changed since the last apply; the cluster has."""
    force: bool = False
    """Take fields from other managers: allowed by whoever applies."""

    def __str__(self) -> str:
        return f"{self.key[0]} {self.key[1]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that applying would do, in order. `notes` is what a person should know and no apply mends."""

    deployment: Deployment
    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()

    @property
    def work(self) -> tuple[Change, ...]:
        """Changes that are none no more."""
        return tuple(each for each in self.changes if each.action != "none")

    @property
    def obstacles(self) -> tuple[str, ...]:
        return tuple(f"{each}: {each.obstacle}" for each in self.changes if each.obstacle)

    @property
    def revision(self) -> str:
        """The digest of all that is desired."""
        namespace = next(each.desired for each in self.changes if each.desired is not None)
        return annotations_of(namespace)[REVISION_ANNOTATION]


def make_plan(
    deployment: Deployment, observed: Observed, *, adopt: bool = False, force: bool = False
) -> Plan:
    """Compare. `adopt` takes objects that were there before; `force` takes back fields that others have changed."""
    desired = desired_objects(deployment)
    live_namespace = observed.objects.get(("Namespace", deployment.namespace))
    revision = annotations_of(desired[0])[REVISION_ANNOTATION]
    unchanged = (
        live_namespace is not None and annotations_of(live_namespace).get(REVISION_ANNOTATION) == revision
    )
    changes = [
        _change(each, observed, deployment, adopt=adopt, force=force, drift=unchanged) for each in desired
    ]
    wanted = {each.key for each in changes}
    changes += _prunes(deployment, observed, wanted)
    return Plan(deployment=deployment, changes=tuple(changes), notes=tuple(_notes(deployment, observed)))


def _change(
    desired: Object, observed: Observed, deployment: Deployment, *, adopt: bool, force: bool, drift: bool
) -> Change:
    kind, name = desired["kind"], name_of(desired)
    live = observed.objects.get((kind, name))
    if kind in observed.unserved:
        return Change(action="create", key=(kind, name), desired=desired, obstacle=_unserved(kind))
    if live is None:
        return Change(action="create", key=(kind, name), desired=desired, drift=drift)
    obstacle, adopted = _ownership(live, deployment, adopt=adopt)
    if adopted:
        desired = copy.deepcopy(desired)
        metadata = metadata_of(desired)
        metadata["annotations"] = {**(metadata.get("annotations") or {}), ADOPTED_ANNOTATION: "true"}
    fields = tuple(field_changes(desired, live))
    if not obstacle and not force and not (adopt and adopted):
        obstacle = _conflict(fields)
    if not fields and not obstacle:
        return Change(action="none", key=(kind, name), desired=desired, live=live)
    return Change(
        action="update",
        key=(kind, name),
        desired=desired,
        live=live,
        fields=fields,
        obstacle=obstacle,
        drift=drift,
        force=force or (adopt and adopted),
    )


def _ownership(live: Object, deployment: Deployment, *, adopt: bool) -> tuple[str, bool]:
    """What is in the way, and whether the object was there before us."""
    if (live.get("metadata") or {}).get("deletionTimestamp"):
        return "is being deleted; wait until it is gone, then plan again", False
    if is_owned(live, deployment):
        return "", annotations_of(live).get(ADOPTED_ANNOTATION) == "true"
    labels = labels_of(live)
    if labels.get(MANAGED_BY) == "podbay" and labels.get(DEPLOYMENT_LABEL):
        whose = f"deployment {labels[DEPLOYMENT_LABEL]} (namespace {labels.get(NAMESPACE_LABEL, '?')})"
        return f"belongs to {whose}; give this one another name or namespace", False
    if not adopt:
        return "is there already and not Podbay's; remove it, or take it over with --adopt", False
    return "", True


def _conflict(fields: Sequence[FieldChange]) -> str:
    taken = [each for each in fields if each.owners]
    if not taken:
        return ""
    said = "; ".join(f"{each} was changed by {', '.join(each.owners)}" for each in taken)
    return f"{said}; set it back with --force, or change podbay.yaml"


def _unserved(kind: str) -> str:
    hint = " (set admission_policy: off to do without)" if "Admission" in kind else ""
    return f"this cluster does not serve {kind}{hint}"


def _prunes(deployment: Deployment, observed: Observed, wanted: set[Key]) -> list[Change]:
    """Objects of ours that podbay.yaml no longer asks for; those that let somebody launch pods go first."""
    order = {each.kind: number for number, each in enumerate(COLLECTIONS)}
    found = [
        Change(action="delete", key=key, live=live)
        for key, live in observed.objects.items()
        if key not in wanted and is_deletable(live, deployment)
    ]
    return sorted(found, key=lambda each: (-order[each.key[0]], each.key))


def is_deletable(live: Object, deployment: Deployment) -> bool:
    """Ours by labels and field manager, and not there before us."""
    return (
        is_owned(live, deployment)
        and is_applied_by_us(live)
        and annotations_of(live).get(ADOPTED_ANNOTATION) != "true"
        and not (live.get("metadata") or {}).get("deletionTimestamp")
    )


def _notes(deployment: Deployment, observed: Observed) -> list[str]:
    notes = [
        f"namespace {each} belongs to a deployment of the same name, perhaps from an earlier {deployment.source}; "
        "`podbay destroy` with that file removes it"
        for each in observed.elsewhere
    ]
    for (kind, name), there in observed.references.items():
        if not there:
            notes.append(f"{kind} {name} is named in {deployment.source} and not in the cluster yet")
    secret = observed.objects.get(("Secret", ENV_SECRETS))
    known = (secret or {}).get("data") or {}
    for name in deployment.secrets:
        if name not in known:
            notes.append(f"secret variable {name} has no value yet: podbay secrets set {name}")
    return notes
