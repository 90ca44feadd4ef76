"""Applies that do not go through: rights that are missing, a cluster that goes away, kinds it does not know."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from deployment_parts import (
    ACCOUNTS,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    ROLE_BINDINGS,
    applied,
    client_of,
    deployment,
    gone,
    outcomes,
    planned,
)

from podbay.aio.clock import SystemClock
from podbay.deployment.apply import Applied, apply_plan
from podbay.deployment.desired import desired_objects
from podbay.deployment.destroy import destroy, removal_of
from podbay.deployment.observe import observe
from podbay.deployment.parts import COLLECTIONS
from podbay.deployment.plan import make_plan
from podbay.errors import ApiError, UnreachableError
from podbay.kube.client import KubeClient
from podbay.kube.config import SecretText, StaticToken
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.objects.resource import GVR
from podbay.testing import Environment
from podbay.testing.requests import Requests

FAULTS = "/podbay.dev/v1/faults"
TOKENS = GVR("", "v1", "serviceaccounts")


@pytest.fixture
def api(podbay_cluster: Environment) -> Iterator[Requests]:
    with Requests(podbay_cluster.kubeconfig) as requests:
        yield requests
        requests.call("DELETE", FAULTS)


@asynccontextmanager
async def somebody(
    kube: KubeClient, environment: Environment, namespace: str, denied: tuple[str, ...]
) -> AsyncIterator[KubeClient]:
    """A client that may do everything but write the denied resources."""
    name = f"limited-{namespace}"
    groups: dict[str, list[str]] = {}
    for each in COLLECTIONS:
        groups.setdefault(each.resource.group, []).append(each.resource.resource)
    rules: list[dict[str, Any]] = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]},
        # Whoever gives rights must have them.
        {"apiGroups": [""], "resources": ["pods", "pods/log", "pods/exec", "events"], "verbs": ["*"]},
        *(
            {"apiGroups": [group], "resources": [r for r in resources if r not in denied], "verbs": ["*"]}
            for group, resources in groups.items()
        ),
    ]
    await kube.create(ACCOUNTS, {"metadata": {"name": name}}, namespace="default")
    await kube.create(CLUSTER_ROLES, {"metadata": {"name": name}, "rules": rules})
    await kube.create(
        CLUSTER_ROLE_BINDINGS,
        {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": name}],
        },
    )
    answer = await kube.create(
        TOKENS, {"spec": {"expirationSeconds": 3600}}, namespace="default", name=name, subresource="token"
    )
    config = load_kubeconfig(environment.kubeconfig)
    token = StaticToken(SecretText(answer["status"]["token"]))
    try:
        async with client_of(
            type(config)(server=config.server, ca_pem=config.ca_pem, credential=token)
        ) as limited:
            yield limited
    finally:
        await kube.delete(CLUSTER_ROLE_BINDINGS, name)
        await kube.delete(CLUSTER_ROLES, name)
        await kube.delete(ACCOUNTS, name, namespace="default")


async def test_what_is_refused_is_named_and_the_right_to_launch_is_withheld(
    kube: KubeClient, podbay_cluster: Environment
) -> None:
    wanted = deployment("quota: {cpu: 4, memory: 8Gi}")
    told: list[Applied] = []
    try:
        async with somebody(
            kube, podbay_cluster, wanted.namespace, ("limitranges", "resourcequotas")
        ) as limited:
            results = await apply_plan(limited, await planned(limited, wanted), told=told.append)
        assert told == results
        done = outcomes(results)
        assert done["LimitRange"] == done["ResourceQuota"] == "refused"
        assert done["RoleBinding"] == "withheld"
        assert set(done.values()) == {"created", "refused", "withheld"}
        message = next(each.message for each in results if each.change.key[0] == "LimitRange")
        assert "is forbidden" in message
        assert "limitranges" in message
        # Somebody who may finishes it, and only what is missing.
        rest = outcomes(await apply_plan(kube, await planned(kube, wanted)))
        assert rest == {"LimitRange": "created", "ResourceQuota": "created", "RoleBinding": "created"}
    finally:
        await gone(kube, wanted)


async def test_a_refusal_that_guards_nothing_withholds_nothing(
    kube: KubeClient, podbay_cluster: Environment
) -> None:
    wanted = deployment()
    try:
        async with somebody(kube, podbay_cluster, wanted.namespace, ("serviceaccounts",)) as limited:
            done = outcomes(await apply_plan(limited, await planned(limited, wanted)))
        assert done["ServiceAccount"] == "refused"
        assert done["RoleBinding"] == "created"
    finally:
        await gone(kube, wanted)


async def test_without_the_namespace_nothing_else_is_tried(
    kube: KubeClient, podbay_cluster: Environment
) -> None:
    wanted = deployment()
    async with somebody(kube, podbay_cluster, wanted.namespace, ("namespaces",)) as limited:
        results = await apply_plan(limited, await planned(limited, wanted))
    assert outcomes(results) == {"Namespace": "refused"}
    assert len(results) == 1
    assert (await observe(kube, wanted)).objects == {}


@pytest.mark.parametrize("step", range(len(desired_objects(deployment()))))
async def test_an_apply_cut_off_anywhere_is_finished_by_the_next(
    kube: KubeClient, podbay_cluster: Environment, api: Requests, step: int
) -> None:
    """At no moment does anybody have the right to launch pods without every limit."""
    wanted = deployment()
    name = desired_objects(wanted)[step]["metadata"]["name"]
    kind = desired_objects(wanted)[step]["kind"]
    resource = next(each.resource.resource for each in COLLECTIONS if each.kind == kind)
    match = {"agent": "cut-off", "verb": "patch", "resource": resource, "name": name}
    code, answer = api.call("POST", FAULTS, {"do": "drop", "match": match})
    assert code == 201, answer
    try:
        async with client_of(podbay_cluster.kubeconfig, patience=0.1, agent="cut-off") as broken:
            with pytest.raises(UnreachableError):
                await apply_plan(broken, await planned(broken, wanted))
        bindings = (await kube.list(ROLE_BINDINGS, namespace=wanted.namespace)).items
        assert bindings == []
        left = await planned(kube, wanted)
        assert left.obstacles == ()
        # The namespace itself was claimed before the cut.
        assert len(left.work) == len(desired_objects(wanted)) - step
        results = await apply_plan(kube, left)
        assert {each.done for each in results} <= {"created", "updated"}
        assert (await planned(kube, wanted)).work == ()
    finally:
        await gone(kube, wanted)


@pytest.mark.parametrize("step", range(4))
async def test_a_destroy_cut_off_anywhere_is_finished_by_the_next(
    kube: KubeClient, podbay_cluster: Environment, api: Requests, step: int
) -> None:
    """The right to launch pods goes first, so that what is left limits nobody who could launch any."""
    wanted = deployment()
    await apply_plan(kube, await planned(kube, wanted))
    removal = await removal_of(kube, wanted)
    assert len(removal.changes) == 4
    kind, name = removal.changes[step].key
    resource = next(each.resource.resource for each in COLLECTIONS if each.kind == kind)
    match = {"agent": "cut-destroy", "verb": "delete", "resource": resource, "name": name}
    code, answer = api.call("POST", FAULTS, {"do": "drop", "match": match})
    assert code == 201, answer
    async with client_of(podbay_cluster.kubeconfig, patience=0.1, agent="cut-destroy") as broken:
        with pytest.raises(UnreachableError):
            await destroy(broken, removal, SystemClock(), wait_seconds=0.0)
    if step:
        bindings = (await kube.list(ROLE_BINDINGS, namespace=wanted.namespace)).items
        assert f"{wanted.namespace}-pod-launcher" not in {each["metadata"]["name"] for each in bindings}
    left = await removal_of(kube, wanted)
    assert any(str(each) == f"{kind} {name}" for each in left.changes), "it knows what is left"
    await gone(kube, wanted, wait=True)
    assert (await removal_of(kube, wanted)).changes == ()


async def test_an_apply_whose_answers_are_lost_does_everything_once(
    kube: KubeClient, podbay_cluster: Environment, api: Requests
) -> None:
    wanted = deployment("quota: {cpu: 4, memory: 8Gi}")
    code, answer = api.call(
        "POST", FAULTS, {"do": "drop", "after": True, "match": {"agent": "deaf", "verb": "patch"}, "count": 3}
    )
    assert code == 201, answer
    try:
        async with client_of(podbay_cluster.kubeconfig, agent="deaf") as deaf:
            results = await apply_plan(deaf, await planned(deaf, wanted))
        assert {each.done for each in results} == {"created"}
        assert (await planned(kube, wanted)).work == ()
    finally:
        await gone(kube, wanted)


async def test_a_kind_that_the_cluster_does_not_know_stops_the_apply(kube: KubeClient) -> None:
    wanted = deployment()

    class Older:
        """The cluster without admission policies: what an old API server answers for their path."""

        def __getattr__(self, name: str) -> Any:
            return getattr(kube, name)

        async def list(self, resource: GVR, **options: Any) -> Any:
            if resource.resource.startswith("validatingadmission"):
                raise ApiError(404, "NotFound", "the server could not find the requested resource")
            return await kube.list(resource, **options)

    plan = make_plan(wanted, await observe(Older(), wanted))
    assert plan.obstacles == tuple(
        f"{kind} podbay-{wanted.namespace}: this cluster does not serve {kind} (set admission_policy: off to do without)"
        for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    )
    without = deployment("admission_policy: off", namespace=wanted.namespace)
    assert make_plan(without, await observe(Older(), without)).obstacles == ()


async def test_a_namespace_on_its_way_out_is_waited_for(kube: KubeClient) -> None:
    wanted = deployment()
    async with applied(kube, wanted):
        name = f"{wanted.namespace}-holds"
        held = {"metadata": {"name": name, "finalizers": ["example.com/hold"]}}
        await kube.create(ACCOUNTS, held, namespace=wanted.namespace)
        await gone(kube, wanted)
        plan = await planned(kube, wanted)
        assert any("is being deleted; wait until it is gone" in each for each in plan.obstacles)
        free = {"metadata": {"finalizers": None}}
        await kube.patch(ACCOUNTS, name, free, namespace=wanted.namespace)
