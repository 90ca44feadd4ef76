"""PATCH: four ways to say a change, one way to store it.

Source: k8s.io/apiserver/pkg/endpoints/handlers/patch.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from podbay.apiserver import bodies, status
from podbay.apiserver.patch.configuration import read_configuration
from podbay.apiserver.patch.json_patch import apply_json_patch
from podbay.apiserver.patch.merge_patch import apply_merge_patch
from podbay.apiserver.patch.strategic import apply_strategic_merge_patch
from podbay.apiserver.result import ObjectResult
from podbay.apiserver.schema.decode import normalize
from podbay.apiserver.verbs.context import Target, WriteContext
from podbay.apiserver.verbs.create import check_namespace, create_object
from podbay.apiserver.verbs.update import check_names, update_object
from podbay.objects.api import PatchType
from podbay.objects.meta import Object, metadata_of

if TYPE_CHECKING:
    from podbay.apiserver.core import Core
    from podbay.apiserver.storage import Entry

__all__ = ["PatchRequest", "patch_object"]


@dataclass(frozen=True, slots=True)
class PatchRequest:
    """A patch as it came: its type, its body, strictness and, for apply, force."""

    type: PatchType
    body: Any
    field_validation: Literal["Strict", "Warn", "Ignore"]
    force: bool = False


def patch_object(core: Core, target: Target, patch: PatchRequest, ctx: WriteContext) -> ObjectResult:
    """Change ctx.namespace/ctx.name. Raises ApiError, 404 unless an apply creates the object."""
    entry = core.store.get(target.type.key, ctx.namespace, ctx.name)
    if patch.type == "apply":
        return _apply(core, target, patch, ctx, entry)
    if entry is None:
        raise status.not_found(target.type.group_resource, ctx.name)

    def change(old: Object) -> Object:
        resource = target.type
        shown = resource.from_storage(old) if resource.from_storage is not None else old
        patched = _patched(core, target, patch, shown)
        obj = bodies.decode_patched(core, resource, patched, patch, ctx.warnings)
        if resource.to_storage is not None:
            obj = resource.to_storage(obj)
        check_namespace(target.type, metadata_of(obj), ctx.namespace)
        check_names(obj, ctx)
        return obj

    return update_object(core, target, entry, change, ctx)


def _patched(core: Core, target: Target, patch: PatchRequest, old: Object) -> Object:
    strict = patch.field_validation != "Ignore"
    if patch.type == "json":
        return apply_json_patch(old, patch.body, strict=strict)
    if patch.type == "merge":
        return apply_merge_patch(old, patch.body, strict=strict)
    return apply_strategic_merge_patch(core.schema, target.type.type_name, old, patch.body)


def _apply(
    core: Core, target: Target, patch: PatchRequest, ctx: WriteContext, entry: Entry | None
) -> ObjectResult:
    resource = target.type
    if entry is None and target.subresource is not None:
        raise status.not_found(resource.group_resource, ctx.name)
    config = read_configuration(patch.body)
    live = core.typed(resource, entry) if entry is not None else None
    merged = core.field_manager.apply(live, config.obj, resource=resource, ctx=ctx, force=patch.force)
    refusal = config.refusal()
    if refusal is not None and patch.field_validation == "Strict":
        raise refusal
    if config.strict_error and patch.field_validation == "Warn":
        ctx.warnings.append(config.strict_error)
    merged = normalize(core.schema, resource.type_name, merged)
    check_namespace(resource, metadata_of(merged), ctx.namespace)
    check_names(merged, ctx)
    if entry is None:
        _refuse_uid(target, merged, ctx)
        return create_object(core, resource, merged, ctx, applied=True)
    return update_object(core, target, entry, lambda _old: merged, ctx, applied=True)


def _refuse_uid(target: Target, merged: Object, ctx: WriteContext) -> None:
    """Whoever names a uid means an object that exists."""
    uid = metadata_of(merged).get("uid")
    if uid:
        raise status.conflict(
            target.type.group_resource,
            ctx.name,
            f"uid mismatch: the provided object specified uid {uid}, and no existing object was found",
        )
