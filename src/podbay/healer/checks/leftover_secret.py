"""A Secret that was made for one pod, and that pod is gone. Pure.

It belongs to its pod (ownerReferences), so the cluster's garbage collector removes it; where that does not run, or was
told to leave dependents, somebody's connection would lie in the namespace for ever.
Source: Kubernetes, "Owners and Dependents"; podbay.airflow.lending.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from podbay.healer.facts import Finding
from podbay.healer.rules import Rules
from podbay.lifecycle.view import parse_time
from podbay.objects.meta import Object, labels_of, metadata_of, name_of
from podbay.pods.identity import DEPLOYMENT_LABEL, safe_label_value
from podbay.pods.secrets import LENT_PREFIX

__all__ = ["check_leftover", "pod_of"]


def pod_of(secret: Object) -> tuple[str, str] | None:
    """Name and uid of the one pod that it was made for."""
    owners = metadata_of(secret).get("ownerReferences") or []
    if len(owners) != 1 or owners[0].get("kind") != "Pod" or not owners[0].get("uid"):
        return None
    return str(owners[0].get("name")), str(owners[0]["uid"])


def check_leftover(secret: Object, *, pods: Collection[str], now: datetime, rules: Rules) -> Finding | None:
    """pods: the uids of all pods of the namespace; now: the API server's clock."""
    metadata = metadata_of(secret)
    if not name_of(secret).startswith(LENT_PREFIX) or metadata.get("deletionTimestamp"):
        return None
    if labels_of(secret).get(DEPLOYMENT_LABEL) != safe_label_value(rules.deployment):
        return None
    owner = pod_of(secret)
    if owner is not None and owner[1] in pods:
        return None
    made = parse_time(metadata.get("creationTimestamp"))
    if owner is None:
        deed, why = False, "it does not say for which pod it was made; delete it if no pod refers to it"
    else:
        deed, why = rules.name_proves, f"pod {owner[0]}, for which it was made, is gone"
        if not deed:
            why += "; left alone, for its Airflow has the default name"
    return Finding(
        check="LeftoverSecret",
        deed="delete" if deed else "report",
        message=f"values lent to a task lie in a Secret that nobody needs: {why}",
        age=max(0.0, (now - made).total_seconds()) if made is not None else 0.0,
        grace=rules.leftover,
    )
