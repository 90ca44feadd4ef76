"""kubectl taint, cordon, drain and what the scheduler makes of them.

They disturb everything that runs on the node, so they are for nodes whose pods are played: on a cluster without such
a node these tests are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kubectl_program import Kubectl
from sample_objects import Object, pod


@pytest.fixture
def node(anywhere: Kubectl) -> Iterator[str]:
    """A scripted node, as it was before when the test is over."""
    found = anywhere(
        "get", "nodes", "-l", "podbay.dev/scripted=true", "-o", "jsonpath={.items[*].metadata.name}"
    ).out
    if not found:
        pytest.skip("draining a node that runs containers would disturb other work")
    name = found.split()[0]
    yield name
    anywhere("uncordon", name)
    anywhere("taint", "node", name, "contract-", code=None)
    anywhere("label", "node", name, "contract-")


def there(name: str, node: str) -> Object:
    """A pod for this node alone."""
    obj = pod(name)
    obj["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}
    return obj


def test_cordon(kubectl: Kubectl, anywhere: Kubectl, node: str) -> None:
    anywhere("cordon", node)
    assert anywhere("get", "node", node, "--no-headers").rows()[0][1] == "Ready,SchedulingDisabled"
    kubectl("create", "-f", "-", stdin=there("waiting", node))
    kubectl("wait", "--for=condition=PodScheduled=false", "pod/waiting", "--timeout=100s")
    path = '{.status.conditions[?(@.type=="PodScheduled")].message}'
    assert "node(s) were unschedulable" in kubectl("get", "pod", "waiting", "-o", f"jsonpath={path}").out
    anywhere("uncordon", node)
    kubectl("wait", "--for=condition=Ready", "pod/waiting", "--timeout=100s")


def test_taints(kubectl: Kubectl, anywhere: Kubectl, node: str) -> None:
    assert anywhere("taint", "node", node, "contract=yes:NoSchedule").out == f"node/{node} tainted\n"
    tolerant = there("tolerant", node)
    tolerant["spec"]["tolerations"] = [{"key": "contract", "operator": "Equal", "value": "yes"}]
    kubectl("create", "-f", "-", stdin=[there("kept-out", node), tolerant])
    kubectl("wait", "--for=condition=Ready", "pod/tolerant", "--timeout=100s")
    kubectl("wait", "--for=condition=PodScheduled=false", "pod/kept-out", "--timeout=100s")
    assert anywhere("taint", "node", node, "contract-").out == f"node/{node} untainted\n"
    kubectl("wait", "--for=condition=Ready", "pod/kept-out", "--timeout=100s")


def test_taints_that_evict(kubectl: Kubectl, anywhere: Kubectl, node: str) -> None:
    kubectl("create", "-f", "-", stdin=there("out", node))
    kubectl("wait", "--for=condition=Ready", "pod/out", "--timeout=100s")
    anywhere("taint", "node", node, "contract=yes:NoExecute")
    kubectl("wait", "--for=delete", "pod/out", "--timeout=100s")


def test_drain(kubectl: Kubectl, anywhere: Kubectl, node: str) -> None:
    kubectl("create", "-f", "-", stdin=there("web", node))
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=100s")
    said = anywhere.refused("drain", node, "--timeout=20s")
    assert "cannot delete Pods that declare no controller (use --force to override)" in said
    drained = anywhere("drain", node, "--force", "--ignore-daemonsets", "--timeout=100s")
    assert f"node/{node} drained" in drained.out
    assert kubectl("get", "pods", "-o", "name").out == ""


def test_labels_open_a_node(kubectl: Kubectl, anywhere: Kubectl, node: str) -> None:
    wanting = pod("wanting")
    wanting["spec"]["nodeSelector"] = {"contract": "here"}
    kubectl("create", "-f", "-", stdin=wanting)
    kubectl("wait", "--for=condition=PodScheduled=false", "pod/wanting", "--timeout=100s")
    anywhere("label", "node", node, "contract=here")
    kubectl("wait", "--for=condition=Ready", "pod/wanting", "--timeout=100s")
    assert kubectl("get", "pod", "wanting", "-o", "jsonpath={.spec.nodeName}").out == node
