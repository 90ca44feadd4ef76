"""From the outcome of a pod's run to the end of its Airflow task: state, message, XComs. Pure (spec 100-102)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from podbay.airflow.carried import Carried
from podbay.airflow.request import skip_codes
from podbay.errors import InvalidInputError
from podbay.lifecycle.outcome import Outcome

__all__ = ["IMAGE_KEY", "RETURN_VALUE", "TaskEnd", "end_of", "needs_worker"]

RETURN_VALUE = "return_value"
IMAGE_KEY = "pod_image"
"""XCom: the main container's image with its digest, as the node has it; a tag may mean another one tomorrow."""

TaskState: TypeAlias = Literal["success", "failed", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEnd:
    """How the task ends."""

    state: TaskState
    message: str
    xcoms: Mapping[str, Any] = field(default_factory=dict)
    """To be pushed before the end; `return_value` last."""
    memory: Mapping[str, Any] | None = None
    """What the next try is to know of this one's memory (keeping.py), where a worker has to keep it."""


def end_of(outcome: Outcome, given: Mapping[str, Any], carried: Carried) -> TaskEnd:
    """The task's end. `given` holds rendered parameters. A result that cannot be handed on makes a failure of a success."""
    image = {IMAGE_KEY: outcome.receipt.image_id} if outcome.receipt.image_id else {}
    code = outcome.exit_code
    state: TaskState = "success" if outcome.ok else "failed"
    message = outcome.message
    if code is not None and code in skip_codes(given.get("skip_on_exit_code")):
        state, message = "skipped", f"Pod {outcome.pod} ended with exit code {code}: skipped."
    try:
        xcoms = _xcoms(outcome, given, carried, state)
    except InvalidInputError as error:
        if state != "success":
            # It has a better reason.
            return TaskEnd(state=state, message=message, xcoms=image)
        return TaskEnd(state="failed", message=str(error), xcoms=image)
    return TaskEnd(state=state, message=message, xcoms={**image, **xcoms})


def _xcoms(outcome: Outcome, given: Mapping[str, Any], carried: Carried, state: TaskState) -> dict[str, Any]:
    value = outcome.json_result() if given.get("do_xcom_push") else None
    if state == "success" and carried.mapped_over:
        _check_mappable(value)
    if value is None:
        return {}
    if not carried.multiple_outputs:
        return {RETURN_VALUE: value}
    if not isinstance(value, Mapping):
        raise InvalidInputError(
            f"multiple_outputs: the result must be a JSON object, it is a {type(value).__name__}"
        )
    return {**value, RETURN_VALUE: value}


def _check_mappable(value: Any) -> None:
    if value is None:
        raise InvalidInputError(
            "a task after this one is mapped over its result, and it has none; write a JSON list or object to "
            "/airflow/xcom/return.json and set do_xcom_push=True"
        )
    if not isinstance(value, list | Mapping):
        raise InvalidInputError(
            f"a task after this one is mapped over its result, which is a {type(value).__name__}; "
            "it must be a JSON list or object"
        )


def needs_worker(end: TaskEnd, carried: Carried, *, try_number: int) -> bool:
    """Whether a worker has to finish the task: for the hooks that only it runs, and after a retry, because Airflow then
    leaves the end of the earlier try where a trigger ends the task, which makes durations negative; and for what only it
    can keep from one try to the next."""
    if try_number > 1 or end.memory is not None:
        return True
    wanted = "failure" if end.state == "failed" else "success"
    return carried.finish in (wanted, "always")
