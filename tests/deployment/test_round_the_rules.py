"""Pods that go round Airflow: the cluster says no by itself, and says it as `check` says it early."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from deployment_parts import (
    ACCOUNTS,
    CONFIGMAPS,
    LIMIT_RANGES,
    PODS,
    a_pod,
    applied,
    client_of,
    deployment,
    gone,
    planned,
    size,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podbay.deployment.apply import apply_plan
from podbay.deployment.check import check_pod
from podbay.deployment.enforce import enforce
from podbay.deployment.model import Deployment
from podbay.errors import ApiError
from podbay.kube.client import KubeClient
from podbay.objects.meta import Object
from podbay.testing import Environment

RULES = """
pods:
  default: {cpu: 250m, memory: 256Mi}
  maximum: {cpu: 2, memory: 2Gi, ephemeral_storage: 1Gi}
  architectures: [amd64]
  protected_labels: {team: data}
quota: {cpu: 4, memory: 4Gi, pods: 5}
"""


@pytest_asyncio.fixture
async def strict(kube: KubeClient) -> AsyncIterator[Deployment]:
    async with applied(kube, deployment(RULES)) as made:
        yield made


def fitting(wanted: Deployment, **spec: Any) -> Object:
    """A pod that somebody wrote who knows every rule."""
    pod = a_pod(
        serviceAccountName=wanted.service_account, nodeSelector={"kubernetes.io/arch": "amd64"}, **spec
    )
    pod["metadata"]["labels"] = {"team": "data"}
    return pod


def changed(pod: Object, *path: Any, to: Any) -> Object:
    made = copy.deepcopy(pod)
    place = made
    for step in path[:-1]:
        place = place[step] if isinstance(place, list) else place.setdefault(step, {})
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return made


async def refusal(kube: KubeClient, wanted: Deployment, pod: Object) -> str:
    with pytest.raises(ApiError) as caught:
        await kube.create(PODS, pod, namespace=wanted.namespace)
    assert caught.value.code == 403, caught.value.message
    return caught.value.message


async def test_a_pod_by_the_rules_is_let_in(kube: KubeClient, strict: Deployment) -> None:
    pod = fitting(strict)
    made = await kube.create(PODS, pod, namespace=strict.namespace)
    resources = made["spec"]["containers"][0]["resources"]
    assert resources["limits"] == resources["requests"]
    assert resources["limits"] == {"cpu": "250m", "memory": "256Mi", "ephemeral-storage": "256Mi"}
    assert made["status"]["qosClass"] == "Guaranteed"


BREACHES: dict[str, tuple[tuple[Any, ...], Any, str]] = {
    "one container too large": (
        ("spec", "containers", 0, "resources"),
        size("3", "1Gi"),
        "maximum cpu usage per Pod is 2, but limit is 3",
    ),
    "all containers together too large": (
        ("spec", "containers"),
        [{"name": str(n), "image": "busybox", "resources": size("800m", "1Mi")} for n in range(3)],
        "maximum cpu usage per Pod is 2, but limit is 2400m",
    ),
    "another service account": (
        ("spec", "serviceAccountName"),
        "default",
        "pods may run as service account {namespace}-kpo only",
    ),
    "a persistent volume": (
        ("spec", "volumes"),
        [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        "pods may not use persistent volumes",
    ),
    "a generic ephemeral volume": (
        ("spec", "volumes"),
        [
            {
                "name": "data",
                "ephemeral": {
                    "volumeClaimTemplate": {
                        "spec": {
                            "accessModes": ["ReadWriteOnce"],
                            "resources": {"requests": {"storage": "1Gi"}},
                        }
                    }
                },
            }
        ],
        "pods may not use persistent volumes",
    ),
    "requests below limits": (
        ("spec", "containers", 0, "resources"),
        size("1", "1Gi", requests={"cpu": "100m", "memory": "1Gi"}),
        "every container's requests of CPU and memory must equal its limits",
    ),
    "an init container with requests below limits": (
        ("spec", "initContainers"),
        [{"name": "i", "image": "b", "resources": size("1", "1Gi", requests={"cpu": "1", "memory": "1Mi"})}],
        "every container's requests of CPU and memory must equal its limits",
    ),
    "another architecture": (
        ("spec", "nodeSelector", "kubernetes.io/arch"),
        "arm64",
        "pods must ask for a node of architecture amd64",
    ),
    "any architecture": (("spec", "nodeSelector"), None, "pods must ask for a node of architecture amd64"),
    "a protected label with another value": (
        ("metadata", "labels", "team"),
        "mine",
        "pods must have the label team=data",
    ),
    "no protected label": (("metadata", "labels"), None, "pods must have the label team=data"),
    "a task's pod without a label of the platform": (
        ("metadata", "labels"),
        {"team": "data", "kubernetes_pod_operator": "True", "dag_id": "d", "task_id": "t", "run_id": "r"},
        "pods of tasks must keep the labels kubernetes_pod_operator, dag_id, task_id, run_id, try_number",
    ),
    "a priority of the system": (
        ("spec", "priorityClassName"),
        "system-node-critical",
        "tasks may not push the system's own pods aside",
    ),
    "the host's network": (("spec", "hostNetwork"), True, 'violates PodSecurity "baseline'),
    "a path of the host": (
        ("spec", "volumes"),
        [{"name": "etc", "hostPath": {"path": "/etc"}}],
        'violates PodSecurity "baseline',
    ),
}


@pytest.mark.parametrize("breach", BREACHES)
async def test_a_pod_against_the_rules_is_refused_with_the_reason(
    kube: KubeClient, strict: Deployment, breach: str
) -> None:
    path, value, said = BREACHES[breach]
    pod = changed(fitting(strict), *path, to=value)
    assert said.format(namespace=strict.namespace) in await refusal(kube, strict, pod)
    if "PodSecurity" not in said:
        assert check_pod(_with_defaults(pod, strict), strict) != []


def _with_defaults(pod: Object, wanted: Deployment) -> Object:
    """The pod as the LimitRange would complete it."""
    made = copy.deepcopy(pod)
    default = wanted.pods.default.to_json()
    for container in [*made["spec"].get("initContainers", ()), *made["spec"]["containers"]]:
        container.setdefault("resources", {"requests": default, "limits": default})
    return made


async def test_the_quota_counts_every_task_pod(kube: KubeClient, strict: Deployment) -> None:
    pod = fitting(strict)
    pod["spec"]["containers"][0]["resources"] = size("2", "1Gi")
    # A gate holds them, so that none ends and makes room.
    pod["spec"]["schedulingGates"] = [{"name": "example.com/hold"}]
    for number in range(2):
        await kube.create(PODS, changed(pod, "metadata", "name", to=f"p{number}"), namespace=strict.namespace)
    message = await refusal(kube, strict, changed(pod, "metadata", "name", to="p2"))
    assert f"exceeded quota: {strict.namespace}-default, requested: cpu=2" in message
    assert "used: cpu=4" in message
    assert "limited: cpu=4" in message


async def test_labels_of_a_running_task_may_not_be_changed_but_others_may(
    kube: KubeClient, strict: Deployment
) -> None:
    pod = fitting(strict)
    task = {
        "kubernetes_pod_operator": "True",
        "dag_id": "d",
        "task_id": "t",
        "run_id": "r",
        "try_number": "1",
    }
    pod["metadata"]["labels"] |= task
    pod["spec"]["schedulingGates"] = [{"name": "example.com/hold"}]
    name = pod["metadata"]["name"]
    await kube.create(PODS, pod, namespace=strict.namespace)
    for label, value in (("dag_id", "other"), ("task_id", None), ("team", "mine")):
        with pytest.raises(ApiError, match="may not be changed or removed"):
            await kube.patch(PODS, name, {"metadata": {"labels": {label: value}}}, namespace=strict.namespace)
    marked = await kube.patch(
        PODS, name, {"metadata": {"labels": {"already_checked": "True"}}}, namespace=strict.namespace
    )
    assert marked["metadata"]["labels"]["already_checked"] == "True"


async def test_pods_from_before_a_stricter_file_can_be_labelled_and_deleted(kube: KubeClient) -> None:
    wanted = deployment("pods: {allowed_service_accounts: [etl], security: privileged}")
    async with applied(kube, wanted):
        pod = a_pod(serviceAccountName="etl", schedulingGates=[{"name": "example.com/hold"}])
        name = pod["metadata"]["name"]
        await kube.create(PODS, pod, namespace=wanted.namespace)
        stricter = deployment("pods: {protected_labels: {team: data}}", namespace=wanted.namespace)
        await apply_plan(kube, await planned(kube, stricter))
        await kube.patch(PODS, name, {"metadata": {"labels": {"seen": "yes"}}}, namespace=wanted.namespace)
        await kube.delete(PODS, name, namespace=wanted.namespace)


async def test_other_namespaces_and_other_objects_are_left_alone(
    kube: KubeClient, strict: Deployment
) -> None:
    other = deployment("admission_policy: off\npods: {requests: as-given}")
    async with applied(kube, other):
        await kube.create(PODS, a_pod(), namespace=other.namespace)
    await kube.create(CONFIGMAPS, {"metadata": {"name": "free"}}, namespace=strict.namespace)


async def test_airflow_in_the_same_namespace_is_neither_counted_nor_bound(kube: KubeClient) -> None:
    namespace = deployment().namespace
    wanted = deployment(
        "pods: {protected_labels: {team: data}}\n"
        "quota: {cpu: 1, memory: 1Gi}\n"
        f"airflow: {{in_namespace: true, service_accounts: [{namespace}/airflow-worker]}}",
        namespace=namespace,
    )
    async with applied(kube, wanted):
        await kube.create(ACCOUNTS, {"metadata": {"name": "airflow-worker"}}, namespace=namespace)
        worker = a_pod(serviceAccountName="airflow-worker", schedulingGates=[{"name": "example.com/hold"}])
        worker["spec"]["containers"][0]["resources"] = size(
            "8", "8Gi", requests={"cpu": "4", "memory": "1Gi"}
        )
        await kube.create(PODS, worker, namespace=namespace)
        task = enforce(a_pod(), wanted)
        assert task.problems == ()
        made = await kube.create(PODS, task.pod, namespace=namespace)
        assert made["spec"]["priorityClassName"] == f"{namespace}-tasks"
        unmarked = changed(task.pod, "spec", "priorityClassName", to=None)
        message = await refusal(kube, wanted, changed(unmarked, "metadata", "name", to="unmarked"))
        assert f"task pods must have the priority class {namespace}-tasks" in message
        large = a_pod()
        large["spec"]["containers"][0]["resources"] = size("2", "256Mi")
        assert "exceeded quota" in await refusal(kube, wanted, enforce(large, wanted).pod)


async def test_warnings_let_the_pod_in(kube: KubeClient) -> None:
    wanted = deployment("admission_policy: warn\npods: {protected_labels: {team: data}}")
    async with applied(kube, wanted):
        await kube.create(PODS, a_pod(), namespace=wanted.namespace)


async def test_the_policy_knows_the_maximum_without_the_limit_range(
    kube: KubeClient, strict: Deployment
) -> None:
    await kube.delete(LIMIT_RANGES, f"{strict.namespace}-default", namespace=strict.namespace)
    for containers in (
        {"containers": [{"name": n, "image": "b", "resources": size("1500m", "1Gi")} for n in "ab"]},
        {
            "containers": [{"name": "a", "image": "b", "resources": size("1", "1Gi")}],
            "initContainers": [{"name": "i", "image": "b", "resources": size("3", "1Gi")}],
        },
        {
            "containers": [{"name": "a", "image": "b", "resources": size("1500m", "1Gi")}],
            "initContainers": [
                {"name": "i", "image": "b", "restartPolicy": "Always", "resources": size("1", "1Gi")}
            ],
        },
    ):
        message = await refusal(kube, strict, fitting(strict, **containers))
        assert "pods may have at most 2 of cpu, all containers together" in message


CPU = st.sampled_from([None, "100m", "0.5", "1", "2500m"])
MEMORY = st.sampled_from([None, "64Mi", "1G", "3Gi"])


@st.composite
def containers(draw: st.DrawFn, name: str) -> dict[str, Any]:
    resources: dict[str, dict[str, str]] = {"requests": {}, "limits": {}}
    for resource, amounts in (("cpu", CPU), ("memory", MEMORY)):
        request, limit = draw(amounts), draw(amounts)
        if request:
            resources["requests"][resource] = request
        if limit:
            resources["limits"][resource] = limit
    return {"name": name, "image": draw(st.sampled_from(["busybox", "etl"])), "resources": resources}


@st.composite
def pods(draw: st.DrawFn) -> Object:
    spec: dict[str, Any] = {"containers": [draw(containers("base"))]}
    if draw(st.booleans()):
        spec["initContainers"] = [draw(containers("init"))]
        if draw(st.booleans()):
            spec["initContainers"][0]["restartPolicy"] = "Always"
    if draw(st.booleans()):
        spec["containers"].append(
            {
                "name": "airflow-xcom-sidecar",
                "image": "alpine",
                "resources": {"requests": {"cpu": "1m", "memory": "10Mi"}},
            }
        )
    spec["serviceAccountName"] = draw(st.sampled_from(["default", "etl", "other"]))
    arch = draw(st.sampled_from([None, "amd64", "arm64", "s390x"]))
    if arch:
        spec["nodeSelector"] = {"kubernetes.io/arch": arch}
    if draw(st.booleans()):
        spec["volumes"] = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
    pod = a_pod(**spec)
    pod["metadata"]["labels"] = draw(
        st.sampled_from([{}, {"team": "mine"}, {"kubernetes_pod_operator": "True"}])
    )
    return pod


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_what_is_enforced_is_admitted_and_what_is_refused_early_is_refused_late(
    shared: tuple[Environment, Deployment], data: st.DataObject
) -> None:
    """`enforce` and the cluster have one opinion of every pod, although they share no code."""
    environment, wanted = shared
    given_pod = data.draw(pods())
    made = enforce(given_pod, wanted)

    async def admitted(pod: Object) -> str:
        async with client_of(environment.kubeconfig) as kube:
            try:
                await kube.create(PODS, pod, namespace=wanted.namespace, dry_run=True)
            except ApiError as err:
                assert err.code in (403, 422), err.message
                return err.message
            return ""

    message = asyncio.run(admitted(made.pod))
    if made.problems:
        assert message, made.problems
    elif "Invalid value" not in message:
        # What is invalid by Kubernetes' own rules is the business of podbay.pods.validate.
        assert message == "", made.pod
    # Enforcing again changes nothing.
    assert enforce(made.pod, wanted).pod == made.pod


@pytest.fixture(scope="module")
def shared(podbay_cluster: Environment) -> Any:
    wanted = deployment(
        "pods:\n"
        "  maximum: {cpu: 2, memory: 2Gi}\n"
        "  architectures: [amd64, arm64]\n"
        "  allowed_service_accounts: [etl]\n"
        "  protected_labels: {team: data}\n"
        "images: {etl: registry.example.com/etl:1}"
    )

    async def begin() -> None:
        async with client_of(podbay_cluster.kubeconfig) as kube:
            await apply_plan(kube, await planned(kube, wanted))

    async def end() -> None:
        async with client_of(podbay_cluster.kubeconfig) as kube:
            await gone(kube, wanted)

    asyncio.run(begin())
    yield podbay_cluster, wanted
    asyncio.run(end())


GOLDEN = Path(__file__).parents[1] / "golden" / "pods"
RECORDED = sorted(path.name for kind in ("upstream", "output") for path in GOLDEN.glob(f"*.{kind}.yaml"))


@pytest.mark.parametrize("name", RECORDED)
async def test_pods_of_both_operators_are_judged_alike_early_and_late(
    kube: KubeClient, shared: tuple[Environment, Deployment], name: str
) -> None:
    """Pods that upstream's operator and ours have built, as they are in tests/golden/pods."""
    wanted = shared[1]
    pod = yaml.safe_load((GOLDEN / name).read_text())
    pod["metadata"]["namespace"] = wanted.namespace
    made = enforce(pod, wanted)
    message = ""
    try:
        await kube.create(PODS, made.pod, namespace=wanted.namespace, dry_run=True)
    except ApiError as err:
        message = err.message
    # Classes, accounts and priorities that the recordings name are not in this cluster; Pod Security is the namespace's.
    elsewhere = ("not found", "no PriorityClass", "PodSecurity")
    if made.problems:
        assert message, made.problems
    else:
        assert not message or any(each in message for each in elsewhere), message


async def test_upstreams_sidecar_is_refused_as_it_is_and_admitted_when_enforced(
    kube: KubeClient, shared: tuple[Environment, Deployment]
) -> None:
    """Spec 36: requests of 1m and 10Mi without limits get a default limit and are then below it."""
    wanted = shared[1]
    pod = fitting(wanted)
    tiny = {"requests": {"cpu": "1m", "memory": "10Mi"}}
    pod["spec"]["containers"].append({"name": "airflow-xcom-sidecar", "image": "alpine", "resources": tiny})
    assert "requests of CPU and memory must equal its limits" in await refusal(kube, wanted, pod)
    made = await kube.create(PODS, enforce(pod, wanted).pod, namespace=wanted.namespace)
    assert made["status"]["qosClass"] == "Guaranteed"
