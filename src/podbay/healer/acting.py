"""One action as requests: ask Airflow once more, write the Event, do it to exactly the pod that was judged."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from podbay.errors import ApiError, PodbayError
from podbay.healer.airflow_api import AirflowApi
from podbay.healer.events import record, revoke
from podbay.healer.matching import LabelIndex
from podbay.healer.restraint import Action
from podbay.healer.sites import SECRETS
from podbay.healer.telling import TaskTeller
from podbay.kube.client import PODS, KubeClient
from podbay.lifecycle.hold import HEALED
from podbay.objects.meta import metadata_of, uid_of

__all__ = ["Actor", "Done"]

_log = logging.getLogger("podbay.healer")


@dataclass(frozen=True, slots=True)
class Done:
    """What became of an action."""

    action: Action
    result: Literal["done", "dropped", "failed"]
    """dropped: it was no longer right when it was to be done."""
    text: str = ""
    began: datetime | None = None
    seconds: float = 0.0


class Actor:
    """Takes actions."""

    def __init__(
        self,
        client: KubeClient,
        airflow: AirflowApi,
        deployment: str,
        *,
        clients: Mapping[str, KubeClient] | None = None,
        teller: TaskTeller | None = None,
    ) -> None:
        """clients: of several clusters, by the names that actions have."""
        self._clients = clients or {"": client}
        self._airflow = airflow
        self._deployment = deployment
        self._teller = teller or TaskTeller(airflow, None)

    async def take(self, action: Action, now: datetime) -> Done:
        """Do it, or say why not. Raises nothing of the cluster's or Airflow's."""
        try:
            done = await self._take(action, now)
        except PodbayError as error:
            done = Done(action, "failed", str(error))
        if done.result == "done":
            await self._teller.tell(action, now)
        _log.log(
            logging.WARNING if done.result == "failed" else logging.INFO,
            "%s %s: %s %s/%s (%s): %s%s",
            action.deed,
            done.result,
            action.kind.lower(),
            action.namespace,
            action.name,
            action.check,
            action.message,
            f" [{done.text}]" if done.text else "",
            extra={
                "deed": action.deed,
                "result": done.result,
                "check": action.check,
                "pod": action.name,
                "uid": action.uid,
                "kind": action.kind,
                "cluster": action.cluster,
            },
        )
        return done

    async def _take(self, action: Action, now: datetime) -> Done:
        client = self._clients[action.cluster]
        if action.deed != "report":
            changed = await self._changed(client, action)
            if changed:
                return Done(action, "dropped", changed)
        # Before it is done: should this process die in between, the Event is what tells.
        event = await record(client, action, self._deployment, now)
        if action.deed == "report":
            return Done(action, "done")
        try:
            if action.deed == "fail_task":
                await self._airflow.fail(action.expected[0][0], f"Podbay's healer: {action.message}")
            elif action.deed == "retry_task":
                await self._airflow.retry(action.expected[0][0])
            else:
                await _delete(client, action)
        except PodbayError as error:
            return await self._take_back(client, action, event, error)
        return Done(action, "done")

    async def _take_back(self, client: KubeClient, action: Action, event: str, error: PodbayError) -> Done:
        """Say everywhere that it was not done."""
        code = error.code if isinstance(error, ApiError) else 0
        if code != 404:
            # First: the task believes what its pod says, and an Event can fail too.
            await _unsay(client, action)
        untold = ""
        try:
            await revoke(client, action, event, str(error))
        except PodbayError as second:
            untold = f"; its Event says still that it was done: {second}"
        if code in (404, 409):
            return Done(action, "dropped", f"the {action.kind.lower()} has changed or is gone{untold}")
        return Done(action, "failed", f"{error}{untold}")

    async def _changed(self, client: KubeClient, action: Action) -> str:
        """What Airflow and the cluster say now, if that is not what was judged."""
        if action.must_be_gone is not None and await _is_there(
            client, action.namespace, *action.must_be_gone
        ):
            return f"pod {action.must_be_gone[0]} is there"
        for key, expected in action.expected:
            now = await self._airflow.look(key)
            before = None if expected is None else (expected.state, expected.try_number)
            after = None if now is None else (now.state, now.try_number)
            if before != after:
                return f"task {key} has changed meanwhile"
        if action.unowned is not None:
            changed = await self._airflow.changed_since(action.unowned.since)
            owners = LabelIndex(changed).having(action.unowned.labels)
            if owners:
                return f"task {owners[0].key} has come meanwhile, and the pod has its labels"
        return ""


async def _delete(client: KubeClient, action: Action) -> None:
    version = action.version
    if action.kind == "Pod":
        version = await _say_why(client, action)
    options: dict[str, Any] = {"preconditions": {"uid": action.uid, "resourceVersion": version}}
    if action.deed == "force_delete":
        options["gracePeriodSeconds"] = 0
    resource = PODS if action.kind == "Pod" else SECRETS
    await client.delete(resource, action.name, namespace=action.namespace, options=options)


async def _say_why(client: KubeClient, action: Action) -> str:
    """On the pod itself, for a task that waits for it; gives its new version. Raises ApiError 409 when it has changed."""
    metadata = {"uid": action.uid, "resourceVersion": action.version}
    patch = {"metadata": {**metadata, "annotations": {HEALED: f"{action.message} ({action.check})"}}}
    try:
        pod = await client.patch(PODS, action.name, patch, namespace=action.namespace)
    except ApiError as error:
        if error.code in (404, 409):
            raise
        # Rights of an earlier version, or a rule about changes to pods: to end the pod matters more.
        return action.version
    return str(metadata_of(pod).get("resourceVersion") or "")


async def _unsay(client: KubeClient, action: Action) -> None:
    """The pod is still there: whoever ends it now is not to be taken for us."""
    if action.kind == "Pod" and action.deed in ("delete", "force_delete"):
        patch = {"metadata": {"uid": action.uid, "annotations": {HEALED: None}}}
        with suppress(PodbayError):
            await client.patch(PODS, action.name, patch, namespace=action.namespace)


async def _is_there(client: KubeClient, namespace: str, name: str, uid: str) -> bool:
    try:
        pod = await client.get(PODS, name, namespace=namespace)
    except ApiError as error:
        if error.code == 404:
            return False
        raise
    return uid_of(pod) == uid
