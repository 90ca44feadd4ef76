"""Secret variables in the cluster: set, listed, replaced and removed by several people at once."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime

import pytest
from deployment_parts import PODS, SECRETS, a_pod, applied, client_of, deployment, planned, writes

from podbay.deployment.model import Deployment
from podbay.deployment.vault import list_variables, pods_using, remove_variable, set_variable
from podbay.errors import InvalidInputError, StateError
from podbay.kube.client import KubeClient
from podbay.kube.config import SecretText
from podbay.testing import Environment

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


async def stored(kube: KubeClient, wanted: Deployment) -> dict[str, str]:
    secret = await kube.get(SECRETS, "env-secrets", namespace=wanted.namespace)
    return {key: base64.b64decode(each).decode() for key, each in (secret.get("data") or {}).items()}


async def test_a_value_is_set_replaced_listed_and_removed(kube: KubeClient) -> None:
    async with applied(kube, deployment("secrets: [PASSWORD, OTHER]")) as wanted:
        assert not await set_variable(kube, wanted, "PASSWORD", SecretText("one"), now=NOW)
        assert await set_variable(kube, wanted, "PASSWORD", SecretText("two"), now=NOW, existing=True)
        await set_variable(kube, wanted, "EXTRA", SecretText("é\n"), now=NOW)
        assert await stored(kube, wanted) == {"PASSWORD": "two", "EXTRA": "é\n"}
        listed = {each.name: each for each in await list_variables(kube, wanted)}
        assert {name: (each.has_value, each.declared) for name, each in listed.items()} == {
            "EXTRA": (True, False),
            "OTHER": (False, True),
            "PASSWORD": (True, True),
        }
        assert listed["PASSWORD"].when == NOW
        assert await remove_variable(kube, wanted, "EXTRA")
        before = writes(kube)
        assert not await remove_variable(kube, wanted, "EXTRA")
        assert writes(kube) == before
        assert await stored(kube, wanted) == {"PASSWORD": "two"}
        plan = await planned(kube, wanted)
        assert plan.work == (), "applying leaves values alone"
        assert plan.notes == ("secret variable OTHER has no value yet: podbay secrets set OTHER",)


async def test_many_people_lose_no_value(kube: KubeClient, podbay_cluster: Environment) -> None:
    async with applied(kube, deployment()) as wanted:

        async def person(number: int) -> None:
            async with client_of(podbay_cluster.kubeconfig) as own:
                await set_variable(own, wanted, f"VALUE_{number}", SecretText(str(number)), now=NOW)

        await asyncio.gather(*(person(number) for number in range(4)))
        assert await stored(kube, wanted) == {f"VALUE_{number}": str(number) for number in range(4)}
        assert all(each.when == NOW for each in await list_variables(kube, wanted))


async def test_pods_that_have_the_value_are_named(kube: KubeClient) -> None:
    async with applied(kube, deployment("admission_policy: off")) as wanted:
        reference = {"name": "env-secrets", "key": "PASSWORD"}
        ways = {
            "by-key": {"env": [{"name": "A", "valueFrom": {"secretKeyRef": reference}}]},
            "whole": {"envFrom": [{"secretRef": {"name": "env-secrets"}}]},
            "other": {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {**reference, "key": "OTHER"}}}]},
        }
        for name, fields in ways.items():
            pod = a_pod(name, schedulingGates=[{"name": "example.com/hold"}])
            pod["spec"]["containers"][0] |= fields
            await kube.create(PODS, pod, namespace=wanted.namespace)
        volume = {"name": "s", "secret": {"secretName": "env-secrets"}}
        pod = a_pod("mounted", volumes=[volume], schedulingGates=[{"name": "example.com/hold"}])
        await kube.create(PODS, pod, namespace=wanted.namespace)
        assert sorted(await pods_using(kube, wanted, "PASSWORD")) == ["by-key", "mounted", "whole"]


async def test_what_cannot_be_a_value_is_refused_without_showing_it(kube: KubeClient) -> None:
    async with applied(kube, deployment()) as wanted:
        large = SecretText("x" * 1_000_001)
        with pytest.raises(InvalidInputError, match="a Secret holds 1000000") as caught:
            await set_variable(kube, wanted, "LARGE", large, now=NOW)
        assert "xxx" not in str(caught.value)
        with pytest.raises(InvalidInputError, match="the value is empty"):
            await set_variable(kube, wanted, "EMPTY", SecretText(""), now=NOW)
        with pytest.raises(InvalidInputError, match="must be in capitals"):
            await set_variable(kube, wanted, "small", SecretText("x"), now=NOW)
        with pytest.raises(StateError, match="has no value to rotate"):
            await set_variable(kube, wanted, "NEW", SecretText("x"), now=NOW, existing=True)
        assert await stored(kube, wanted) == {}


async def test_values_that_others_wrote_are_kept(kube: KubeClient) -> None:
    async with applied(kube, deployment()) as wanted:
        theirs = {"data": {"THEIRS": base64.b64encode(b"x").decode()}}
        await kube.patch(
            SECRETS, "env-secrets", theirs, namespace=wanted.namespace, field_manager="kubectl-edit"
        )
        await set_variable(kube, wanted, "OURS", SecretText("y"), now=NOW)
        assert await stored(kube, wanted) == {"THEIRS": "x", "OURS": "y"}
        assert next(each for each in await list_variables(kube, wanted) if each.name == "THEIRS").when is None


async def test_the_secret_may_be_there_before_the_first_apply_of_the_rest(kube: KubeClient) -> None:
    async with applied(kube, deployment()) as wanted:
        await kube.delete(SECRETS, "env-secrets", namespace=wanted.namespace)
        await set_variable(kube, wanted, "PASSWORD", SecretText("x"), now=NOW)
        plan = await planned(kube, wanted)
        assert plan.obstacles == ()
        assert [each.key[0] for each in plan.work] == ["Secret"]
