"""The fields of podbay.yaml: one table that reads the file and, printed as JSON schema, describes it.

`podbay.schema.json` beside this file is that schema as published; tests keep it equal to the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from podbay.deployment.image_patterns import pattern_errors
from podbay.deployment.kinds import (
    Amount,
    Choice,
    Duration,
    Entry,
    Kind,
    ListOf,
    MapOf,
    Number,
    Part,
    Struct,
    Switch,
    Text,
    Whole,
)
from podbay.deployment.model import (
    AirflowSettings,
    Deployment,
    NetworkRules,
    PodRules,
    PodSize,
    Prices,
    Queue,
    QuotaRules,
)
from podbay.objects import names
from podbay.pods.problems import Problem

__all__ = ["FILE", "VERSION", "json_schema", "secret_name_errors"]

VERSION: Final = 1
"""Of the format. A file of a newer one is refused, because it may say what this Podbay would ignore."""
_SYSTEM_NAMESPACES: Final = ("default", "kube-system", "kube-public", "kube-node-lease")
_PLATFORM_VARIABLES: Final = ("AIRFLOW__KUBERNETES__NAMESPACE", "AIRFLOW__CORE__EXECUTOR")
_NAME_MAX: Final = 40
MOST_MEMORY_FACTOR: Final = 4
"""Of one retry: more is a slip, for three retries would make 64 times of it."""


def _name_errors(text: str) -> Sequence[str]:
    if len(text) > _NAME_MAX:
        return [f"must have at most {_NAME_MAX} characters"]
    return names.dns1123_label_errors(text)


def _namespace_errors(text: str) -> Sequence[str]:
    if text in _SYSTEM_NAMESPACES or text.startswith("kube-"):
        return [f"{text} belongs to Kubernetes; give the deployment a namespace of its own"]
    return names.dns1123_label_errors(text)


def secret_name_errors(text: str) -> Sequence[str]:
    """What is wrong with the name of a secret variable (spec 72, 79)."""
    if text in _PLATFORM_VARIABLES:
        return [f"{text} is what the platform itself tells Airflow; choose another name"]
    wrong = names.c_identifier_errors(text)
    if not wrong and text != text.upper():
        # Airflow's Secret capitalises its target: `my_secret` would never be found again.
        return [f"must be in capitals: {text.upper()}"]
    return wrong


def _label_errors(text: str) -> Sequence[str]:
    return names.qualified_name_errors(text)


def _image_errors(text: str) -> Sequence[str]:
    if not text.strip() or any(each.isspace() for each in text):
        return ["must be an image reference without blanks, such as registry.example.com/team/image:1"]
    return []


def _cluster_errors(text: str) -> Sequence[str]:
    return [] if text.strip() else ["must not be empty"]


def _size_like(shipped: PodSize) -> Struct:
    """A size of which every part that is not said stays as shipped."""
    return Struct(partial(replace, shipped), _SIZE_ENTRIES)


@dataclass(frozen=True, slots=True)
class _AccountReference:
    """`namespace/name` of a service account."""

    def read(self, value: Any, path: str, problems: list[Problem]) -> tuple[str, str] | None:
        text = Text().read(value, path, problems)
        if text is None:
            return None
        namespace, slash, name = text.partition("/")
        if not slash or names.dns1123_label_errors(namespace) or names.dns1123_subdomain_errors(name):
            problems.append(Problem(path, "must be NAMESPACE/NAME of a service account"))
            return None
        return namespace, name

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[a-z0-9-]+/[a-z0-9.-]+$"}


def _text(errors: Callable[[str], Sequence[str]]) -> Kind:
    return Text(errors)


_OBJECT_NAME: Final = _text(names.dns1123_subdomain_errors)
_LABEL_VALUE: Final = _text(names.label_value_errors)
_CPU: Final = Amount(bytes=False)
_BYTES: Final = Amount(bytes=True)

_SIZE_ENTRIES: Final = (
    Entry("cpu", _CPU, "Cores, such as 250m or 2."),
    Entry("memory", _BYTES, "With its unit, such as 512Mi."),
    Entry("ephemeral_storage", _BYTES, "Local disk, with its unit."),
)
_PODS: Final = Struct(
    PodRules,
    (
        Entry("default", _size_like(PodRules().default), "Size of a container that says nothing itself."),
        Entry("maximum", _size_like(PodRules().maximum), "Size that a whole pod may have at most."),
        Entry(
            "requests",
            Choice(("follow-limits", "as-given")),
            "follow-limits raises every container's requests to its limits.",
        ),
        Entry(
            "memory_per_cpu",
            _BYTES,
            "Exactly this memory for each CPU in default size and quota; unset: any.",
        ),
        Entry(
            "architectures",
            ListOf(_LABEL_VALUE),
            "Processors that pods may run on, such as amd64; unset: any.",
        ),
        Entry("service_account", _OBJECT_NAME, "Of pods that name none; default <namespace>-kpo."),
        Entry(
            "service_account_annotations",
            MapOf(Text(), _label_errors),
            "On that service account, such as eks.amazonaws.com/role-arn: the cloud's role of the pods.",
        ),
        Entry("allowed_service_accounts", ListOf(_OBJECT_NAME), "Others that pods may name."),
        Entry("persistent_volumes", Switch(), "Whether pods may use PersistentVolumeClaims."),
        Entry("protected_labels", MapOf(_LABEL_VALUE, _label_errors), "Labels that every task pod has."),
        Entry("priority_class", _OBJECT_NAME, "Of pods that name none; must exist in the cluster."),
        Entry("pull_secrets", ListOf(_OBJECT_NAME), "Secrets by which every pod may pull images."),
        Entry(
            "pull_secrets_by_image",
            MapOf(ListOf(_OBJECT_NAME), pattern_errors),
            "Image pattern, such as ghcr.io/team/*, to Secrets of pods with such an image.",
        ),
        Entry("keep", Choice(("never", "on_failure", "always")), "Which finished pods stay."),
        Entry("keep_for", Duration(), "How long a kept pod stays, at most 7d."),
        Entry(
            "security",
            Choice(("privileged", "baseline", "restricted")),
            "Pod Security Standard that the namespace enforces.",
        ),
        Entry(
            "retry_memory_factor",
            Number(1, MOST_MEMORY_FACTOR),
            "After a try that was killed for its memory the next one gets so many times as much; 1: as much.",
        ),
    ),
)
_QUOTA: Final = Struct(
    QuotaRules,
    (
        Entry("cpu", _CPU, "Sum over all task pods."),
        Entry("memory", _BYTES, "Sum over all task pods."),
        Entry("pods", Whole(1), "Number of task pods that have not ended."),
    ),
)
_QUEUE: Final = Struct(
    Queue,
    (
        Entry(
            "node_selector", MapOf(_LABEL_VALUE, _label_errors), "Labels of the nodes that take these pods."
        ),
        Entry("tolerations", ListOf(Part("Toleration")), "Tolerations, in the words of the Kubernetes API."),
    ),
)
_NETWORK: Final = Struct(
    NetworkRules,
    (
        Entry("ingress", Choice(("allow", "deny")), "Connections to task pods."),
        Entry("egress", Choice(("allow", "deny")), "Connections from task pods; DNS stays."),
        Entry(
            "egress_to", ListOf(_text(names.cidr_errors)), "CIDRs that stay reachable when egress is denied."
        ),
    ),
)
_PRICES: Final = Struct(
    Prices,
    (
        Entry("cpu_hour", Number(), "Price of one requested CPU for one hour."),
        Entry("memory_gib_hour", Number(), "Price of one requested GiB for one hour."),
        Entry("currency", Text(), "Shown with prices."),
    ),
)
_AIRFLOW: Final = Struct(
    AirflowSettings,
    (
        Entry("service_accounts", ListOf(_AccountReference()), "NAMESPACE/NAME of those that launch pods."),
        Entry("in_namespace", Switch(), "Airflow's own pods run in the deployment's namespace."),
        Entry("take_over_upstream", Switch(), "Run the upstream operator's tasks on Podbay's engine."),
        Entry("lending", Switch(), "Tasks may lend Airflow connections and variables to their pods."),
        Entry("usage_every", Duration(), "How often it is looked what pods use; never when absent."),
    ),
)


def _deployment(version: int = VERSION, **fields: Any) -> Deployment:
    # Only one version so far; reading.py has refused newer ones.
    del version
    return Deployment(**fields)


FILE: Final = Struct(
    _deployment,
    (
        Entry("version", Whole(1), f"Of this format: {VERSION}."),
        Entry("name", _text(_name_errors), "Name of the deployment in its cluster.", required=True),
        Entry(
            "cluster",
            _text(_cluster_errors),
            "podbay (the embedded one), a kubeconfig context or file, current, in-cluster.",
        ),
        Entry("namespace", _text(_namespace_errors), "Namespace of the task pods; generated when absent."),
        Entry("pods", _PODS, "What holds for every task pod."),
        Entry("quota", _QUOTA, "Ceiling on all task pods together."),
        Entry("queues", MapOf(_QUEUE), "Airflow queue to the nodes of its pods."),
        Entry(
            "secrets",
            ListOf(_text(secret_name_errors)),
            "Names of secret variables (podbay secrets set NAME).",
        ),
        Entry("images", MapOf(_text(_image_errors), _name_errors), "Alias to image."),
        Entry("network", _NETWORK, "Network policies of the namespace."),
        Entry("prices", _PRICES, "For reports of usage."),
        Entry("airflow", _AIRFLOW, "The Airflow that launches the pods."),
        Entry(
            "admission_policy",
            Choice(("deny", "warn", "off")),
            "What the cluster does with pods that break rules beyond sizes and quota.",
        ),
    ),
)


def json_schema() -> dict[str, Any]:
    """The schema of podbay.yaml, for editors and other programs."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "podbay.yaml",
        "description": "A Podbay deployment: where task pods run, how large they may be, what they may use.",
        **FILE.schema(),
    }
