"""`podbay explain`: gathers what is known of a pod, from a cluster or a file, and lets `lifecycle.diagnosis` judge it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml

from podbay.cli.rows import age, created, main_container_name, pod_json, status_of
from podbay.cli.target import connect, find_pod
from podbay.errors import ApiError, InvalidInputError, StateError
from podbay.kube.client import KubeClient
from podbay.kube.config import ClusterConfig
from podbay.lifecycle.diagnosis.diagnose import diagnoses
from podbay.lifecycle.diagnosis.model import Diagnosis, Facts, diagnosis_to_json
from podbay.lifecycle.view import parse_time, view_of
from podbay.objects.meta import Object, name_of, namespace_of, uid_of
from podbay.objects.resource import GVR

__all__ = ["Explanation", "explain_file", "explain_pod", "explanation_json", "explanation_text"]

EVENTS = GVR("", "v1", "events")
NODES = GVR("", "v1", "nodes")
_HEALS = {
    "never": "waiting does not help",
    "maybe": "waiting may help",
    "itself": "it goes on by itself as soon as there is room",
}
_WHO = {
    "user": "the author of the task",
    "platform": "those who run the cluster",
    "infrastructure": "nobody; infrastructure failed",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """A pod, and what is wrong with it; the likeliest cause first."""

    facts: Facts
    name: str
    """NAMESPACE/NAME."""
    causes: tuple[Diagnosis, ...]


async def explain_pod(config: ClusterConfig, name: str) -> Explanation:
    """Look at a pod of a cluster. Raises StateError when neither it nor any event of it is there."""
    namespace = config.namespace
    async with connect(config) as cluster:
        client = cluster.client
        pod: Object | None = None
        missing: StateError | None = None
        try:
            pod = await find_pod(client, namespace, name, ended=True)
        except StateError as err:
            missing = err
        events = await _events(client, namespace, name, uid_of(pod) if pod is not None else "")
        if missing is not None and not events:
            raise missing
        nodes = await _nodes(client, pod) if pod is not None else []
    return _explanation(pod, events, nodes, f"{namespace}/{name}")


async def _events(client: KubeClient, namespace: str, name: str, uid: str) -> list[Object]:
    """Of this pod; of the last one with the name when uid is empty. None without the right to see them."""
    selector = f"involvedObject.kind=Pod,involvedObject.name={name}"
    try:
        found = (await client.list(EVENTS, namespace=namespace, field_selector=selector)).items
    except ApiError as err:
        if err.code == 403:
            return []
        raise
    if not uid and found:
        uid = str((max(found, key=_time_of).get("involvedObject") or {}).get("uid") or "")
    return [event for event in found if (event.get("involvedObject") or {}).get("uid") in (uid, None, "")]


def _time_of(event: Object) -> str:
    metadata = event.get("metadata") or {}
    return str(
        event.get("lastTimestamp") or event.get("eventTime") or metadata.get("creationTimestamp") or ""
    )


async def _nodes(client: KubeClient, pod: Object) -> list[Object]:
    """The pod's node; all that could have taken it while it has none. None without the right to see them."""
    name = (pod.get("spec") or {}).get("nodeName")
    try:
        if name:
            return [await client.get(NODES, name)]
        return (await client.list(NODES)).items
    except ApiError as err:
        if err.code in (403, 404):
            return []
        raise


