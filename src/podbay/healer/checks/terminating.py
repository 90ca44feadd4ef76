"""A pod that was asked to end and does not go. Pure.

Only a kubelet can say that its containers have ended. Where its node is no more in the cluster nobody will, and the
object may go; a node that is merely silent may still run them. Source: Kubernetes, "Force Delete StatefulSet Pods".
"""

from __future__ import annotations

from podbay.healer.facts import Case, Deed, Finding
from podbay.objects.meta import metadata_of

__all__ = ["check"]


def check(case: Case) -> Finding | None:
    pod, view = case.pod, case.pod.view
    if view.deleted_at is None:
        return None
    metadata = metadata_of(pod.pod)
    finalizers = metadata.get("finalizers") or []
    deed: Deed = "report"
    if finalizers:
        why = f"finalizers hold it: {', '.join(map(str, finalizers))}"
    elif not view.node:
        why = "it was never bound to a node, and the cluster does not remove it"
    elif case.pod.cluster.nodes is None:
        why = f"its node {view.node} does not answer, or is gone; the healer may not list nodes"
    elif view.node in case.pod.cluster.nodes:
        why = f"its node {view.node} does not say that its containers have ended"
    else:
        deed, why = "force_delete", f"its node {view.node} is no longer in the cluster"
    grace = metadata.get("deletionGracePeriodSeconds")
    return Finding(
        check="StuckTerminating",
        deed=deed,
        message=f"asked to end and still here: {why}",
        age=(case.pod.cluster.now - view.deleted_at).total_seconds(),
        grace=case.rules.terminating + float(grace or 0),
    )
