"""Admission policies as kubectl makes, shows and meets them."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from kubectl_program import Kubectl, Result
from sample_objects import Object, config_map

GROUP = "admissionregistration.k8s.io/v1"
PATIENCE = 60.0
"""Seconds; a real API server needs a moment until a policy is in force."""


def policy(name: str, namespace: str, *validations: Object) -> Object:
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["configmaps"],
    }
    constraints = {
        "resourceRules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
    }
    spec = {
        "matchConstraints": constraints,
        "validations": list(validations),
        "variables": [{"name": "keys", "expression": "object.?data.orValue({}).size()"}],
    }
    return {
        "apiVersion": GROUP,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }


def binding(name: str, to: str, *actions: str) -> Object:
    return {
        "apiVersion": GROUP,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": to, "validationActions": list(actions)},
    }


def eventually(attempt: Callable[[], Result], wanted: Callable[[Result], bool]) -> Result:
    end = time.monotonic() + PATIENCE
    while True:
        result = attempt()
        if wanted(result):
            return result
        if time.monotonic() > end:
            pytest.fail(f"the policy does not take effect: {result}")
        time.sleep(0.2)


FEW_KEYS: Object = {
    "expression": "variables.keys < 3",
    "messageExpression": "string(variables.keys) + ' keys are too many'",
}


def test_denied(
    kubectl: Kubectl, anywhere: Kubectl, cluster_scoped: Callable[[str, str], str], namespace: str
) -> None:
    name = cluster_scoped("validatingadmissionpolicy", "few-keys")
    bound = cluster_scoped("validatingadmissionpolicybinding", "few-keys")
    made = anywhere(
        "apply", "-f", "-", stdin=[policy(name, namespace, FEW_KEYS), binding(bound, name, "Deny")]
    )
    assert made.out.splitlines() == [
        f"validatingadmissionpolicy.admissionregistration.k8s.io/{name} created",
        f"validatingadmissionpolicybinding.admissionregistration.k8s.io/{bound} created",
    ]
    many = config_map("many", {"a": "1", "b": "2", "c": "3"})
    denied = eventually(
        lambda: kubectl("create", "--dry-run=server", "-f", "-", stdin=many, code=None), lambda r: r.code != 0
    )
    message = f"ValidatingAdmissionPolicy '{name}' with binding '{bound}' denied request: 3 keys are too many"
    assert denied.err.strip() == f'The configmaps "many" is invalid: : {message}'
    kubectl("create", "-f", "-", stdin=config_map("few", {"a": "1"}))
    assert message.replace("3 keys", "4 keys") in kubectl.refused(
        "patch", "cm", "few", "--type=merge", "-p", '{"data":{"b":"2","c":"3","d":"4"}}'
    )


def test_warned(
    kubectl: Kubectl, anywhere: Kubectl, cluster_scoped: Callable[[str, str], str], namespace: str
) -> None:
    name = cluster_scoped("validatingadmissionpolicy", "warned")
    bound = cluster_scoped("validatingadmissionpolicybinding", "warned")
    objects = [policy(name, namespace, FEW_KEYS), binding(bound, name, "Warn", "Audit")]
    anywhere("create", "-f", "-", stdin=objects)
    many = config_map("many", {"a": "1", "b": "2", "c": "3"})
    warned = eventually(
        lambda: kubectl("create", "--dry-run=server", "-f", "-", stdin=many), lambda r: "Warning" in r.err
    )
    text = f"Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{bound}': 3 keys are too many"
    assert warned.err == f"Warning: {text}\n"
    assert warned.out == "configmap/many created (server dry run)\n"


def test_shown(anywhere: Kubectl, cluster_scoped: Callable[[str, str], str], namespace: str) -> None:
    name = cluster_scoped("validatingadmissionpolicy", "shown")
    bound = cluster_scoped("validatingadmissionpolicybinding", "shown")
    objects = [policy(name, namespace, FEW_KEYS, {"expression": "true"}), binding(bound, name, "Deny")]
    anywhere("create", "-f", "-", stdin=objects)
    header, row = anywhere("get", "validatingadmissionpolicy", name).rows()
    assert (header, row[:3]) == (["NAME", "VALIDATIONS", "PARAMKIND", "AGE"], [name, "2", "<unset>"])
    header, row = anywhere("get", "validatingadmissionpolicybinding", bound).rows()
    assert (header, row[:3]) == (["NAME", "POLICYNAME", "PARAMREF", "AGE"], [bound, name, "<unset>"])
    described = anywhere("describe", "validatingadmissionpolicy", name).out
    assert "Failure Policy:  Fail" in described
    assert "variables.keys < 3" in described
    assert "FIELDS:" in anywhere("explain", "validatingadmissionpolicy.spec.validations").out


def test_refused(anywhere: Kubectl, cluster_scoped: Callable[[str, str], str], namespace: str) -> None:
    name = cluster_scoped("validatingadmissionpolicy", "refused")
    said = anywhere.refused(
        "create", "-f", "-", stdin=policy(name, namespace, {"expression": "variables.typo == 1"})
    )
    assert (
        f'The ValidatingAdmissionPolicy "{name}" is invalid: spec.validations[0].expression: Invalid value'
        in said
    )
    assert "undefined field 'typo'" in said


def test_server_side_apply(
    anywhere: Kubectl, cluster_scoped: Callable[[str, str], str], namespace: str
) -> None:
    """Applied again, nothing changes; another manager's variable stays."""
    name = cluster_scoped("validatingadmissionpolicy", "applied")
    mine = policy(name, namespace, FEW_KEYS)
    apply = ("apply", "--server-side", "-f", "-")
    anywhere(*apply, "--field-manager=one", stdin=mine)
    read = ("get", "validatingadmissionpolicy", name, "-o")
    version = anywhere(*read, "jsonpath={.metadata.resourceVersion}").out
    anywhere(*apply, "--field-manager=one", stdin=mine)
    assert anywhere(*read, "jsonpath={.metadata.resourceVersion}").out == version
    other = {k: mine[k] for k in ("apiVersion", "kind", "metadata")}
    other["spec"] = {"variables": [{"name": "more", "expression": "1"}]}
    anywhere(*apply, "--field-manager=two", stdin=other)
    anywhere(*apply, "--field-manager=one", stdin=mine)
    names = anywhere(*read, "jsonpath={.spec.variables[*].name}").out.split()
    assert names == ["keys", "more"]
    assert anywhere(*read, "jsonpath={.metadata.generation}").out == "2"
