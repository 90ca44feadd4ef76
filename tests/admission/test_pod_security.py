from __future__ import annotations

import copy
from typing import Any

import pytest
from admission_builders import NAMESPACE, World, pod, reason, refusal, request, run

from podbay.apiserver.admission.pod_security import PodSecurity
from podbay.apiserver.admission.pod_security.baseline import BASELINE
from podbay.apiserver.admission.pod_security.evaluate import evaluate
from podbay.apiserver.admission.pod_security.policy import LevelVersion, Policy, policy_of
from podbay.apiserver.admission.pod_security.restricted import RESTRICTED

PLUGIN = PodSecurity()
PREFIX = "pod-security.kubernetes.io/"


def _labels(**modes: str) -> dict[str, str]:
    return {PREFIX + mode.replace("_", "-"): value for mode, value in modes.items()}


def _world(**modes: str) -> World:
    world = World()
    world.put("namespaces", {"metadata": {"name": NAMESPACE, "labels": _labels(**modes)}})
    return world


def _secured(**context: Any) -> dict[str, Any]:
    """A container that passes every check, but for what is given."""
    base = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {"securityContext": {**base, **context}}


def _found(subject: dict[str, Any], level: str = "baseline", minor: int | None = None) -> list[str]:
    return [str(finding) for finding in evaluate(subject, LevelVersion(level, minor))]


def test_restricted_names_all_that_a_plain_pod_lacks() -> None:
    world = _world(enforce="restricted")
    assert reason(world, request("pods", pod({}, {})), PLUGIN) == (
        'violates PodSecurity "restricted:latest": '
        'allowPrivilegeEscalation != false (containers "c0", "c1" must set '
        "securityContext.allowPrivilegeEscalation=false), "
        'unrestricted capabilities (containers "c0", "c1" must set securityContext.capabilities.drop=["ALL"]), '
        'runAsNonRoot != true (pod or containers "c0", "c1" must set securityContext.runAsNonRoot=true), '
        'seccompProfile (pod or containers "c0", "c1" must set securityContext.seccompProfile.type to '
        '"RuntimeDefault" or "Localhost")'
    )


def test_a_hardened_pod_passes_restricted() -> None:
    run(_world(enforce="restricted"), request("pods", pod(_secured())), PLUGIN)


