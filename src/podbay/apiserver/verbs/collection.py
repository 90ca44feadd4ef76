"""DELETE of a collection: each selected object as if deleted alone; what goes wrong first is the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podbay.apiserver.registry import ResourceType
from podbay.apiserver.result import ListResult
from podbay.apiserver.verbs.context import WriteContext
from podbay.apiserver.verbs.delete import delete_object
from podbay.apiserver.verbs.options import Selection
from podbay.apiserver.verbs.read import list_objects
from podbay.errors import ApiError

if TYPE_CHECKING:
    from podbay.apiserver.core import Core

__all__ = ["delete_collection"]


def delete_collection(
    core: Core,
    resource: ResourceType,
    selection: Selection,
    options: dict[str, Any],
    ctx: WriteContext,
) -> ListResult:
    """The objects as they were when the call came (Go: Store.DeleteCollection). Not atomic, as there."""
    namespace = ctx.namespace if resource.namespaced else None
    found = list_objects(core, resource, namespace, selection)
    for entry in found.page.entries:
        one = WriteContext(
            user=ctx.user,
            now=ctx.now,
            namespace=entry.namespace,
            name=entry.name,
            dry_run=ctx.dry_run,
            warnings=ctx.warnings,
        )
        try:
            delete_object(core, resource, dict(options), one)
        except ApiError as err:
            # Somebody else was faster: that is what the caller wanted.
            if err.code != 404:
                raise
    return found
