"""What the healer does, as Kubernetes Events on the pods and Secrets: `podbay heal history`, `kubectl describe` and dashboards read them."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, Final

from podbay.errors import ApiError
from podbay.healer.restraint import Action
from podbay.kube.client import KubeClient
from podbay.objects.meta import Object, metadata_of
from podbay.objects.resource import GVR
from podbay.pods.identity import safe_label_value

__all__ = ["COMPONENT", "EVENTS", "history", "record", "revoke"]

EVENTS: Final = GVR("", "v1", "events")
COMPONENT: Final = "podbay-healer"
_LABEL: Final = "podbay.dev/healer"
_MESSAGE_MAX: Final = 1024
"""Characters of an Event's message (validation of events.k8s.io: noteLengthLimit)."""
_NAME_MAX: Final = 253
"""Characters of an object's name (DNS-1123 subdomain)."""
_HASH: Final = 16
_VERBS: Final = {
    "report": "Report",
    "delete": "Delete",
    "force_delete": "ForceDelete",
    "fail_task": "FailTask",
    "retry_task": "RetryTask",
}


async def record(client: KubeClient, action: Action, deployment: str, now: datetime) -> str:
    """Write the Event, or count up the one that says the same; gives its name. Raises ApiError, UnreachableError."""
    event = _event(action, deployment, now)
    name = str(metadata_of(event)["name"])
    try:
        await client.create(EVENTS, event, namespace=action.namespace)
    except ApiError as error:
        if error.code != 409 or error.reason != "AlreadyExists":
            raise
        old = await client.get(EVENTS, name, namespace=action.namespace)
        patch = {
            "message": event["message"],
            "count": int(old.get("count") or 0) + 1,
            "lastTimestamp": event["lastTimestamp"],
        }
        await client.patch(EVENTS, name, patch, namespace=action.namespace)
    return name


async def revoke(client: KubeClient, action: Action, name: str, why: str) -> None:
    """Say in the Event that it was not done after all."""
    message = f"{action.message}. Not done: {why}"[:_MESSAGE_MAX]
    await client.patch(EVENTS, name, {"message": message}, namespace=action.namespace)


async def history(client: KubeClient, namespace: str, deployment: str) -> list[Object]:
    """The Events of a deployment's healer that the cluster still has, oldest first."""
    found = await client.list(
        EVENTS, namespace=namespace, label_selector=f"{_LABEL}={safe_label_value(deployment)}"
    )
    return sorted(found.items, key=lambda event: str(event.get("lastTimestamp") or ""))


def _begin(name: str) -> str:
    """As much of a name as leaves room for the hash, which tells the Events apart."""
    return name[: _NAME_MAX - _HASH - 1].rstrip("-.")


def _event(action: Action, deployment: str, now: datetime) -> dict[str, Any]:
    same = hashlib.sha256(f"{action.uid}/{action.check}/{action.deed}".encode()).hexdigest()[:_HASH]
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{_begin(action.name)}.{same}",
            "namespace": action.namespace,
            "labels": {_LABEL: safe_label_value(deployment)},
        },
        "involvedObject": {
            "apiVersion": "v1",
            "kind": action.kind,
            "namespace": action.namespace,
            "name": action.name,
            "uid": action.uid,
        },
        "reason": action.check,
        "action": _VERBS[action.deed],
        "message": action.message[:_MESSAGE_MAX],
        "type": "Warning",
        "count": 1,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": safe_label_value(deployment),
    }