def test_privileged_namespaces_take_everything() -> None:
    run(_world(), request("pods", pod({"securityContext": {"privileged": True}}, hostNetwork=True)), PLUGIN)


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        (
            pod({"securityContext": {"privileged": True}}),
            'privileged (container "c0" must not set securityContext.privileged=true)',
        ),
        (pod(hostNetwork=True, hostPID=True), "host namespaces (hostNetwork=true, hostPID=true)"),
        (
            pod(volumes=[{"name": "a", "hostPath": {"path": "/"}}, {"name": "b", "hostPath": {"path": "/"}}]),
            'hostPath volumes (volumes "a", "b")',
        ),
        (
            pod({"ports": [{"hostPort": 80}, {"hostPort": 8080}]}, {"ports": [{"containerPort": 1}]}),
            'hostPort (container "c0" uses hostPorts 80, 8080)',
        ),
        (
            pod({"securityContext": {"capabilities": {"add": ["NET_RAW", "CHOWN", "SYS_ADMIN"]}}}),
            'non-default capabilities (container "c0" must not include "NET_RAW", "SYS_ADMIN" in '
            "securityContext.capabilities.add)",
        ),
        (
            pod(
                {"livenessProbe": {"httpGet": {"host": "h"}}},
                {"lifecycle": {"preStop": {"tcpSocket": {"host": "g"}}}},
            ),
            'probe or lifecycle host (containers "c0", "c1" use probe or lifecycle hosts "g", "h")',
        ),
        (
            pod({"securityContext": {"procMount": "Unmasked"}}),
            'procMount (container "c0" must not set securityContext.procMount to "Unmasked")',
        ),
        (
            pod(securityContext={"seLinuxOptions": {"type": "bad_t", "user": "u", "role": "r"}}),
            'seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "bad_t"; user may not be set; '
            "role may not be set)",
        ),
        (
            pod(
                {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
                securityContext={"seccompProfile": {"type": "Unconfined"}},
            ),
            'seccompProfile (pod and container "c0" must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
        (
            pod(securityContext={"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]}),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            pod(securityContext={"windowsOptions": {"hostProcess": True}}),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        (
            pod(
                {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
                metadata={"annotations": {"container.apparmor.security.beta.kubernetes.io/c0": "unconfined"}},
            ),
            'forbidden AppArmor profiles (container "c0" and annotation must not set AppArmor profile type to '
            '"Unconfined", "container.apparmor.security.beta.kubernetes.io/c0="unconfined"")',
        ),
    ],
)
def test_baseline(subject: dict[str, Any], message: str) -> None:
    assert _found(subject) == [message]


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        (
            pod(_secured(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE", "CHOWN"]})),
            'unrestricted capabilities (container "c0" must not include "CHOWN" in securityContext.capabilities.add)',
        ),
        (
            pod(_secured(runAsNonRoot=False), securityContext={"runAsNonRoot": True}),
            'runAsNonRoot != true (container "c0" must not set securityContext.runAsNonRoot=false)',
        ),
        (
            pod(_secured(runAsUser=0), securityContext={"runAsUser": 0}),
            'runAsUser=0 (pod and container "c0" must not set runAsUser=0)',
        ),
        (
            pod(_secured(), volumes=[{"name": "n", "nfs": {}}, {"name": "e", "emptyDir": {}}, {"name": "u"}]),
            'restricted volume types (volumes "n", "u" use restricted volume types "nfs", "unknown")',
        ),
        (
            pod(_secured(), volumes=[{"name": "h", "hostPath": {"path": "/"}}]),
            'restricted volume types (volume "h" uses restricted volume type "hostPath")',
        ),
        (
            pod(_secured(seccompProfile={"type": "Unconfined"})),
            'seccompProfile (container "c0" must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
    ],
)
def test_restricted(subject: dict[str, Any], message: str) -> None:
    assert _found(subject, "restricted") == [message]


def test_pod_level_settings_serve_all_containers() -> None:
    context = {"runAsNonRoot": True, "seccompProfile": {"type": "Localhost"}}
    container = {"securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
    assert _found(pod(container, securityContext=context), "restricted") == []


def test_user_namespaces_relax_some_checks() -> None:
    root = pod(_secured(runAsNonRoot=None, runAsUser=0), hostUsers=False)
    assert _found(root, "restricted") == []
    assert len(_found(root, "restricted", 34)) == 2
    unmasked = pod(_secured(procMount="Unmasked"), hostUsers=False)
    assert _found(unmasked) == []
    assert [text.partition(" ")[0] for text in _found(unmasked, "restricted")] == ["procMount"]


def test_windows_pods_are_excused() -> None:
    container = {"securityContext": {"runAsNonRoot": True}}
    assert _found(pod(container, os={"name": "windows"}), "restricted") == []


@pytest.mark.parametrize(
    ("sysctl", "minor", "allowed"),
    [
        ("net.ipv4.ip_local_reserved_ports", 26, False),
        ("net.ipv4.ip_local_reserved_ports", 27, True),
        ("net.ipv4.tcp_fin_timeout", 28, False),
        ("net.ipv4.tcp_fin_timeout", 29, True),
        ("net.ipv4.tcp_rmem", 31, False),
        ("net.ipv4.tcp_rmem", 99, True),
    ],
)
def test_versions_pin_the_rules(sysctl: str, minor: int, allowed: bool) -> None:
    subject = pod(securityContext={"sysctls": [{"name": sysctl}]})
    assert (_found(subject, "baseline", minor) == []) is allowed


def test_old_versions_lack_newer_checks() -> None:
    subject = pod(_secured(capabilities={"add": ["SYS_ADMIN"]}))
    reasons = [finding.reason for finding in evaluate(subject, LevelVersion("restricted", 21))]
    assert reasons == ["non-default capabilities"]
    reasons = [finding.reason for finding in evaluate(subject, LevelVersion("restricted", 22))]
    assert reasons == ["unrestricted capabilities"]


def test_checks_are_in_the_order_of_their_ids() -> None:
    for checks in (BASELINE, RESTRICTED):
        ids = [check.id for check in checks]
        assert ids == sorted(ids)


@pytest.mark.parametrize(
    ("labels", "policy"),
    [
        ({}, Policy()),
        (_labels(enforce="baseline"), Policy(LevelVersion("baseline"), LevelVersion("baseline"))),
        (
            _labels(enforce="baseline", enforce_version="v1.20"),
            Policy(LevelVersion("baseline", 20), LevelVersion("baseline", 20)),
        ),
        (
            _labels(enforce="baseline", enforce_version="v1.20", warn_version="latest"),
            Policy(LevelVersion("baseline", 20), LevelVersion("baseline")),
        ),
        (
            _labels(enforce="baseline", warn="restricted"),
            Policy(LevelVersion("baseline"), LevelVersion("restricted")),
        ),
        (
            _labels(enforce="baseline", warn="privileged"),
            Policy(LevelVersion("baseline"), LevelVersion("privileged")),
        ),
        (_labels(enforce="bad"), Policy(LevelVersion("restricted"), LevelVersion())),
    ],
)
def test_labels_make_a_policy(labels: dict[str, str], policy: Policy) -> None:
    assert policy_of(labels)[0] == policy


def test_bad_labels_are_refused_on_the_namespace() -> None:
    labels = _labels(enforce="Baseline", warn_version="1.25")
    namespace = {"metadata": {"name": "new", "labels": labels}}
    error = refusal(World(), request("namespaces", namespace, namespace="new"), PLUGIN)
    assert (error.code, error.reason) == (422, "Invalid")
    assert error.message == (
        'Namespace "new" is invalid: ['
        "metadata.labels[pod-security.kubernetes.io/enforce]: "
        'Invalid value: "Baseline": must be one of privileged, baseline, restricted, '
        "metadata.labels[pod-security.kubernetes.io/warn-version]: "
        'Invalid value: "1.25": must be "latest" or "v1.x"]'
    )
    old = copy.deepcopy(namespace)
    run(World(), request("namespaces", namespace, operation="UPDATE", old=old), PLUGIN)


def test_warnings_do_not_refuse() -> None:
    world = _world(warn="baseline")
    attributes = run(world, request("pods", pod(hostIPC=True)), PLUGIN)
    assert attributes.warnings == [
        'would violate PodSecurity "baseline:latest": host namespaces (hostIPC=true)'
    ]


@pytest.mark.parametrize(("image", "checked"), [("x", False), ("y", True)])
def test_updates_are_checked_when_images_change(image: str, checked: bool) -> None:
    world = _world(enforce="baseline")
    new = pod({"image": image}, hostPID=True)
    attributes = request("pods", new, operation="UPDATE", old=pod(hostPID=True))
    if checked:
        assert reason(world, attributes, PLUGIN).startswith('violates PodSecurity "baseline:latest"')
    else:
        run(world, attributes, PLUGIN)


def test_a_new_debug_container_is_checked() -> None:
    world = _world(enforce="baseline")
    debug = {"name": "d", "image": "x", "securityContext": {"privileged": True}}
    new = pod(ephemeralContainers=[debug])
    attributes = request("pods", new, operation="UPDATE", old=pod(), subresource="ephemeralcontainers")
    assert 'container "d" must not set securityContext.privileged=true' in reason(world, attributes, PLUGIN)


def _relabel(world: World, old: dict[str, str], new: dict[str, str]) -> list[str]:
    namespace = {"metadata": {"name": NAMESPACE, "labels": new}}
    before = {"metadata": {"name": NAMESPACE, "labels": old}}
    return run(world, request("namespaces", namespace, operation="UPDATE", old=before), PLUGIN).warnings


def test_tightening_a_namespace_warns_about_pods_that_are_there() -> None:
    world = World()
    for name in ("b", "a", "c"):
        world.put("pods", pod(name=name, hostPID=True))
    world.put("pods", pod(name="d", hostPID=True, volumes=[{"name": "v", "hostPath": {"path": "/"}}]))
    world.put("pods", pod(name="fine"))
    assert _relabel(world, {}, _labels(enforce="baseline")) == [
        'existing pods in namespace "team" violate the new PodSecurity enforce level "baseline:latest"',
        "a (and 2 other pods): host namespaces",
        "d: host namespaces, hostPath volumes",
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (_labels(enforce="baseline"), _labels(enforce="baseline")),
        (_labels(enforce="restricted"), _labels(enforce="baseline")),
        (_labels(enforce="restricted"), {}),
    ],
)
def test_relaxing_a_namespace_is_quiet(old: dict[str, str], new: dict[str, str]) -> None:
    world = World()
    world.put("pods", pod(hostPID=True))
    assert _relabel(world, old, new) == []


@pytest.mark.parametrize("subresource", ["status", "binding", "eviction", "exec"])
def test_subresources_that_cannot_change_the_spec_pass(subresource: str) -> None:
    attributes = request("pods", pod(hostPID=True), operation="UPDATE", old=pod(), subresource=subresource)
    run(_world(enforce="baseline"), attributes, PLUGIN)
