"""The official Python client: typed calls, watches, patches, pages, the dynamic client, leader election."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes
import pytest
import yaml
from kubernetes.client import ApiException
from sample_objects import config_map, finishing_pod, pod, unschedulable_pod

from podbay.testing import Environment


@pytest.fixture(scope="module")
def api_client(cluster: Environment) -> Iterator[Any]:
    with kubernetes.config.new_client_from_config(str(cluster.kubeconfig)) as client:
        yield client


@pytest.fixture
def core(api_client: Any) -> Any:
    return kubernetes.client.CoreV1Api(api_client)


def refusal(call: Callable[[], Any]) -> ApiException:
    with pytest.raises(ApiException) as caught:
        call()
    return caught.value


def status_of(error: ApiException) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(error.body)
    assert parsed["kind"] == "Status"
    assert parsed["code"] == error.status
    return parsed


def test_create_read_replace_delete(core: Any, namespace: str) -> None:
    made = core.create_namespaced_config_map(namespace, config_map("app", {"a": "1"}))
    assert made.metadata.uid
    made.data = {"a": "2"}
    replaced = core.replace_namespaced_config_map("app", namespace, made)
    assert replaced.metadata.resource_version != made.metadata.resource_version
    stale = refusal(lambda: core.replace_namespaced_config_map("app", namespace, made))
    assert (stale.status, status_of(stale)["reason"]) == (409, "Conflict")
    gone = yaml.safe_load(core.delete_namespaced_config_map("app", namespace, _preload_content=False).data)
    assert (gone["kind"], gone["status"]) == ("Status", "Success")
    assert gone["details"] == {"name": "app", "kind": "configmaps", "uid": made.metadata.uid}
    missing = status_of(refusal(lambda: core.read_namespaced_config_map("app", namespace)))
    assert missing["details"] == {"name": "app", "kind": "configmaps"}
    assert missing["message"] == 'configmaps "app" not found'


def test_typed_objects_go_round(core: Any, namespace: str) -> None:
    """Models of the client, with defaults filled in by the server, come back as the same models."""
    wanted = kubernetes.client.V1Pod(
        metadata=kubernetes.client.V1ObjectMeta(generate_name="typed-", annotations={"a": "b"}),
        spec=kubernetes.client.V1PodSpec(
            node_selector={"podbay.dev/no-such-node": "true"},
            containers=[
                kubernetes.client.V1Container(
                    name="main",
                    image="busybox",
                    resources=kubernetes.client.V1ResourceRequirements(
                        requests={"cpu": "1500m", "memory": "1Gi"}
                    ),
                    env=[kubernetes.client.V1EnvVar(name="A", value="1")],
                )
            ],
        ),
    )
    made = core.create_namespaced_pod(namespace, wanted)
    read = core.read_namespaced_pod(made.metadata.name, namespace)
    assert read.spec.containers[0].resources.requests == {"cpu": "1500m", "memory": "1Gi"}
    assert read.spec.restart_policy == "Always"
    assert read.spec.dns_policy == "ClusterFirst"
    assert read.spec.containers[0].image_pull_policy == "Always"
    assert read.status.phase == "Pending"
    assert read.status.qos_class == "Burstable"


def test_secrets_take_plain_and_encoded_text(core: Any, namespace: str) -> None:
    secret = {"metadata": {"name": "s"}, "stringData": {"plain": "text"}, "data": {"b": "aGk="}}
    made = core.create_namespaced_secret(namespace, secret)
    assert base64.b64decode(made.data["plain"]) == b"text"
    assert made.string_data is None
    broken = refusal(
        lambda: core.create_namespaced_secret(namespace, {"metadata": {"name": "t"}, "data": {"b": "*"}})
    )
    assert broken.status == 400
    assert "illegal base64 data" in status_of(broken)["message"]


def test_invalid_objects_name_their_fields(core: Any, namespace: str) -> None:
    wrong = pod("web")
    wrong["spec"]["containers"].append({"name": "main", "image": ""})
    wrong["spec"]["restartPolicy"] = "Sometimes"
    error = status_of(refusal(lambda: core.create_namespaced_pod(namespace, wrong)))
    assert (error["code"], error["reason"]) == (422, "Invalid")
    causes = {(c["field"], c["reason"]) for c in error["details"]["causes"]}
    assert ("spec.containers[1].name", "FieldValueDuplicate") in causes
    assert ("spec.containers[1].image", "FieldValueRequired") in causes
    assert ("spec.restartPolicy", "FieldValueNotSupported") in causes


def test_lists_in_pages(core: Any, namespace: str) -> None:
    for n in range(7):
        core.create_namespaced_config_map(namespace, config_map(f"item-{n}", {}, paged="yes"))
    first = core.list_namespaced_config_map(namespace, label_selector="paged=yes", limit=3)
    assert first.metadata.remaining_item_count in (None, 4)
    names = [i.metadata.name for i in first.items]
    token, versions = first.metadata._continue, {first.metadata.resource_version}
    core.create_namespaced_config_map(namespace, config_map("item-9", {}, paged="yes"))
    while token:
        page = core.list_namespaced_config_map(
            namespace, label_selector="paged=yes", limit=3, _continue=token
        )
        names += [i.metadata.name for i in page.items]
        versions.add(page.metadata.resource_version)
        token = page.metadata._continue
    # All pages are of one moment: what came in between is in none of them.
    assert names == [f"item-{n}" for n in range(7)]
    assert len(versions) == 1
    bad = refusal(lambda: core.list_namespaced_config_map(namespace, limit=1, _continue="nonsense"))
    assert "continue key is not valid" in status_of(bad)["message"]
    assert (bad.status, status_of(bad)["reason"]) == (400, "BadRequest")


def test_watch_and_resume(core: Any, namespace: str) -> None:
    watch = kubernetes.watch.Watch()
    start = core.list_namespaced_config_map(namespace, label_selector="w=1").metadata.resource_version
    for n in range(3):
        core.create_namespaced_config_map(namespace, config_map(f"seen-{n}", {}, w="1"))
    seen: list[tuple[str, str]] = []
    for event in watch.stream(
        core.list_namespaced_config_map,
        namespace,
        label_selector="w=1",
        resource_version=start,
        timeout_seconds=100,
    ):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 2:
            break
    assert seen == [("ADDED", "seen-0"), ("ADDED", "seen-1")]
    # The watch remembers how far it has come; a new stream goes on from there.
    core.delete_namespaced_config_map("seen-0", namespace)
    for event in watch.stream(
        core.list_namespaced_config_map,
        namespace,
        label_selector="w=1",
        resource_version=watch.resource_version,
        timeout_seconds=100,
    ):
        seen.append((event["type"], event["object"].metadata.name))
        if event["type"] == "DELETED":
            break
    assert seen[2:] == [("ADDED", "seen-2"), ("DELETED", "seen-0")]


def test_watch_ends_after_its_time(core: Any, namespace: str) -> None:
    events = list(kubernetes.watch.Watch().stream(core.list_namespaced_pod, namespace, timeout_seconds=1))
    assert events == []


def test_informer_sees_pods_live_and_die(core: Any, namespace: str) -> None:
    """What an operator does: list, watch from there, follow a pod to its end."""
    phases: list[str] = []
    finished = threading.Event()

    def follow() -> None:
        listed = core.list_namespaced_pod(namespace)
        stream = kubernetes.watch.Watch().stream(
            core.list_namespaced_pod,
            namespace,
            resource_version=listed.metadata.resource_version,
            timeout_seconds=100,
        )
        for event in stream:
            phase = event["object"].status.phase
            if not phases or phases[-1] != phase:
                phases.append(phase)
            if phase == "Succeeded":
                break
        finished.set()

    thread = threading.Thread(target=follow)
    thread.start()
    core.create_namespaced_pod(namespace, finishing_pod("task"))
    finished.wait(30)
    thread.join()
    assert phases[0] in ("Pending", "Running")
    assert phases[-1] == "Succeeded"


def test_patches(core: Any, api_client: Any, namespace: str) -> None:
    core.create_namespaced_config_map(namespace, config_map("app", {"a": "1", "b": "1"}))
    change = {"data": {"a": None, "b": "2"}}
    merged = core.patch_namespaced_config_map("app", namespace, change, field_manager="me")
    assert merged.data == {"b": "2"}
    steps = [{"op": "add", "path": "/data/c", "value": "3"}]
    assert core.patch_namespaced_config_map("app", namespace, steps).data == {"b": "2", "c": "3"}
    managers = {m.manager for m in merged.metadata.managed_fields}
    assert "me" in managers


def test_status_and_binding_subresources(core: Any, namespace: str) -> None:
    core.create_namespaced_pod(namespace, unschedulable_pod("web"))
    body = {"status": {"message": "from a controller"}}
    assert core.patch_namespaced_pod_status("web", namespace, body).status.message == "from a controller"
    assert core.read_namespaced_pod_status("web", namespace).status.message == "from a controller"
    binding = {"metadata": {"name": "web"}, "target": {"kind": "Node", "name": "no-such-node"}}
    core.create_namespaced_pod_binding("web", namespace, binding, _preload_content=False)
    assert core.read_namespaced_pod("web", namespace).spec.node_name == "no-such-node"
    again = refusal(
        lambda: core.create_namespaced_pod_binding("web", namespace, binding, _preload_content=False)
    )
    assert (again.status, status_of(again)["reason"]) == (409, "Conflict")


def test_eviction(core: Any, namespace: str) -> None:
    core.create_namespaced_pod(namespace, unschedulable_pod("web"))
    eviction = {"metadata": {"name": "web", "namespace": namespace}}
    core.create_namespaced_pod_eviction("web", namespace, eviction, _preload_content=False)
    assert refusal(lambda: core.read_namespaced_pod("web", namespace)).status == 404


def test_delete_options(core: Any, namespace: str) -> None:
    made = core.create_namespaced_config_map(namespace, config_map("app"))
    wrong = kubernetes.client.V1DeleteOptions(preconditions={"uid": "0-0"})
    refused = refusal(lambda: core.delete_namespaced_config_map("app", namespace, body=wrong))
    assert refused.status == 409
    assert (
        "the UID in the precondition (0-0) does not match the UID in record" in status_of(refused)["message"]
    )
    right = kubernetes.client.V1DeleteOptions(
        preconditions={"uid": made.metadata.uid, "resourceVersion": made.metadata.resource_version}
    )
    core.delete_namespaced_config_map("app", namespace, body=right)
    core.create_namespaced_config_map(namespace, config_map("app", {}, a="b"))
    core.delete_collection_namespaced_config_map(namespace, label_selector="a=b", dry_run="All")
    assert core.list_namespaced_config_map(namespace, label_selector="a=b").items
    core.delete_collection_namespaced_config_map(namespace, label_selector="a=b")
    assert core.list_namespaced_config_map(namespace, label_selector="a=b").items == []


def test_quota_counts_and_refuses(core: Any, namespace: str) -> None:
    core.create_namespaced_resource_quota(
        namespace, {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}}
    )
    for _ in range(200):
        quota = core.read_namespaced_resource_quota("q", namespace)
        if quota.status.hard:
            break
    core.create_namespaced_pod(namespace, unschedulable_pod("one"))
    refused = refusal(lambda: core.create_namespaced_pod(namespace, unschedulable_pod("two")))
    assert refused.status == 403
    assert (
        "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1" in status_of(refused)["message"]
    )


def test_from_yaml(api_client: Any, core: Any, namespace: str, tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    documents = [
        config_map("a", {"x": "1"}),
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "b"}},
    ]
    path.write_text(yaml.safe_dump_all(documents))
    kubernetes.utils.create_from_yaml(api_client, str(path), namespace=namespace)
    assert core.read_namespaced_config_map("a", namespace).data == {"x": "1"}
    with pytest.raises(kubernetes.utils.FailToCreateError) as caught:
        kubernetes.utils.create_from_yaml(api_client, str(path), namespace=namespace)
    assert [e.status for e in caught.value.api_exceptions] == [409, 409]


def test_authorization_reviews(api_client: Any, namespace: str) -> None:
    authorization = kubernetes.client.AuthorizationV1Api(api_client)
    attributes = {"verb": "list", "resource": "secrets", "namespace": namespace}
    review = authorization.create_subject_access_review(
        {"spec": {"user": "contract-jane", "resourceAttributes": attributes}}
    )
    assert review.status.allowed is False
    own = authorization.create_self_subject_access_review({"spec": {"resourceAttributes": attributes}})
    assert own.status.allowed is True
    rules = authorization.create_self_subject_rules_review({"spec": {"namespace": namespace}})
    assert any("*" in rule.verbs for rule in rules.status.resource_rules)
    who = kubernetes.client.AuthenticationV1Api(api_client).create_self_subject_review({})
    assert who.status.user_info.username


def test_tokens(core: Any, cluster: Environment, api_client: Any, namespace: str) -> None:
    request = {"spec": {"audiences": [], "expirationSeconds": 600}}
    issued = core.create_namespaced_service_account_token("default", namespace, request)
    review = kubernetes.client.AuthenticationV1Api(api_client).create_token_review(
        {"spec": {"token": issued.status.token}}
    )
    assert review.status.authenticated
    assert review.status.user.username == f"system:serviceaccount:{namespace}:default"
    core.delete_namespaced_service_account("default", namespace)
    for _ in range(300):
        again = kubernetes.client.AuthenticationV1Api(api_client).create_token_review(
            {"spec": {"token": issued.status.token}}
        )
        if not again.status.authenticated:
            break
    assert not again.status.authenticated


def test_version_and_discovery(api_client: Any) -> None:
    assert kubernetes.client.VersionApi(api_client).get_code().major == "1"
    groups = {g.name for g in kubernetes.client.ApisApi(api_client).get_api_versions().groups}
    assert {"coordination.k8s.io", "rbac.authorization.k8s.io"} <= groups
    resources = kubernetes.client.CoreV1Api(api_client).get_api_resources().resources
    assert {"pods", "pods/log", "pods/exec", "pods/status"} <= {r.name for r in resources}
