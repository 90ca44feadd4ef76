"""Is the cluster ready for a deployment? One finding for each thing looked at; each failure with its fix.

Looks and asks only; nothing is written. What needs no cluster is in cli/deploy_doctor.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal, Protocol, TypeAlias

from podbay.deployment.access import launcher_rules, usage_rules
from podbay.deployment.apply import Writer
from podbay.deployment.model import Deployment
from podbay.deployment.observe import observe, together
from podbay.deployment.parts import COLLECTIONS
from podbay.deployment.plan import make_plan
from podbay.errors import ApiError
from podbay.objects.meta import Object, labels_of
from podbay.objects.resource import GVR

__all__ = [
    "Finding",
    "Patient",
    "Verdict",
    "by_verbs",
    "examine",
    "judge_clock",
    "judge_health",
    "judge_proofs",
    "judge_version",
]

Verdict: TypeAlias = Literal["ok", "warning", "failed"]
_REVIEWS: Final = GVR("authorization.k8s.io", "v1", "selfsubjectaccessreviews")
_NODES: Final = GVR("", "v1", "nodes")
_OLDEST: Final = (1, 30)
"""ValidatingAdmissionPolicy is stable since 1.30, native sidecars run by default since 1.29."""
_SKEW_SECONDS: Final = 30.0
"""Tokens are checked to the second, with a few of leeway; signed AWS requests have five minutes."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `fix` is an imperative sentence where something is to be done."""

    subject: str
    verdict: Verdict
    message: str
    fix: str = ""


class Patient(Writer, Protocol):
    """What of a client is needed here."""

    async def version(self) -> tuple[Object, str]: ...


async def examine(api: Patient, deployment: Deployment, now: datetime) -> list[Finding]:
    """Everything about the cluster. Raises UnreachableError and CredentialError: then there is nothing to examine."""
    body, date = await api.version()
    findings = [judge_version(body), judge_clock(date, now)]
    findings += await _permissions(api, deployment)
    findings.append(await _applied(api, deployment))
    findings += await _nodes(api, deployment)
    return findings


def judge_version(body: Object) -> Finding:
    """Whether the server is young enough. Pure."""
    said = str(body.get("gitVersion") or "unknown")
    digits = [str(body.get(each) or "").rstrip("+") for each in ("major", "minor")]
    if not all(each.isdigit() for each in digits):
        return Finding("version", "warning", f"the server's version {said} cannot be read")
    if (int(digits[0]), int(digits[1])) < _OLDEST:
        return Finding(
            "version",
            "failed",
            f"Kubernetes {said} does not know ValidatingAdmissionPolicy or native sidecars",
            f"Upgrade it to {_OLDEST[0]}.{_OLDEST[1]} or later, or set admission_policy: off and results by "
            "termination message.",
        )
    return Finding("version", "ok", f"Kubernetes {said}")


def judge_clock(date: str, now: datetime) -> Finding:
    """Whether this machine and the cluster agree on the time. Pure."""
    try:
        server = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return Finding("clock", "warning", "the server does not say what time it is")
    seconds = (now - server).total_seconds()
    if abs(seconds) > _SKEW_SECONDS:
        ahead = "ahead of" if seconds > 0 else "behind"
        return Finding(
            "clock",
            "failed",
            f"this machine's clock is {abs(seconds):.0f} s {ahead} the cluster's",
            "Set it by NTP (timedatectl set-ntp true): tokens and signatures fail otherwise.",
        )
    return Finding("clock", "ok", f"{abs(seconds):.0f} s apart")


_PARTS: Final = {
    "triggerer": "Start it (airflow triggerer; triggerer.enabled in the chart): tasks in pods wait for it.",
    "scheduler": "Start it (airflow scheduler): nothing begins without it.",
    "dag_processor": "Start it (airflow dag-processor): DAG files are not read without it.",
    "metadatabase": "Look at the log of the API server.",
}


def judge_health(url: str, body: Any) -> list[Finding]:
    """What Airflow's own page of health says of its parts. Pure."""
    if not isinstance(body, Mapping) or not isinstance(body.get("metadatabase"), Mapping):
        message = f"{url} does not tell its health as an Airflow 3 does"
        return [Finding("triggerer", "failed", message, "Correct --airflow-url.")]
    findings = []
    for name, fix in _PARTS.items():
        part = body.get(name)
        status = part.get("status") if isinstance(part, Mapping) else None
        subject = name.replace("_", " ")
        if status == "healthy":
            findings.append(Finding(subject, "ok", f"healthy, at {url}"))
        else:
            said = f"{status or 'none has ever run'}, at {url}"
            findings.append(Finding(subject, "failed", said, fix))
    return findings


def judge_proofs(rows: Sequence[Mapping[str, object]], ended: Sequence[str]) -> list[Finding]:
    """Of registries: what became of logins and images that were tried, and Secrets whose time is over. Pure."""
    if not rows:
        return [Finding("registries", "ok", "no login and no image is named: pods pull as anybody may")]
    findings = [
        Finding(
            "registries",
            "failed",
            f"{each['subject']}: {each['message']}",
            "Look closer: podbay registry test",
        )
        for each in rows
        if not each["ok"]
    ]
    findings += [
        Finding(
            "registries",
            "failed",
            f"the login of Secret {each} has ended",
            "Renew it: podbay registry refresh",
        )
        for each in ended
    ]
    return findings or [Finding("registries", "ok", f"all {len(rows)} logins and images answer")]


