"""PUT and the storing half of PATCH: a changed object, checked against the one in the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from podbay.apiserver import field, metadata, status
from podbay.apiserver.auth.escalation import check_escalation
from podbay.apiserver.patch.managed import keep_times
from podbay.apiserver.registry import ResourceType, Strategy
from podbay.apiserver.result import ObjectResult
from podbay.apiserver.verbs.context import Target, WriteContext
from podbay.apiserver.verbs.create import check_namespace, create_object
from podbay.objects.meta import Object, metadata_of

if TYPE_CHECKING:
    from podbay.apiserver.core import Core
    from podbay.apiserver.storage import Entry

__all__ = ["check_names", "replace_object", "update_object"]


def replace_object(core: Core, target: Target, obj: Object, ctx: WriteContext) -> ObjectResult:
    """PUT: obj is decoded and belongs to this call."""
    check_names(obj, ctx)
    entry = core.store.get(target.type.key, ctx.namespace, ctx.name)
    strategy = strategy_of(target)
    if entry is None:
        if not strategy.allow_create_on_update:
            raise status.not_found(target.type.group_resource, ctx.name)
        return create_object(core, target.type, obj, ctx)
    _check_uid(target.type, entry, obj, ctx)
    return update_object(core, target, entry, lambda _old: obj, ctx)


def strategy_of(target: Target) -> Strategy:
    sub = target.subresource
    return sub.strategy if sub is not None and sub.strategy is not None else target.type.strategy


def check_names(obj: Object, ctx: WriteContext) -> None:
    """The body's name and namespace must be the URL's (Go: checkName)."""
    meta = metadata_of(obj)
    name = meta.get("name") or ""
    if not name:
        raise status.bad_request("name must be provided")
    if name != ctx.name:
        raise status.bad_request(
            f"the name of the object ({name}) does not match the name on the URL ({ctx.name})"
        )
    namespace = meta.get("namespace") or ""
    if namespace and ctx.namespace and namespace != ctx.namespace:
        raise status.bad_request(
            f"the namespace of the object ({namespace}) does not match the namespace on the request ({ctx.namespace})"
        )


def _check_uid(resource: ResourceType, entry: Entry, obj: Object, ctx: WriteContext) -> None:
    wanted = metadata_of(obj).get("uid") or ""
    if not wanted:
        return
    actual = entry.object()["metadata"].get("uid", "")
    if wanted != actual:
        key = "/".join(p for p in ("/registry", resource.gvr.resource, ctx.namespace, ctx.name) if p)
        raise status.conflict(
            resource.group_resource,
            ctx.name,
            f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: "
            f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {actual}",
        )


def update_object(
    core: Core,
    target: Target,
    entry: Entry,
    change: Callable[[Object], Object],
    ctx: WriteContext,
    *,
    applied: bool = False,
) -> ObjectResult:
    """Store change(old). `applied` says that managed fields are set already (server-side apply)."""
    resource, strategy = target.type, strategy_of(target)
    old = core.typed(resource, entry)
    obj = change(core.typed(resource, entry))
    strategy.set_defaults(obj)
    if not applied:
        obj = core.field_manager.track(old, obj, resource=resource, ctx=ctx)
    attributes = ctx.attributes("UPDATE", resource, obj, old)
    core.admission.admit(attributes, core.reader)
    assert attributes.obj is not None
    obj = attributes.obj
    check_escalation(ctx.user, obj, old, core.authorizer)
    _check_version(resource, strategy, obj, entry, ctx)
    _before_update(resource, strategy, obj, old, ctx)
    core.admission.validate(ctx.attributes("UPDATE", resource, obj, old), core.reader)
    if ctx.dry_run:
        return ObjectResult(200, obj=obj, type=resource, warnings=ctx.warnings)
    if _finishes_deletion(resource.strategy, obj, old):
        core.store.delete(resource.key, ctx.namespace, ctx.name, expected=entry.version, final=obj)
        return ObjectResult(200, obj=obj, type=resource, warnings=ctx.warnings)
    keep_times(obj, old)
    stored = core.store.update(
        resource.key, obj, fields=core.selectable_fields(resource, obj), expected=entry.version
    )
    return ObjectResult(200, entry=stored, type=resource, warnings=ctx.warnings)


def _check_version(
    resource: ResourceType, strategy: Strategy, obj: Object, entry: Entry, ctx: WriteContext
) -> None:
    meta = metadata_of(obj)
    given = meta.get("resourceVersion") or ""
    if given in ("", "0"):
        if not strategy.allow_unconditional_update:
            path = field.Path("metadata").child("resourceVersion")
            error = field.invalid(path, 0, "must be specified for an update")
            raise status.invalid(resource.gvr.group, resource.kind, ctx.name, [error])
        meta["resourceVersion"] = str(entry.version)
    elif given != str(entry.version):
        raise status.conflict(
            resource.group_resource,
            ctx.name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )


_CARRIED_OVER = ("creationTimestamp", "deletionTimestamp")


def _before_update(
    resource: ResourceType, strategy: Strategy, obj: Object, old: Object, ctx: WriteContext
) -> None:
    """Go: rest.BeforeUpdate."""
    meta, old_meta, sctx = obj["metadata"], old["metadata"], ctx.strategy()
    check_namespace(resource, meta, ctx.namespace)
    if "generation" in old_meta:
        meta["generation"] = old_meta["generation"]
    else:
        meta.pop("generation", None)
    strategy.prepare_for_update(obj, old, sctx)
    if not meta.get("uid"):
        meta["uid"] = old_meta["uid"]
    for key in _CARRIED_OVER:
        if old_meta.get(key):
            meta[key] = old_meta[key]
    if "deletionGracePeriodSeconds" in old_meta and "deletionGracePeriodSeconds" not in meta:
        meta["deletionGracePeriodSeconds"] = old_meta["deletionGracePeriodSeconds"]
    whole, change = strategy.metadata_repeats
    errors = metadata.update_errors(resource, obj, old, whole=whole, change=change)
    errors += strategy.validate_update(obj, old, sctx)
    if errors:
        raise status.invalid(resource.gvr.group, resource.kind, ctx.name, errors)
    ctx.warnings += strategy.warnings_on_update(obj, old, sctx)
    strategy.canonicalize(obj)


def _finishes_deletion(strategy: Strategy, obj: Object, old: Object) -> bool:
    """The update removed what held a deleted object back (Go: ShouldDeleteDuringUpdate)."""
    old_meta = old["metadata"]
    if strategy.has_finalizers(obj) or not old_meta.get("deletionTimestamp"):
        return False
    return not old_meta.get("deletionGracePeriodSeconds")
