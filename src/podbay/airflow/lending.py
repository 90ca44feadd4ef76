"""Airflow connections and variables lent to one pod: a Secret of that pod's own, which goes when the pod goes.

The pod is made first, held back by a scheduling gate; then the Secret, owned by the pod; then the gate is taken away.
So no container can start before the Secret is there, and whatever happens in between leaves at most a pod, never a Secret
without one: the next life of the run finds the gate and goes on, and the cluster's garbage collector removes the Secret of
a pod that is removed. The pod refers to the Secret by name; values are in the Secret alone.
Source: Kubernetes, "Pod Scheduling Readiness" and "Owners and Dependents".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from podbay.aio.backoff import Backoff
from podbay.airflow.calls import ANSWER_SECONDS, AirflowCalls, TriggererCalls
from podbay.airflow.loans import GATE, Loan, is_gated, loan_secret, loans_of, secret_name
from podbay.errors import ApiError, CredentialError, InvalidInputError, PodbayError, UnreachableError
from podbay.kube.client import PODS, KubeClient
from podbay.lifecycle.outcome import Outcome
from podbay.objects.meta import Object, name_of, namespace_of, uid_of
from podbay.objects.resource import GVR

__all__ = ["Lender"]

_SECRETS: Final = GVR("", "v1", "secrets")
_DELAYS: Final = Backoff(initial=0.2, maximum=5.0)


class Lender:
    """Lends what one task instance was promised, to each of its pods."""

    def __init__(
        self,
        given: Mapping[str, Any],
        calls: AirflowCalls | None,
        *,
        read: Callable[[Loan], str | None] | None = None,
    ) -> None:
        self.loans = loans_of(given)
        self.trouble = ""
        """Why nothing could be lent, once that is certain."""
        self._calls = calls
        self._ask = read or _ask_airflow
        self._values: dict[str, str] | None = None

    async def prepare(self) -> None:
        """Read the values before there is a pod. Raises InvalidInputError for what Airflow does not have."""
        if self.loans:
            self._values = await self._read()

    async def hand_over(self, client: KubeClient, pod: Object) -> None:
        """Make the pod's Secret and let the pod go. Waits out outages; raises PodbayError for what will not change."""
        if not self.loans or not is_gated(pod):
            return
        values = self._values if self._values is not None else await self._read()
        failures = 0
        while True:
            try:
                await _lend(client, pod, values)
                break
            except (UnreachableError, CredentialError):
                pass
            except ApiError as error:
                if error.code < 500 and error.code != 429:
                    raise
            failures += 1
            await asyncio.sleep(_DELAYS.delay(failures - 1))
        self._values = None

    def say(self, error: PodbayError) -> str:
        """Keep and give the sentence that the task ends with."""
        fix = "allow it with lending: true under airflow in podbay.yaml, or give that account the verb create on secrets"
        advice = f"; {fix}" if isinstance(error, ApiError) and error.code == 403 else ""
        what = ", ".join(f"{each.kind} {each.name}" for each in self.loans)
        self.trouble = f"The pod was not started, because {what} could not be lent to it: {error}{advice}"
        return self.trouble

    def judge(self, outcome: Outcome) -> Outcome:
        """A pod that we ended for want of what it was promised never started."""
        if not self.trouble or outcome.kind != "killed":
            return outcome
        return replace(outcome, kind="not_started", message=self.trouble)

    async def _read(self) -> dict[str, str]:
        found = {}
        for loan in self.loans:
            if isinstance(self._calls, TriggererCalls):
                async with asyncio.timeout(ANSWER_SECONDS):
                    value = await asyncio.to_thread(self._ask, loan)
            else:
                value = self._ask(loan)
            if value is None:
                raise InvalidInputError(
                    f"{loan.kind} {loan.name} is to be lent to the pod and does not exist; create it in Airflow, or "
                    f"take it out of lend_{loan.kind}s"
                )
            found[loan.variable] = value
        return found


async def _lend(client: KubeClient, pod: Object, values: Mapping[str, str]) -> None:
    namespace, name = namespace_of(pod), name_of(pod)
    secret = loan_secret(pod, secret_name(pod), values)
    try:
        await client.create(_SECRETS, secret, namespace=namespace)
    except ApiError as error:
        # Of an earlier life of this run: no other pod has this name for its Secret.
        if error.reason != "AlreadyExists":
            raise
    gate = {
        "metadata": {"uid": uid_of(pod)},
        "spec": {"schedulingGates": [{"name": GATE, "$patch": "delete"}]},
    }
    try:
        await client.patch(PODS, name, gate, namespace=namespace, patch_type="strategic")
    except ApiError as error:
        # Somebody has deleted the pod; the Secret goes with it.
        if error.code != 404:
            raise


def _ask_airflow(loan: Loan) -> str | None:
    from airflow.sdk import BaseHook, Variable
    from airflow.sdk.exceptions import AirflowNotFoundException

    if loan.kind == "variable":
        value = Variable.get(loan.name, default=None)
        return None if value is None else str(value)
    try:
        return str(BaseHook.get_connection(loan.name).as_json())
    except AirflowNotFoundException:
        return None
