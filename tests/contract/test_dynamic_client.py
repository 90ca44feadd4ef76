"""The official client without types (discovery, server-side apply, watches), and leader election by leases."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import kubernetes
import pytest
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError
from sample_objects import config_map

from podbay.testing import Environment


@pytest.fixture(scope="module")
def dynamic(cluster: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    cache = tmp_path_factory.mktemp("discovery") / "cache.json"
    with kubernetes.config.new_client_from_config(str(cluster.kubeconfig)) as client:
        yield kubernetes.dynamic.DynamicClient(client, cache_file=str(cache))


@pytest.fixture(scope="module")
def config_maps(dynamic: Any) -> Any:
    return dynamic.resources.get(api_version="v1", kind="ConfigMap")


def test_discovery_finds_kinds(dynamic: Any) -> None:
    assert dynamic.resources.get(api_version="v1", kind="Pod").namespaced
    assert not dynamic.resources.get(kind="ClusterRole").namespaced
    assert dynamic.resources.get(api_version="coordination.k8s.io/v1", kind="Lease").name == "leases"


def test_create_get_patch_delete(config_maps: Any, namespace: str) -> None:
    config_maps.create(body=config_map("app", {"a": "1"}), namespace=namespace)
    patched = config_maps.patch(
        body={"data": {"b": "2"}},
        name="app",
        namespace=namespace,
        content_type="application/merge-patch+json",
    )
    assert patched.data.to_dict() == {"a": "1", "b": "2"}
    assert config_maps.get(namespace=namespace, field_selector="metadata.name=app").items[0].data.b == "2"
    config_maps.delete(name="app", namespace=namespace)
    with pytest.raises(NotFoundError):
        config_maps.get(name="app", namespace=namespace)


def test_server_side_apply(config_maps: Any, namespace: str) -> None:
    def apply(data: dict[str, str], manager: str, *, force: bool = False) -> Any:
        return config_maps.server_side_apply(
            body=config_map("app", data),
            name="app",
            namespace=namespace,
            field_manager=manager,
            force_conflicts=force,
        )

    assert apply({"a": "1"}, "one").data.a == "1"
    with pytest.raises(ConflictError) as caught:
        apply({"a": "2"}, "two")
    assert 'conflict with \\"one\\": .data.a' in caught.value.body
    taken = apply({"a": "2"}, "two", force=True)
    assert {m.manager for m in taken.metadata.managedFields} >= {"two"}


def test_watch(config_maps: Any, namespace: str) -> None:
    start = config_maps.get(namespace=namespace).metadata.resourceVersion
    config_maps.create(body=config_map("seen", {"a": "1"}), namespace=namespace)
    for event in config_maps.watch(namespace=namespace, resource_version=start, timeout=100):
        assert (event["type"], event["object"].metadata.name) == ("ADDED", "seen")
        break


def test_subresources(dynamic: Any, namespace: str) -> None:
    accounts = dynamic.resources.get(api_version="v1", kind="ServiceAccount")
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 600},
    }
    issued = accounts.subresources["token"].create(body=request, name="default", namespace=namespace)
    assert issued.status.token.count(".") == 2


CANDIDATE = """
import sys
import kubernetes
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

kubeconfig, namespace, identity = sys.argv[1:]
kubernetes.config.load_kube_config(kubeconfig)
leaderelection.LeaderElection(
    electionconfig.Config(
        LeaseLock("leader", namespace, identity),
        lease_duration=3,
        renew_deadline=2,
        retry_period=1.1,
        onstarted_leading=lambda: print(identity, flush=True),
        onstopped_leading=lambda: None,
    )
).run()
"""


@pytest.mark.slow
def test_leader_election(cluster: Environment, dynamic: Any, namespace: str) -> None:
    """Two candidates, one lease: the second leads after the first has gone."""
    leases = dynamic.resources.get(api_version="coordination.k8s.io/v1", kind="Lease")
    with _candidate(cluster, namespace, "first") as first:
        assert _line(first) == "first"
        assert leases.get(name="leader", namespace=namespace).spec.holderIdentity == "first"
        with _candidate(cluster, namespace, "second") as second:
            first.kill()
            assert _line(second) == "second"
    assert leases.get(name="leader", namespace=namespace).spec.holderIdentity == "second"


@contextmanager
def _candidate(cluster: Environment, namespace: str, identity: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", CANDIDATE, str(cluster.kubeconfig), namespace, identity]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()