async def _permissions(api: Patient, deployment: Deployment) -> list[Finding]:
    """Verb by verb: what launching pods needs in the namespace, and what applying needs."""
    launching = [
        (deployment.namespace, group, *_split(resource), verb)
        for rule in (*launcher_rules(deployment), *usage_rules(deployment))
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
    applying = [
        (
            deployment.namespace if each.namespaced else "",
            each.resource.group,
            each.resource.resource,
            "",
            verb,
        )
        for each in COLLECTIONS
        if not (each.resource.group.startswith("admission") and deployment.admission_policy == "off")
        for verb in ("get", "list", "create", "patch", "delete")
    ]
    answers = await together(_may(api, *each) for each in [*launching, *applying])
    denied = [each for each, allowed in zip([*launching, *applying], answers, strict=True) if not allowed]
    return [
        _permission("launching pods", [each for each in denied if each in launching], len(launching)),
        _permission("applying podbay.yaml", [each for each in denied if each in applying], len(applying)),
    ]


def _split(resource: str) -> tuple[str, str]:
    name, _, subresource = resource.partition("/")
    return name, subresource


async def _may(api: Patient, namespace: str, group: str, resource: str, subresource: str, verb: str) -> bool:
    attributes = {
        "namespace": namespace,
        "group": group,
        "resource": resource,
        "subresource": subresource,
        "verb": verb,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {key: each for key, each in attributes.items() if each}},
    }
    answer = await api.create(_REVIEWS, review)
    return bool((answer.get("status") or {}).get("allowed"))


def _permission(purpose: str, denied: Sequence[tuple[str, ...]], asked: int) -> Finding:
    if not denied:
        return Finding("permissions", "ok", f"{purpose}: all {asked} verbs")
    said = by_verbs(denied)
    return Finding(
        "permissions",
        "failed" if purpose == "launching pods" else "warning",
        f"{purpose}: may not {said}",
        "Let `podbay apply` be run by somebody who may, and add your service account to airflow.service_accounts."
        if purpose == "launching pods"
        else "Ask the cluster's administrator for these verbs, or to run `podbay apply`.",
    )


def by_verbs(denied: Sequence[tuple[str, ...]]) -> str:
    """`get, list on pods, events; create on pods/exec`: who may nothing lacks dozens of rights, and mostly the same."""
    verbs: dict[str, dict[str, None]] = {}
    for _, group, resource, sub, verb in denied:
        name = f"{'/'.join(filter(None, (resource, sub)))}{f'.{group}' if group else ''}"
        verbs.setdefault(name, {})[verb] = None
    resources: dict[str, list[str]] = {}
    for name, lacking in verbs.items():
        resources.setdefault(", ".join(lacking), []).append(name)
    return "; ".join(f"{lacking} on {', '.join(names)}" for lacking, names in resources.items())


async def _applied(api: Patient, deployment: Deployment) -> Finding:
    try:
        plan = make_plan(deployment, await observe(api, deployment))
    except ApiError as err:
        return Finding("deployment", "warning", f"its objects cannot be read: {err.message}")
    if plan.obstacles:
        return Finding("deployment", "failed", plan.obstacles[0], "Look at all of it with `podbay plan`.")
    if plan.work:
        return Finding(
            "deployment", "failed", f"{len(plan.work)} objects differ from podbay.yaml", "Run `podbay apply`."
        )
    if plan.notes:
        return Finding("deployment", "warning", "; ".join(plan.notes), "Set what is missing.")
    return Finding(
        "deployment", "ok", f"{deployment.name} stands as podbay.yaml says, in {deployment.namespace}"
    )


async def _nodes(api: Patient, deployment: Deployment) -> list[Finding]:
    try:
        nodes = (await api.list(_NODES)).items
    except ApiError as err:
        return [Finding("nodes", "warning", f"cannot be listed: {err.message}")]
    ready = [each for each in nodes if _is_ready(each)]
    if not ready:
        return [
            Finding(
                "nodes", "failed", f"none of {len(nodes)} is ready", "Look at them: kubectl describe nodes"
            )
        ]
    return [Finding("nodes", "ok", f"{len(ready)} of {len(nodes)} ready"), *_fitting(ready, deployment)]


def _is_ready(node: Object) -> bool:
    conditions: list[dict[str, Any]] = (node.get("status") or {}).get("conditions") or []
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def _fitting(nodes: Sequence[Object], deployment: Deployment) -> Iterator[Finding]:
    """Nodes that pods of the deployment can be put on at all."""
    allowed = deployment.pods.architectures
    found = sorted({labels_of(each).get("kubernetes.io/arch", "") for each in nodes})
    if allowed and not set(found) & set(allowed):
        message = f"no ready node is {' or '.join(allowed)}; there is {', '.join(found) or 'none'}"
        yield Finding("nodes", "failed", message, "Change pods.architectures, or add such a node.")
    for name, queue in deployment.queues.items():
        wanted = queue.node_selector.items()
        if wanted and not any(wanted <= labels_of(each).items() for each in nodes):
            said = ", ".join(f"{key}={value}" for key, value in wanted)
            message = f"no ready node has the labels of queue {name} ({said})"
            yield Finding(
                "nodes", "warning", message, "Label one, or expect the cluster's autoscaler to add it."
            )
