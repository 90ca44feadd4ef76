"""POST to a collection: a new object, from decoded body to stored entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podbay.apiserver import metadata, status
from podbay.apiserver.auth.escalation import check_escalation
from podbay.apiserver.registry import ResourceType
from podbay.apiserver.result import ObjectResult
from podbay.apiserver.verbs.context import WriteContext
from podbay.errors import ApiError
from podbay.objects.meta import Object, metadata_of

if TYPE_CHECKING:
    from podbay.apiserver.core import Core

__all__ = ["check_namespace", "create_object"]

_NAME_TRIES = 8
"""Generated names tried before giving up (Go: maxNameGenerationCreateAttempts)."""


def create_object(
    core: Core, resource: ResourceType, obj: Object, ctx: WriteContext, *, applied: bool = False
) -> ObjectResult:
    """Create obj, which is decoded and belongs to this call. Raises ApiError in the server's words.

    `applied` says that managed fields are set already (server-side apply).
    """
    meta = metadata_of(obj)
    check_namespace(resource, meta, ctx.namespace)
    ctx.name = meta.get("name") or ""
    resource.strategy.set_defaults(obj)
    if not applied:
        obj = core.field_manager.track(None, obj, resource=resource, ctx=ctx)
    attributes = ctx.attributes("CREATE", resource, obj)
    core.admission.admit(attributes, core.reader)
    assert attributes.obj is not None
    obj = attributes.obj
    metadata.fill_for_create(obj, uid=core.new_uid(), now=ctx.timestamp, namespace=ctx.namespace)
    check_escalation(ctx.user, obj, None, core.authorizer)
    meta = obj["metadata"]
    prefix = meta.get("generateName") or ""
    if meta.get("name") or not prefix:
        return _store_new(core, resource, obj, ctx)
    for _ in range(_NAME_TRIES - 1):
        meta["name"] = metadata.generate_name(prefix, core.name_suffix())
        if core.store.get(resource.key, ctx.namespace, meta["name"]) is None:
            return _store_new(core, resource, obj, ctx)
    raise status.generate_name_conflict(resource.group_resource, meta["name"])


def check_namespace(resource: ResourceType, meta: Object, namespace: str) -> None:
    """The body's namespace must be absent or the URL's (Go: EnsureObjectNamespaceMatchesRequestNamespace)."""
    given = meta.get("namespace") or ""
    if given == namespace:
        return
    if not given:
        meta["namespace"] = namespace
        return
    if not namespace:
        # A cluster-scoped kind drops a namespace that a client filled in.
        del meta["namespace"]
        return
    raise status.bad_request(
        "the namespace of the provided object does not match the namespace sent on the request"
    )


def _store_new(core: Core, resource: ResourceType, obj: Object, ctx: WriteContext) -> ObjectResult:
    strategy, sctx = resource.strategy, ctx.strategy()
    strategy.prepare_for_create(obj, sctx)
    name = obj["metadata"].get("name") or ""
    errors = metadata.validate_metadata(resource, obj) + strategy.validate(obj, sctx)
    if errors:
        raise status.invalid(resource.gvr.group, resource.kind, name, errors)
    ctx.warnings += strategy.warnings_on_create(obj, sctx)
    strategy.canonicalize(obj)
    ctx.name = name
    if ctx.require_create is not None:
        # A PUT or apply has been authorised as `update` or `patch` only (Go: withAuthorization, at this place).
        ctx.require_create()
    core.admission.validate(ctx.attributes("CREATE", resource, obj), core.reader)
    if ctx.dry_run:
        if core.store.get(resource.key, ctx.namespace, name) is not None:
            raise status.already_exists(resource.group_resource, name)
        return ObjectResult(201, obj=obj, type=resource, warnings=ctx.warnings)
    if obj["metadata"].get("resourceVersion"):
        raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
    entry = core.store.create(resource.key, obj, fields=core.selectable_fields(resource, obj))
    return ObjectResult(201, entry=entry, type=resource, warnings=ctx.warnings)
