"""What of Airflow is lent to a pod, and how the pod and its Secret say so. Pure; how it is done: lending.py."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from podbay.errors import InvalidInputError
from podbay.objects.meta import Object, labels_of, name_of, namespace_of, uid_of
from podbay.pods.identity import DEPLOYMENT_LABEL, TaskIdentity
from podbay.pods.problems import Problem, kind_of
from podbay.pods.secrets import LENT_PREFIX, SecretReference, attach_secrets

__all__ = [
    "GATE",
    "Loan",
    "is_gated",
    "loan_problems",
    "loan_secret",
    "loans_of",
    "secret_name",
    "with_loans",
]

GATE: Final = "podbay.dev/lending"
_PREFIXES: Final = {"lend_connections": "AIRFLOW_CONN_", "lend_variables": "AIRFLOW_VAR_"}
_NAME: Final = re.compile(r"[-._a-zA-Z0-9]{1,200}\Z")
"""What can be a part of a variable's name and of a key in a Secret."""

Kind: TypeAlias = Literal["connection", "variable"]


@dataclass(frozen=True, slots=True)
class Loan:
    """One connection or variable of Airflow, and the environment variable that has it in the container."""

    kind: Kind
    name: str
    variable: str


def loans_of(given: Mapping[str, Any]) -> list[Loan]:
    """In the order in which they were asked for, each once. `given` has been checked."""
    found = []
    for parameter, prefix in _PREFIXES.items():
        kind: Kind = "connection" if parameter == "lend_connections" else "variable"
        found += [Loan(kind, each, prefix + each.upper()) for each in given.get(parameter) or ()]
    return list(dict.fromkeys(found))


def loan_problems(given: Mapping[str, Any]) -> list[Problem]:
    """What cannot be lent, by parameter."""
    problems = []
    for parameter in _PREFIXES:
        names = given.get(parameter)
        if names is None:
            continue
        if not isinstance(names, list | tuple):
            problems.append(Problem(parameter, f"must be a list of names, not {kind_of(names)}"))
            continue
        for index, name in enumerate(names):
            if not isinstance(name, str) or not _NAME.match(name):
                problems.append(
                    Problem(f"{parameter}[{index}]", "must be a name of letters, digits, '-', '_' and '.'")
                )
    return problems


def with_loans(pod: Object, loans: list[Loan], container: str, identity: TaskIdentity) -> Object:
    """The pod with references to its own Secret, held back until that is there."""
    if not loans:
        return pod
    secret = LENT_PREFIX + identity.digest()
    references = [
        SecretReference(deploy_type="env", deploy_target=each.variable, secret=secret, key=each.variable)
        for each in loans
    ]
    found = attach_secrets(pod, container, references)
    spec = found["spec"]
    return {
        **found,
        "spec": {**spec, "schedulingGates": [*(spec.get("schedulingGates") or ()), {"name": GATE}]},
    }


def is_gated(pod: Object) -> bool:
    """Whether it still waits for its Secret."""
    return any(each.get("name") == GATE for each in (pod.get("spec") or {}).get("schedulingGates") or ())


def loan_secret(pod: Object, name: str, values: Mapping[str, str]) -> Object:
    """The Secret of a pod that exists: it belongs to exactly that one."""
    owner = {"apiVersion": "v1", "kind": "Pod", "name": name_of(pod), "uid": uid_of(pod)}
    metadata: dict[str, Any] = {"name": name, "namespace": namespace_of(pod), "ownerReferences": [owner]}
    deployment = labels_of(pod).get(DEPLOYMENT_LABEL)
    if deployment is not None:
        metadata["labels"] = {DEPLOYMENT_LABEL: deployment}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque",
        "immutable": True,
        "data": data,
    }


def secret_name(pod: Object) -> str:
    """The name by which the pod refers to its Secret. Raises InvalidInputError when nothing in it does."""
    for container in pod["spec"]["containers"]:
        for variable in container.get("env") or ():
            name = ((variable.get("valueFrom") or {}).get("secretKeyRef") or {}).get("name", "")
            if name.startswith(LENT_PREFIX):
                return str(name)
    raise InvalidInputError(
        f"pod {name_of(pod)} does not refer to what is to be lent to it; a mutation hook has taken that away"
    )
