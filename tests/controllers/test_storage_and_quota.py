from __future__ import annotations

from control_plane import CLAIMS, NAMESPACES, PODS, QUOTAS, Plane, control_plane

from podbay.embedded.controllers import LocalStorage
from podbay.embedded.controllers.base import CLUSTER_ROLES, VOLUMES
from podbay.embedded.controllers.claims import volume_for
from podbay.objects.meta import Object, name_of


async def used(plane: Plane) -> dict[str, str]:
    quota = await plane.api.get(QUOTAS, "q", namespace="default")
    return dict(quota["status"].get("used") or {})


async def test_quota_usage_is_given_back() -> None:
    async with control_plane() as plane:
        await plane.run_pod("early", requests={"cpu": "250m"})
        hard = {"pods": "3", "requests.cpu": "1"}
        quota = {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "q"},
            "spec": {"hard": hard},
        }
        await plane.api.create(QUOTAS, quota, namespace="default")
        await plane.clock.advance(1)
        assert await used(plane) == {"pods": "1", "requests.cpu": "250m"}
        short = {"scripted.podbay.dev/run-seconds": "5"}
        await plane.run_pod("short", requests={"cpu": "500m"}, annotations=short)
        await plane.run_pod("long", requests={"cpu": "100m"})
        await plane.clock.advance(1)
        assert await used(plane) == {"pods": "3", "requests.cpu": "850m"}
        await plane.clock.advance(10)
        assert await used(plane) == {"pods": "2", "requests.cpu": "350m"}
        await plane.api.delete(PODS, "long", namespace="default")
        await plane.clock.advance(2)
        assert await used(plane) == {"pods": "1", "requests.cpu": "250m"}


def claim(name: str, **spec: object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            **spec,
        },
    }


async def volume_of_new_claim(plane: Plane, name: str) -> str:
    await plane.api.create(CLAIMS, claim(name), namespace="default")
    await plane.clock.advance(1)
    bound = await plane.api.get(CLAIMS, name, namespace="default")
    volume: str = bound["spec"]["volumeName"]
    return volume


USES_CLAIM = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]


async def test_a_pod_waits_for_its_claim_and_the_claim_for_its_pod() -> None:
    async with control_plane(provisioner=LocalStorage("/srv/claims")) as plane:
        await plane.run_pod("p", volumes=USES_CLAIM)
        await plane.clock.advance(1)
        waiting = await plane.find(PODS, "p")
        assert waiting is not None
        said = waiting["status"]["conditions"][0]["message"]
        assert said == '0/1 nodes are available: persistentvolumeclaim "c" not found. not found'
        await plane.api.create(CLAIMS, claim("c"), namespace="default")
        await plane.phase("p", "Running", seconds=5)
        bound = await plane.find(CLAIMS, "c")
        assert bound is not None
        assert bound["status"] == {
            "phase": "Bound",
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
        }
        await plane.api.delete(CLAIMS, "c", namespace="default")
        await plane.clock.advance(1)
        assert await plane.find(CLAIMS, "c")
        await plane.api.delete(PODS, "p", namespace="default")
        await plane.gone(CLAIMS, "c")


async def test_claims_of_other_classes_stay_pending() -> None:
    async with control_plane(provisioner=LocalStorage("/srv/claims")) as plane:
        await plane.api.create(CLAIMS, claim("c", storageClassName="fast"), namespace="default")
        await plane.run_pod("p", volumes=USES_CLAIM)
        await plane.clock.advance(2)
        waiting = await plane.find(PODS, "p")
        assert waiting is not None
        assert waiting["status"]["conditions"][0]["message"] == (
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found"
        )


async def test_a_claim_gets_no_volume_of_somebody_else() -> None:
    async with control_plane(provisioner=LocalStorage("/srv/claims")) as plane:
        volume = await volume_of_new_claim(plane, "victim")
        await plane.api.create(NAMESPACES, {"metadata": {"name": "eve"}})
        await plane.api.create(CLAIMS, claim("c", volumeName=volume), namespace="eve")
        await plane.clock.advance(1)
        greedy = await plane.api.get(CLAIMS, "c", namespace="eve")
        assert greedy["status"]["phase"] == "Pending"
        assert [name_of(v) for v in (await plane.api.list(VOLUMES)).items] == [volume]


async def test_the_volume_of_a_claim_that_is_gone_follows_its_policy() -> None:
    async with control_plane(provisioner=LocalStorage("/srv/claims")) as plane:
        volumes = {name: await volume_of_new_claim(plane, name) for name in ("deleted", "retained", "kept")}
        retain = {"spec": {"persistentVolumeReclaimPolicy": "Retain"}}
        await plane.api.patch(VOLUMES, volumes["retained"], retain)
        for name in ("deleted", "retained"):
            await plane.api.delete(CLAIMS, name, namespace="default")
            await plane.gone(CLAIMS, name)
        await plane.clock.advance(1)
        found = {name_of(v): v["status"]["phase"] for v in (await plane.api.list(VOLUMES)).items}
        assert found == {volumes["retained"]: "Released", volumes["kept"]: "Bound"}


async def test_volumes_left_by_an_earlier_life_are_found() -> None:
    """The process ended between a claim's end and its volume's."""
    async with control_plane() as plane:
        gone = claim("gone")
        gone["metadata"] |= {"namespace": "default", "uid": "0815"}
        left = volume_for(gone, LocalStorage("/srv/claims"))
        others = {**left, "metadata": {"name": "by-hand"}}
        await plane.api.create(VOLUMES, left)
        await plane.api.create(VOLUMES, others)
        await plane.gone(VOLUMES, name_of(left), None)
        assert [name_of(v) for v in (await plane.api.list(VOLUMES)).items] == ["by-hand"]
        await plane.api.delete(VOLUMES, "by-hand")
        await plane.gone(VOLUMES, "by-hand", None)


async def test_a_volume_outlives_its_deletion_until_its_claim_is_gone() -> None:
    async with control_plane(provisioner=LocalStorage("/srv/claims")) as plane:
        volume = await volume_of_new_claim(plane, "c")
        await plane.api.delete(VOLUMES, volume)
        await plane.clock.advance(5)
        assert await plane.find(VOLUMES, volume, None)
        await plane.api.delete(CLAIMS, "c", namespace="default")
        await plane.gone(VOLUMES, volume, None)


async def test_aggregated_roles_take_in_new_rules() -> None:
    async with control_plane() as plane:
        rules = [{"apiGroups": ["example.dev"], "resources": ["widgets"], "verbs": ["get"]}]
        metadata = {"name": "widgets", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}
        role = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": metadata,
            "rules": rules,
        }
        await plane.api.create(CLUSTER_ROLES, role)
        await plane.clock.settle()
        for name in ("view", "edit", "admin"):
            assert rules[0] in (await plane.api.get(CLUSTER_ROLES, name))["rules"]
        await plane.api.delete(CLUSTER_ROLES, "widgets")
        await plane.clock.settle()
        assert rules[0] not in (await plane.api.get(CLUSTER_ROLES, "admin"))["rules"]