def explain_file(
    text: str, source: str, *, namespace: str | None = None, name: str | None = None
) -> Explanation:
    """Look at what `kubectl get pods,events,nodes -o yaml` wrote; namespace and name choose among several pods.

    Raises InvalidInputError for anything else.
    """
    try:
        objects = [each for document in yaml.safe_load_all(text) for each in _objects(document)]
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        raise InvalidInputError(f"{source}{f':{mark.line + 1}' if mark else ''}: not YAML or JSON") from None
    by_kind: dict[str, list[Object]] = {"Pod": [], "Event": [], "Node": []}
    for each in objects:
        by_kind.setdefault(str(each.get("kind")), []).append(each)
    pods = [
        pod
        for pod in by_kind["Pod"]
        if name in (None, name_of(pod)) and namespace in (None, namespace_of(pod) or "default")
    ]
    if len(pods) != 1:
        listed = ", ".join(sorted(name_of(pod) for pod in by_kind["Pod"])) or "none"
        raise InvalidInputError(
            f"{source}: name one of its pods: podbay explain POD -f FILE. It has: {listed}"
        )
    pod = pods[0]
    if not pod.get("status") and not uid_of(pod):
        raise InvalidInputError(
            f"{source}: a manifest that no cluster has seen, so nothing has happened that could be explained. Save what "
            "a cluster knows: kubectl get pods,events,nodes -o yaml; or judge the manifest: podbay check FILE"
        )
    events = [
        event
        for event in by_kind["Event"]
        if (event.get("involvedObject") or {}).get("kind") == "Pod"
        and (event.get("involvedObject") or {}).get("name") == name_of(pod)
        and (event.get("involvedObject") or {}).get("namespace") in (namespace_of(pod), None, "")
    ]
    return _explanation(pod, events, by_kind["Node"], f"{namespace_of(pod) or 'default'}/{name_of(pod)}")


def _objects(document: Any) -> Iterator[Object]:
    if isinstance(document, dict) and isinstance(document.get("items"), list):
        for item in document["items"]:
            yield from _objects(item)
    elif isinstance(document, dict):
        yield document


def _explanation(
    pod: Object | None, events: Sequence[Object], nodes: Sequence[Object], name: str
) -> Explanation:
    facts = Facts(
        pod=pod,
        events=tuple(events),
        nodes=tuple(nodes),
        container=main_container_name(pod) if pod is not None else "base",
        context={"vanished": True} if pod is None else {},
    )
    return Explanation(facts, name, tuple(diagnoses(facts)))


def explanation_json(found: Explanation) -> dict[str, Any]:
    """The shape that docs/cli.md promises."""
    pod = found.facts.pod
    return {
        "pod": pod_json(pod) if pod is not None else None,
        "name": found.name,
        "healthy": _is_healthy(found),
        "diagnosis": diagnosis_to_json(found.causes[0]) if found.causes else None,
        "others": [diagnosis_to_json(each) for each in found.causes[1:]],
    }


def explanation_text(found: Explanation, now: datetime) -> str:
    """What a person reads."""
    pod = found.facts.pod
    head = f"{found.name}: {status_of(pod)}" if pod is not None else f"{found.name}: not there any more"
    lines = [head]
    if pod is not None and not found.causes:
        lines.append(f"  {_now(pod, now)}")
    for at, cause in enumerate(found.causes):
        lines += ["", *_cause(cause)] if at else _cause(cause)
    if pod is not None and (image := pod_json(pod)["imageID"]):
        lines += ["", f"  image:    {image}"]
    return "\n".join(lines) + "\n"


def _cause(cause: Diagnosis) -> list[str]:
    return [
        f"  cause:    {cause.cause}.",
        f"  fix:      {cause.fix}",
        f"  mend:     {_WHO[cause.blame]} ({_HEALS[cause.heals]})",
        f"  category: {cause.category}",
        *(f"  {'evidence:' if at == 0 else '':9} {each}" for at, each in enumerate(cause.evidence)),
    ]


def _is_healthy(found: Explanation) -> bool:
    pod = found.facts.pod
    return not found.causes and pod is not None and (pod.get("status") or {}).get("phase") != "Failed"


def _now(pod: Object, now: datetime) -> str:
    """What a pod does with which nothing is wrong."""
    view = view_of(pod, main_container_name(pod))
    since = age(created(pod), now)
    main = view.main
    if not pod.get("status"):
        return "Nothing is known but its manifest: no cluster has said anything of it."
    if view.phase == "Failed":
        return "It has failed, and nothing that is known of it says why."
    if view.stage == "ended":
        return f"Nothing is wrong: it has done its work on node {view.node or '(none)'}."
    if view.stage == "running":
        started = parse_time(main.started_at) if main is not None else None
        return f"Nothing is wrong: it has run for {age(started, now)} on node {view.node}."
    return f"Nothing is wrong so far: made {since} ago, now: {status_of(pod)}."
