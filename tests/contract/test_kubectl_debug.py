"""kubectl debug with ephemeral containers: the endpoint, and what it refuses. That they run is tested where nodes run
containers (tests/node/agent)."""

from __future__ import annotations

import json

from kubectl_program import Kubectl
from sample_objects import BUSYBOX, finishing_pod, pod


def ephemeral(kubectl: Kubectl, name: str) -> list[dict[str, object]]:
    spec = kubectl("get", "pod", name, "-o", "json").json()["spec"]
    return list(spec.get("ephemeralContainers") or ())


def test_debug_adds_a_container(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=pod("web"))
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=100s")
    kubectl("debug", "web", f"--image={BUSYBOX}", "--target=main", "-c", "look", "--", "true")
    (added,) = ephemeral(kubectl, "web")
    assert (added["name"], added["image"], added["command"]) == ("look", BUSYBOX, ["true"])
    assert added["targetContainerName"] == "main"
    assert added["terminationMessagePath"] == "/dev/termination-log"
    kubectl("debug", "web", f"--image={BUSYBOX}", "-c", "again", "--", "true")
    assert [c["name"] for c in ephemeral(kubectl, "web")] == ["look", "again"]
    shown = kubectl("describe", "pod", "web").out
    assert "Ephemeral Containers:" in shown


def test_a_pod_that_has_ended_is_looked_into_by_a_copy(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=finishing_pod("over", 3))
    kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/over", "--timeout=100s")
    kubectl("debug", "over", "--copy-to=look", "--container=main", "--", "true")
    (container,) = kubectl("get", "pod", "look", "-o", "json").json()["spec"]["containers"]
    assert (container["name"], container["image"], container["command"]) == ("main", BUSYBOX, ["true"])


def test_refusals(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=pod("web"))
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=100s")
    kubectl("debug", "web", f"--image={BUSYBOX}", "-c", "look", "--", "true")

    def patched(**fields: object) -> str:
        """What the server says of a container named look with these fields."""
        containers = [{"name": "look", "image": BUSYBOX, **fields}]
        patch = json.dumps({"spec": {"ephemeralContainers": containers}})
        return kubectl.refused(
            "patch", "pod", "web", "--subresource=ephemeralcontainers", "--type=strategic", "-p", patch
        )

    assert 'existing ephemeral containers "look" may not be changed' in patched(image="other")
    assert 'targetContainerName: Not found: "gone"' in kubectl.refused(
        "debug", "web", f"--image={BUSYBOX}", "-c", "new", "--target=gone", "--", "true"
    )
    said = kubectl.refused(
        "patch", "pod", "web", "--type=json", "-p", '[{"op":"remove","path":"/spec/ephemeralContainers"}]'
    )
    assert "pod updates may not change fields other than" in said
    direct = pod("direct")
    direct["spec"]["ephemeralContainers"] = [{"name": "look", "image": BUSYBOX}]
    said = kubectl.refused("create", "-f", "-", stdin=direct)
    assert "spec.ephemeralContainers: Forbidden: cannot be set on create" in said
