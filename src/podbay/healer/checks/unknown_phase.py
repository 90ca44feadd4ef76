"""Phase Unknown: the node does not answer. Pure. The cluster's own controllers end such pods when they give the node up."""

from __future__ import annotations

from podbay.healer.facts import Case, Finding

__all__ = ["check"]


def check(case: Case) -> Finding | None:
    view, nodes = case.pod.view, case.pod.cluster.nodes
    if view.phase != "Unknown" or view.deleted_at is not None:
        return None
    where = "is gone" if nodes is not None and view.node not in nodes else "does not answer"
    return Finding(
        check="UnknownPhase",
        deed="report",
        message=f"its state is unknown: node {view.node or '(none)'} {where}",
        age=None,
        grace=case.rules.unknown,
    )
