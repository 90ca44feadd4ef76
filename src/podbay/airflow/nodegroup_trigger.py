"""The trigger of a node group's setup and teardown: waits in the triggerer, so that no worker slot is held meanwhile.

Light to import, as triggers.py is; what calls AWS is imported in a thread.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any, Final

from airflow.triggers.base import TaskFailedEvent, TriggerEvent

from podbay.airflow.carried import Carried
from podbay.airflow.triggers import PodTrigger, event_of
from podbay.errors import PodbayError

if TYPE_CHECKING:
    from podbay.airflow.nodegroup_work import NodegroupWork

__all__ = ["NODEGROUP_TRIGGER", "NodegroupTrigger"]

NODEGROUP_TRIGGER: Final = "podbay.airflow.nodegroup_trigger.NodegroupTrigger"


class NodegroupTrigger(PodTrigger):
    """How a trigger lives and is ended is the pod's trigger's; what it does is not."""

    thing = "Its node group (podbay aws nodegroups --remove)"
    _work: NodegroupWork | None  # type: ignore[assignment]

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return NODEGROUP_TRIGGER, self._arguments

    async def _event(self) -> TriggerEvent:
        try:
            work = self._work = await self._begun()
            return event_of(await work.run(), work.carried, try_number=work.key.try_number)
        except (PodbayError, TimeoutError) as error:
            self.log.error(str(error) or type(error).__name__)
        except Exception:
            self.log.exception("The task failed for a reason that nobody has thought of; please report it.")
        await self._give_up()
        return TaskFailedEvent()

    async def _begun(self) -> NodegroupWork:  # type: ignore[override]
        carried = Carried.from_text(self._arguments.get("spec"))
        module = await asyncio.to_thread(importlib.import_module, "podbay.airflow.nodegroup_work")
        work: NodegroupWork = module.work_of_trigger(carried, self.task_instance, self.log)
        return work
