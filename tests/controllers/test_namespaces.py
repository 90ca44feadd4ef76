from __future__ import annotations

import pytest
from control_plane import CONFIG_MAPS, NAMESPACES, PODS, SERVICE_ACCOUNTS, Plane, control_plane

from podbay.errors import ApiError
from podbay.objects.meta import Object


async def new_namespace(plane: Plane, name: str) -> None:
    await plane.api.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    await plane.clock.settle()


def config_map(name: str, *finalizers: str) -> Object:
    metadata: Object = {"name": name, **({"finalizers": list(finalizers)} if finalizers else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {}}


async def test_a_namespace_gets_its_service_account_and_root_certificate() -> None:
    async with control_plane() as plane:
        await new_namespace(plane, "x")
        assert await plane.find(SERVICE_ACCOUNTS, "default", "x")
        found = await plane.find(CONFIG_MAPS, "kube-root-ca.crt", "x")
        assert found is not None
        assert found["data"] == {"ca.crt": "PEM"}
        await plane.api.delete(SERVICE_ACCOUNTS, "default", namespace="x")
        patch = {"data": {"ca.crt": "forged", "more": "x"}}
        await plane.api.patch(CONFIG_MAPS, "kube-root-ca.crt", patch, namespace="x")
        await plane.clock.settle()
        assert await plane.find(SERVICE_ACCOUNTS, "default", "x")
        found = await plane.find(CONFIG_MAPS, "kube-root-ca.crt", "x")
        assert found is not None
        assert found["data"] == {"ca.crt": "PEM"}


async def test_deleting_a_namespace_empties_it() -> None:
    async with control_plane() as plane:
        await new_namespace(plane, "x")
        for i in range(20):
            await plane.api.create(CONFIG_MAPS, config_map(f"c{i}"), namespace="x")
            await plane.run_pod(f"p{i}", "x")
        await plane.clock.advance(1)
        await plane.api.delete(NAMESPACES, "x")
        await plane.gone(NAMESPACES, "x", None)
        for resource in (CONFIG_MAPS, PODS, SERVICE_ACCOUNTS):
            assert [
                o for o in (await plane.api.list(resource)).items if o["metadata"]["namespace"] == "x"
            ] == []


async def test_a_deleted_namespace_is_left_alone_for_its_grace() -> None:
    async with control_plane(namespace_grace_seconds=5) as plane:
        await new_namespace(plane, "x")
        await plane.api.delete(NAMESPACES, "x")
        await plane.clock.advance(4)
        found = await plane.find(NAMESPACES, "x", None)
        assert found is not None
        assert found["status"] == {"phase": "Terminating"}
        with pytest.raises(ApiError, match="because it is being terminated"):
            await plane.api.create(CONFIG_MAPS, config_map("late"), namespace="x")
        await plane.clock.advance(2)
        assert await plane.find(NAMESPACES, "x", None) is None


async def test_what_holds_a_namespace_back_is_said() -> None:
    async with control_plane() as plane:
        await new_namespace(plane, "x")
        await plane.api.create(CONFIG_MAPS, config_map("held", "x.dev/a"), namespace="x")
        await plane.api.delete(NAMESPACES, "x")
        await plane.clock.advance(2)
        found = await plane.find(NAMESPACES, "x", None)
        assert found is not None
        said = {c["type"]: (c["status"], c["reason"], c["message"]) for c in found["status"]["conditions"]}
        assert said == {
            "NamespaceDeletionDiscoveryFailure": (
                "False",
                "ResourcesDiscovered",
                "All resources successfully discovered",
            ),
            "NamespaceDeletionGroupVersionParsingFailure": (
                "False",
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed",
            ),
            "NamespaceDeletionContentFailure": (
                "False",
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
            "NamespaceContentRemaining": (
                "True",
                "SomeResourcesRemain",
                "Some resources are remaining: configmaps. has 1 resource instances",
            ),
            "NamespaceFinalizersRemaining": (
                "True",
                "SomeFinalizersRemain",
                "Some finalizers are remaining: x.dev/a in 1 resource instances",
            ),
        }
        await plane.api.patch(CONFIG_MAPS, "held", {"metadata": {"finalizers": None}}, namespace="x")
        await plane.gone(NAMESPACES, "x", None, seconds=3)


async def test_pods_end_before_the_rest_goes() -> None:
    async with control_plane() as plane:
        await new_namespace(plane, "x")
        annotations = {"scripted.podbay.dev/ignore-sigterm": "true"}
        await plane.run_pod("p", "x", annotations=annotations, terminationGracePeriodSeconds=10)
        await plane.api.create(CONFIG_MAPS, config_map("c"), namespace="x")
        await plane.clock.advance(1)
        await plane.api.delete(NAMESPACES, "x")
        await plane.clock.advance(5)
        assert await plane.find(CONFIG_MAPS, "c", "x")
        await plane.gone(NAMESPACES, "x", None, seconds=10)
