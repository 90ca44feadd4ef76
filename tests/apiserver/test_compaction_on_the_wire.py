"""History ends: what clients hear who ask for what was compacted, and how they go on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import kubernetes
import pytest
from kubernetes.client import ApiException

from podbay.embedded.cluster import ClusterOptions
from podbay.testing import Environment
from podbay.testing.requests import Requests

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def forgetful() -> Iterator[Environment]:
    with Environment.start(ClusterOptions(nodes=())) as environment:
        yield environment


def forget(environment: Environment) -> None:
    cluster = environment.embedded
    assert cluster is not None
    environment.call(lambda: cluster.server.core.store.compact(cluster.server.core.store.version))


def test_watches_pages_and_exact_lists_of_the_past(forgetful: Environment) -> None:
    with Requests(forgetful.kubeconfig) as api:
        old = api.call("GET", CONFIG_MAPS)[1]["metadata"]["resourceVersion"]
        for n in range(5):
            api.call("POST", CONFIG_MAPS, {"metadata": {"name": f"n-{n}"}})
        token = api.call("GET", f"{CONFIG_MAPS}?limit=2")[1]["metadata"]["continue"]
        api.call("POST", CONFIG_MAPS, {"metadata": {"name": "later"}})
        forget(forgetful)
        _, event = api.call("GET", f"{CONFIG_MAPS}?watch=true&timeoutSeconds=2&resourceVersion={old}")
        code, said = api.call(
            "GET", f"{CONFIG_MAPS}?resourceVersion={old}&resourceVersionMatch=Exact&limit=1"
        )
        assert (code, said["reason"]) == (410, "Expired")
        code, page = api.call("GET", f"{CONFIG_MAPS}?limit=2&continue={token}")
        assert (code, page["reason"]) == (410, "Expired")
        fresh = page["metadata"]["continue"]
        code, rest = api.call("GET", f"{CONFIG_MAPS}?continue={fresh}")
        assert code == 200, "an inconsistent continuation is offered instead"
        assert rest["items"][-1]["metadata"]["name"] == "n-4"
    answer: Any = event
    if answer.get("type") == "ERROR":
        answer = answer["object"]
    assert (answer["kind"], answer["code"], answer["reason"]) == ("Status", 410, "Expired")
    assert answer["message"].startswith(
        ("too old resource version", "The resourceVersion for the provided watch is too old")
    )


def test_the_official_client_starts_anew(forgetful: Environment) -> None:
    """An informer that has slept too long hears 410, lists again, and misses nothing."""
    with kubernetes.config.new_client_from_config(str(forgetful.kubeconfig)) as client:
        core = kubernetes.client.CoreV1Api(client)
        old = core.list_namespaced_config_map("default").metadata.resource_version
        core.create_namespaced_config_map("default", {"metadata": {"name": "missed"}})
        core.create_namespaced_config_map("default", {"metadata": {"name": "gone"}})
        core.delete_namespaced_config_map("gone", "default")
        forget(forgetful)
        watch = kubernetes.watch.Watch()
        with pytest.raises(ApiException) as caught:
            for _ in watch.stream(
                core.list_namespaced_config_map, "default", resource_version=old, timeout_seconds=5
            ):
                pass
        assert caught.value.status == 410
        listed = core.list_namespaced_config_map("default")
        assert "missed" in {i.metadata.name for i in listed.items}
        assert "gone" not in {i.metadata.name for i in listed.items}
