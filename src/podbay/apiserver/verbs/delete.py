"""DELETE of one object: preconditions, grace periods, finalizers, propagation, and the end.

Source: k8s.io/apiserver/pkg/registry/rest/delete.go and generic/registry/store.go.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from podbay.apiserver import status
from podbay.apiserver.registry import ResourceType
from podbay.apiserver.result import ObjectResult
from podbay.apiserver.verbs.context import WriteContext, rfc3339
from podbay.objects.meta import Object
from podbay.objects.resource import GroupResource

if TYPE_CHECKING:
    from podbay.apiserver.core import Core
    from podbay.apiserver.storage import Entry

__all__ = ["delete_object"]

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"


def delete_object(
    core: Core, resource: ResourceType, options: dict[str, Any], ctx: WriteContext
) -> ObjectResult:
    """Delete ctx.namespace/ctx.name. options is a checked DeleteOptions body."""
    entry = core.store.get(resource.key, ctx.namespace, ctx.name)
    if entry is None:
        raise status.not_found(resource.group_resource, ctx.name)
    obj = core.typed(resource, entry)
    _check_preconditions(resource, obj, options)
    attributes = ctx.attributes("DELETE", resource, None, core.typed(resource, entry))
    core.admission.admit(attributes, core.reader)
    core.admission.validate(attributes, core.reader)
    deletion = _Deletion(core, resource, entry, ctx)
    if resource.strategy.start_termination(obj, ctx.timestamp):
        finalizers_for(resource, obj["metadata"], options)
        return deletion.keep(obj)
    return deletion.run(obj, options)


def _check_preconditions(resource: ResourceType, obj: Object, options: dict[str, Any]) -> None:
    wanted = options.get("preconditions") or {}
    meta = obj["metadata"]
    subject = GroupResource(resource.gvr.group, resource.kind)
    uid, version = wanted.get("uid"), wanted.get("resourceVersion")
    if uid is not None and uid != meta["uid"]:
        raise status.conflict(
            subject,
            meta["name"],
            f"the UID in the precondition ({uid}) does not match the UID in record ({meta['uid']}). "
            "The object might have been deleted and then recreated",
        )
    if version is not None and version != meta["resourceVersion"]:
        raise status.conflict(
            subject,
            meta["name"],
            f"the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record "
            f"({meta['resourceVersion']}). The object might have been modified",
        )


class _Deletion:
    """One delete under way; the object handed to its methods belongs to it."""

    def __init__(self, core: Core, resource: ResourceType, entry: Entry, ctx: WriteContext) -> None:
        self._core, self._resource, self._entry, self._ctx = core, resource, entry, ctx

    def run(self, obj: Object, options: dict[str, Any]) -> ObjectResult:
        meta = obj["metadata"]
        graceful, pending = self._before_delete(obj, options)
        if pending:
            return ObjectResult(200, entry=self._entry, type=self._resource, warnings=self._ctx.warnings)
        finalizers_for(self._resource, meta, options)
        if meta.get("finalizers"):
            if not graceful:
                _mark_deleting(meta, self._ctx.now)
            return self.keep(obj)
        if graceful and meta["deletionGracePeriodSeconds"] > 0:
            return self.keep(obj)
        if graceful and not self._ctx.dry_run:
            # Watchers see the deletion timestamp before the object goes, as on a real server.
            self._entry = self._core.store.update(
                self._resource.key,
                obj,
                fields=self._core.selectable_fields(self._resource, obj),
                expected=self._entry.version,
            )
        return self._remove(obj)

    def _before_delete(self, obj: Object, options: dict[str, Any]) -> tuple[bool, bool]:
        """(graceful, already pending), deletion metadata set on obj (Go: rest.BeforeDelete)."""
        requested = options.get("gracePeriodSeconds")
        if requested is not None and requested < 0:
            requested = 1
        meta, now = obj["metadata"], self._ctx.now
        strategy = self._resource.strategy
        if meta.get("deletionTimestamp"):
            current = meta.get("deletionGracePeriodSeconds")
            if not current or strategy.grace_period(obj, requested) is None:
                return False, False
            if requested is None or requested >= current:
                return False, True
            _shorten(meta, current, requested, now)
            return True, False
        grace = strategy.grace_period(obj, requested)
        if grace is None:
            return False, False
        meta["deletionTimestamp"] = rfc3339(now + timedelta(seconds=grace))
        meta["deletionGracePeriodSeconds"] = grace
        if meta.get("generation"):
            meta["generation"] += 1
        return True, False

    def keep(self, obj: Object) -> ObjectResult:
        """The object stays, marked as being deleted."""
        if self._ctx.dry_run:
            return ObjectResult(200, obj=obj, type=self._resource, warnings=self._ctx.warnings)
        entry = self._core.store.update(
            self._resource.key,
            obj,
            fields=self._core.selectable_fields(self._resource, obj),
            expected=self._entry.version,
        )
        return ObjectResult(200, entry=entry, type=self._resource, warnings=self._ctx.warnings)

    def _remove(self, obj: Object) -> ObjectResult:
        resource, ctx = self._resource, self._ctx
        if not ctx.dry_run:
            self._core.store.delete(
                resource.key, ctx.namespace, ctx.name, expected=self._entry.version, final=obj
            )
        if resource.strategy.returns_deleted_object:
            return ObjectResult(200, obj=obj, type=resource, warnings=ctx.warnings)
        return ObjectResult(200, obj=_success(resource, obj), warnings=ctx.warnings)


def _success(resource: ResourceType, obj: Object) -> Object:
    meta = obj["metadata"]
    details = {
        "name": meta["name"],
        "group": resource.gvr.group,
        "kind": resource.gvr.resource,
        "uid": meta["uid"],
    }
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {k: v for k, v in details.items() if v},
    }


def _mark_deleting(meta: Object, now: datetime) -> None:
    """A kind without grace waits for its finalizers (Go: markAsDeleting)."""
    if not meta.get("deletionTimestamp"):
        if meta.get("generation"):
            meta["generation"] += 1
        meta["deletionTimestamp"] = rfc3339(now)
    meta["deletionGracePeriodSeconds"] = 0


def _shorten(meta: Object, current: int, requested: int, now: datetime) -> None:
    """A second delete may only bring the end nearer, and never into the past."""
    planned = datetime.strptime(meta["deletionTimestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    moved = planned - timedelta(seconds=current) + timedelta(seconds=requested)
    if moved < now:
        moved = now
        if requested:
            requested = 1
    meta["deletionTimestamp"] = rfc3339(moved)
    meta["deletionGracePeriodSeconds"] = requested


def finalizers_for(resource: ResourceType, meta: Object, options: dict[str, Any]) -> None:
    """Set or drop the two garbage collection finalizers as the options ask."""
    if not resource.strategy.garbage_collected:
        return
    old = meta.get("finalizers") or []
    policy = options.get("propagationPolicy")
    orphans = options.get("orphanDependents")
    if orphans is not None:
        orphan, foreground = bool(orphans), False
    elif policy is not None:
        orphan, foreground = policy == "Orphan", policy == "Foreground"
    else:
        orphan, foreground = ORPHAN in old, FOREGROUND in old
    new = [f for f in old if f not in (ORPHAN, FOREGROUND)]
    if orphan:
        new.append(ORPHAN)
    if foreground:
        new.append(FOREGROUND)
    if new:
        meta["finalizers"] = new
    else:
        meta.pop("finalizers", None)
