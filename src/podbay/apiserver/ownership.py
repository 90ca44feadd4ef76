"""Managed fields as the verbs need them: between the write's context and the field manager of patch/."""

from __future__ import annotations

from podbay.apiserver.patch.managed import FieldManager, Write, reset_fields
from podbay.apiserver.registry import ResourceType
from podbay.apiserver.schema.types import Schema
from podbay.apiserver.verbs.context import WriteContext
from podbay.objects.meta import Object

__all__ = ["Ownership"]


class Ownership:
    """Sets `metadata.managedFields` on every write; carries out server-side apply."""

    def __init__(self, schema: Schema) -> None:
        self._manager = FieldManager(schema)

    def track(self, live: Object | None, new: Object, *, resource: ResourceType, ctx: WriteContext) -> Object:
        """Own what changed between live and new, and return new."""
        if resource.storage_key:
            # A second name for another collection: the stored shape is not that of resource.type_name.
            return new
        return self._manager.track(live, new, type_name=resource.type_name, write=_write(resource, ctx))

    def apply(
        self, live: Object | None, applied: Object, *, resource: ResourceType, ctx: WriteContext, force: bool
    ) -> Object:
        """The live object with the configuration merged in. Raises ApiError 409 for conflicts."""
        return self._manager.apply(
            live, applied, type_name=resource.type_name, write=_write(resource, ctx), force=force
        )


def _write(resource: ResourceType, ctx: WriteContext) -> Write:
    return Write(
        manager=ctx.manager,
        now=ctx.timestamp,
        api_version=resource.gvr.api_version,
        subresource=ctx.subresource,
        reset=reset_fields(resource.kind, ctx.subresource),
    )
