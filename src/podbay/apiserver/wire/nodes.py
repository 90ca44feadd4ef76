"""Who runs a pod, and therefore answers its streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podbay.apiserver import status
from podbay.apiserver.field import go_quote
from podbay.apiserver.streams import NodeStreams
from podbay.objects.meta import Object

if TYPE_CHECKING:
    from podbay.apiserver.core import Core

__all__ = ["node_of"]


def node_of(core: Core, pod: Object) -> NodeStreams | None:
    """The node of the pod, None while it is not bound. Raises ApiError 500 when that node is not served here."""
    name = (pod.get("spec") or {}).get("nodeName")
    if not name:
        return None
    node = core.nodes.get(name)
    if node is None:
        raise status.internal_error(f"node {go_quote(name)} has no agent in this cluster")
    return node
