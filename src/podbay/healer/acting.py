"""One action as requests: ask Airflow once more, write the Event, do it to exactly the pod that was judged."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from podbay.errors import ApiError, PodbayError
from podbay.healer.airflow_api import AirflowApi
from podbay.healer.events import record, revoke
from podbay.healer.restraint import Action
from podbay.kube.client import PODS, KubeClient

__all__ = ["Actor", "Done"]

_log = logging.getLogger("podbay.healer")


@dataclass(frozen=True, slots=True)
class Done:
    """What became of an action."""

    action: Action
    result: Literal["done", "dropped", "failed"]
    """dropped: it was no longer right when it was to be done."""
    text: str = ""


class Actor:
    """Takes actions."""

    def __init__(self, client: KubeClient, airflow: AirflowApi, deployment: str) -> None:
        self._client = client
        self._airflow = airflow
        self._deployment = deployment

    async def take(self, action: Action, now: datetime) -> Done:
        """Do it, or say why not. Raises nothing of the cluster's or Airflow's."""
        try:
            done = await self._take(action, now)
        except PodbayError as error:
            done = Done(action, "failed", str(error))
        _log.log(
            logging.WARNING if done.result == "failed" else logging.INFO,
            "%s %s: pod %s/%s (%s): %s%s",
            action.deed,
            done.result,
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
            },
        )
        return done

    async def _take(self, action: Action, now: datetime) -> Done:
        if action.deed != "report":
            changed = await self._changed(action)
            if changed:
                return Done(action, "dropped", changed)
        # Before it is done: should this process die in between, the Event is what tells.
        event = await record(self._client, action, self._deployment, now)
        if action.deed == "report":
            return Done(action, "done")
        try:
            if action.deed == "fail_task":
                await self._airflow.fail(action.expected[0][0], f"Podbay's healer: {action.message}")
            else:
                await self._delete(action)
        except PodbayError as error:
            await revoke(self._client, action, event, str(error))
            if isinstance(error, ApiError) and error.code in (404, 409):
                return Done(action, "dropped", "the pod has changed or is gone")
            raise
        return Done(action, "done")

    async def _changed(self, action: Action) -> str:
        """What Airflow says now of the pod's task instances, if that is not what was judged."""
        for key, expected in action.expected:
            now = await self._airflow.look(key)
            before = None if expected is None else (expected.state, expected.try_number)
            after = None if now is None else (now.state, now.try_number)
            if before != after:
                return f"task {key} has changed meanwhile"
        return ""

    async def _delete(self, action: Action) -> None:
        conditions = {"uid": action.uid, "resourceVersion": action.version}
        options: dict[str, Any] = {"preconditions": conditions}
        if action.deed == "force_delete":
            options["gracePeriodSeconds"] = 0
        await self._client.delete(PODS, action.name, namespace=action.namespace, options=options)
