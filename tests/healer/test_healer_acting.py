"""What is said of an action that fails, by a client that refuses what a test wants."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import pytest

from podbay.errors import ApiError
from podbay.healer.acting import Actor, Done
from podbay.healer.airflow_api import AirflowApi
from podbay.healer.events import record
from podbay.healer.restraint import Action
from podbay.kube.client import KubeClient
from podbay.lifecycle.hold import HEALED
from podbay.objects.meta import name_of
from podbay.objects.names import dns1123_subdomain_errors

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Refusing:
    """In place of a client: refuses some requests, notes all."""

    def __init__(self, **codes: int) -> None:
        """codes: by verb and resource, such as delete_pods."""
        self._codes = codes
        self.asked: list[tuple[str, Any]] = []

    async def _ask(self, verb: str, resource: Any, body: Any) -> dict[str, Any]:
        what = f"{verb}_{resource.resource}"
        self.asked.append((what, body))
        code = self._codes.get(what, 0)
        if code:
            raise ApiError(code, "Refused", f"{what} refused")
        return {"metadata": {"resourceVersion": "8"}}

    async def create(self, resource: Any, body: Any, *, namespace: str) -> dict[str, Any]:
        return await self._ask("create", resource, body)

    async def patch(self, resource: Any, name: str, body: Any, *, namespace: str) -> dict[str, Any]:
        return await self._ask("patch", resource, body)

    async def delete(self, resource: Any, name: str, *, namespace: str, options: Any) -> None:
        await self._ask("delete", resource, options)


def action(name: str = "load-x") -> Action:
    return Action(
        deed="delete", check="NoOwner", message="m", namespace="team", name=name, uid="u", version="7"
    )


async def take(client: Refusing) -> Done:
    actor = Actor(cast(KubeClient, client), cast(AirflowApi, None), "prod")
    return await actor.take(action(), NOW)


@pytest.mark.parametrize(("code", "result"), [(500, "failed"), (403, "failed"), (409, "dropped")])
@pytest.mark.parametrize("event", [0, 500])
async def test_a_pod_that_stays_does_not_say_that_we_ended_it(code: int, result: str, event: int) -> None:
    """Also where its Event cannot be changed any more."""
    client = Refusing(delete_pods=code, patch_events=event)
    done = await take(client)
    assert done.result == result
    assert [body["metadata"]["annotations"] for what, body in client.asked if what == "patch_pods"] == [
        {HEALED: "m (NoOwner)"},
        {HEALED: None},
    ]
    assert ("its Event says still" in done.text) is bool(event)
    if result == "failed":
        assert "delete_pods refused" in done.text, "what went wrong first"


async def test_a_pod_that_is_gone_is_not_spoken_of() -> None:
    client = Refusing(delete_pods=404)
    assert (await take(client)).result == "dropped"
    assert [what for what, _ in client.asked].count("patch_pods") == 1


@pytest.mark.parametrize(
    "name", ["load-x", "x" * 253, "x" * 236, "x" * 235 + "-" + "y" * 17, "x." * 126 + "x"]
)
async def test_an_event_of_a_long_name_has_a_name_that_is_allowed(name: str) -> None:
    client = Refusing()
    made = [
        await record(cast(KubeClient, client), each, "prod", NOW) for each in (action(name), action(name))
    ]
    [event, _] = [body for _, body in client.asked]
    assert dns1123_subdomain_errors(name_of(event)) == []
    assert event["involvedObject"]["name"] == name
    assert made[0] == made[1] == name_of(event), "the same is counted up"
