from __future__ import annotations

from typing import Any

import pytest
from admission_builders import World, pod, reason, request, run

from podbay.apiserver.admission.service_account import ServiceAccount, random_suffix

PLUGIN = ServiceAccount(lambda: "abcde")
PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
MIRROR = {"annotations": {"kubernetes.io/config.mirror": "x"}}
ENFORCED = {"kubernetes.io/enforce-mountable-secrets": "true"}


def _admit(world: World, subject: dict[str, Any]) -> dict[str, Any]:
    obj = run(world, request("pods", subject), PLUGIN).obj
    assert obj is not None
    return obj["spec"]  # type: ignore[no-any-return]


def _world(name: str = "default", **account: Any) -> World:
    world = World()
    annotations = account.pop("annotations", {})
    world.put("serviceaccounts", {"metadata": {"name": name, "annotations": annotations}, **account})
    return world


def test_the_default_account_is_filled_in_under_both_names() -> None:
    spec = _admit(World(), pod())
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"


def test_the_old_field_counts() -> None:
    assert _admit(_world("old"), pod(serviceAccount="old"))["serviceAccountName"] == "old"


def test_a_missing_account_is_refused() -> None:
    message = 'error looking up service account team/ghost: serviceaccount "ghost" not found'
    assert reason(World(), request("pods", pod(serviceAccountName="ghost")), PLUGIN) == message


def test_every_container_mounts_the_token() -> None:
    spec = _admit(World(), pod({}, {}, initContainers=[{"name": "i"}]))
    mount = {"name": "kube-api-access-abcde", "readOnly": True, "mountPath": PATH}
    for container in [*spec["containers"], *spec["initContainers"]]:
        assert container["volumeMounts"] == [mount]
    assert [v["name"] for v in spec["volumes"]] == ["kube-api-access-abcde"]


def test_a_mount_at_the_path_replaces_the_token() -> None:
    own = {"name": "own", "mountPath": PATH}
    spec = _admit(World(), pod({"volumeMounts": [own]}))
    assert spec["containers"][0]["volumeMounts"] == [own]
    assert "volumes" not in spec


def test_a_token_volume_that_is_there_is_used() -> None:
    volume = {"name": "kube-api-access-zzzzz", "projected": {"sources": []}}
    spec = _admit(World(), pod(volumes=[volume]))
    assert spec["volumes"] == [volume]
    assert spec["containers"][0]["volumeMounts"][0]["name"] == "kube-api-access-zzzzz"


@pytest.mark.parametrize(
    ("of_pod", "of_account", "mounted"),
    [
        (None, None, True),
        (None, False, False),
        (None, True, True),
        (True, False, True),
        (False, True, False),
        (False, None, False),
    ],
)
def test_who_decides_about_mounting(of_pod: bool | None, of_account: bool | None, mounted: bool) -> None:
    world = _world() if of_account is None else _world(automountServiceAccountToken=of_account)
    spec = _admit(world, pod() if of_pod is None else pod(automountServiceAccountToken=of_pod))
    assert ("volumes" in spec) is mounted


def test_pull_secrets_come_from_the_account_unless_the_pod_has_some() -> None:
    world = _world(imagePullSecrets=[{"name": "a"}, {"name": "b"}])
    assert _admit(world, pod())["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}]
    assert _admit(world, pod(imagePullSecrets=[{"name": "own"}]))["imagePullSecrets"] == [{"name": "own"}]


def _secret_env(name: str) -> list[dict[str, Any]]:
    return [{"name": "V", "valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}}]


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        (
            pod(volumes=[{"name": "v", "secret": {"secretName": "other"}}]),
            'volume with secret.secretName="other" is not allowed because service account default '
            "does not reference that secret",
        ),
        (
            pod({"env": _secret_env("other")}),
            'container c0 with envVar V referencing secret.secretName="other" is not allowed because '
            "service account default does not reference that secret",
        ),
        (
            pod(initContainers=[{"name": "i", "env": _secret_env("other")}]),
            'init container i with envVar V referencing secret.secretName="other" is not allowed because '
            "service account default does not reference that secret",
        ),
        (
            pod(imagePullSecrets=[{"name": "pull"}, {"name": "other"}]),
            'imagePullSecrets[1].name="other" is not allowed because service account default '
            "does not reference that imagePullSecret",
        ),
    ],
)
def test_accounts_may_restrict_secrets(subject: dict[str, Any], message: str) -> None:
    world = _world(annotations=ENFORCED, secrets=[{"name": "own"}], imagePullSecrets=[{"name": "pull"}])
    assert reason(world, request("pods", subject), PLUGIN) == message


def test_references_that_the_account_lists_are_fine() -> None:
    world = _world(annotations=ENFORCED, secrets=[{"name": "own"}])
    _admit(world, pod({"env": _secret_env("own")}, volumes=[{"name": "v", "secret": {"secretName": "own"}}]))


def test_without_the_annotation_any_secret_is_fine() -> None:
    _admit(World(), pod({"env": _secret_env("other")}))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"serviceAccountName": "default"}, "a mirror pod may not reference service accounts"),
        (
            {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]},
            "a mirror pod may not reference secrets",
        ),
        ({"imagePullSecrets": [{"name": "s"}]}, "a mirror pod may not reference secrets"),
        (
            {"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]},
            "a mirror pod may not use ServiceAccountToken volume projections",
        ),
    ],
)
def test_mirror_pods_stand_alone(spec: dict[str, Any], message: str) -> None:
    assert reason(World(), request("pods", pod(metadata=MIRROR, **spec)), PLUGIN) == message


def test_mirror_pods_are_not_changed() -> None:
    assert _admit(World(), pod(metadata=MIRROR)) == pod()["spec"]


def test_ephemeral_containers_are_restricted_like_the_others() -> None:
    world = _world(annotations=ENFORCED)
    subject = pod(
        serviceAccountName="default", ephemeralContainers=[{"name": "debug", "env": _secret_env("other")}]
    )
    attributes = request("pods", subject, operation="UPDATE", old=pod(), subresource="ephemeralcontainers")
    assert reason(world, attributes, PLUGIN).startswith("ephemeral container debug with envVar V referencing")


@pytest.mark.parametrize(
    ("operation", "subresource"), [("UPDATE", ""), ("CREATE", "binding"), ("UPDATE", "status")]
)
def test_other_writes_pass(operation: str, subresource: str) -> None:
    subject = pod(serviceAccountName="ghost")
    spec = run(World(), request("pods", subject, operation=operation, subresource=subresource), PLUGIN).obj
    assert spec == pod(serviceAccountName="ghost")


def test_suffixes_use_the_alphabet_of_kubernetes() -> None:
    for _ in range(50):
        suffix = random_suffix()
        assert len(suffix) == 5
        assert set(suffix) <= set("bcdfghjklmnpqrstvwxz2456789")
