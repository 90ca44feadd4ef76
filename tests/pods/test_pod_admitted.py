"""Every pod we build is one an API server takes, and every manifest we refuse is one it refuses.

The server is asked over the wire with dryRun=All and fieldValidation=Strict; `--podbay-cluster=KUBECONFIG` asks a real one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pod_requests import golden_cases, read_case
from test_pod_identity import IDENTITIES

from podbay.embedded.cluster import ClusterOptions
from podbay.pods.build import build_pod
from podbay.pods.request import UNSET, PodRequest
from podbay.pods.validate import pod_problems
from podbay.testing import Environment
from podbay.testing.requests import Requests

pytestmark = pytest.mark.contract
NAMESPACE = "pods-built"
FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def api(request: pytest.FixtureRequest) -> Iterator[Requests]:
    if request.config.getoption("--podbay-cluster") != "embedded":
        environment: Environment = request.getfixturevalue("podbay_cluster")
        yield from opened(environment)
        return
    with Environment.start(ClusterOptions(nodes=())) as environment:
        yield from opened(environment)


def opened(environment: Environment) -> Iterator[Requests]:
    with Requests(environment.kubeconfig) as api:
        api.create_namespace(NAMESPACE)
        yield api
        api.delete_namespace(NAMESPACE)


def refusal(api: Requests, pod: dict[str, Any]) -> str:
    """Why the server does not take the pod; empty when it does. Objects that a pod refers to need not be there."""
    asked = copy.deepcopy(pod)
    asked["metadata"]["namespace"] = NAMESPACE
    # Admission looks these up; the tests are about the pod.
    for field in ("serviceAccountName", "priorityClassName", "runtimeClassName"):
        asked["spec"].pop(field, None)
    asked["spec"]["automountServiceAccountToken"] = False
    query = "dryRun=All&fieldValidation=Strict"
    code, answer = api.call("POST", f"/api/v1/namespaces/{NAMESPACE}/pods?{query}", asked)
    return "" if code == 201 else str(answer.get("message"))


@pytest.mark.parametrize("case", golden_cases())
def test_golden_pods_are_taken(api: Requests, case: str) -> None:
    assert refusal(api, build_pod(*read_case(case))) == ""


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.just(UNSET), values)


KEYS = st.from_regex(
    r"\A([a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?\.example/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,8}[A-Za-z0-9])?\Z"
)
VALUES = st.from_regex(r"\A([A-Za-z0-9]([A-Za-z0-9_.-]{0,10}[A-Za-z0-9])?)?\Z")
NAMES = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?\Z")
MAPS = st.dictionaries(KEYS, VALUES, max_size=3)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
CPU = st.sampled_from(["100m", "1", "0.5", "2"])
LAYERS = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries({}, optional={"labels": MAPS, "annotations": MAPS, "name": NAMES}),
        "spec": st.fixed_dictionaries(
            {
                "containers": st.lists(
                    st.fixed_dictionaries({"name": NAMES, "image": st.just("b:1")}),
                    unique_by=lambda each: each["name"],
                    max_size=3,
                ),
            },
            optional={
                "nodeSelector": MAPS,
                "volumes": st.lists(
                    st.fixed_dictionaries(
                        {"name": st.sampled_from(["data", "xcom", "x"]), "emptyDir": st.just({})}
                    ),
                    unique_by=lambda each: each["name"],
                ),
                "hostNetwork": st.booleans(),
            },
        ),
    },
)
REQUESTS = st.builds(
    PodRequest,
    identity=st.one_of(st.none(), IDENTITIES),
    name=maybe(TEXTS),
    name_suffix=st.sampled_from(["", "x7"]),
    image=st.sampled_from(["busybox", "registry.example.com/a/b:1.2", "a@sha256:" + "0" * 64]),
    command=maybe(st.lists(TEXTS, max_size=2)),
    args=maybe(st.one_of(st.none(), st.lists(TEXTS, max_size=2))),
    env=maybe(st.dictionaries(st.from_regex(r"\A[ -<>-~]{1,8}\Z"), TEXTS, max_size=4)),
    labels=maybe(st.dictionaries(KEYS, st.one_of(st.none(), VALUES), max_size=2)),
    annotations=maybe(MAPS),
    resources=maybe(st.builds(lambda low, high: {"requests": {"cpu": low}, "limits": {"memory": high}}, CPU, CPU)),
    volumes=maybe(st.just([{"name": "scratch", "emptyDir": {}}])),
    node_selector=maybe(st.one_of(st.none(), MAPS)),
    tolerations=maybe(st.lists(st.just({"operator": "Exists"}), max_size=2)),
    template=st.one_of(st.none(), LAYERS),
    full_spec=st.one_of(st.none(), LAYERS),
    result=st.sampled_from(["none", "sidecar", "termination_message"]),
    secrets=st.lists(
        st.sampled_from(
            [
                {"deploy_type": "env", "deploy_target": "a", "secret": "s", "key": "k"},
                {"deploy_type": "env", "secret": "s"},
                {"deploy_type": "volume", "deploy_target": "/s", "secret": "s"},
                {"deploy_type": "volume", "deploy_target": "/t", "secret": "s"},
            ]
        ),
        max_size=3,
    ),
    airflow_version=st.sampled_from([None, "3.3.2", "3.3.2+local.1"]),
    in_cluster=st.sampled_from([None, True, False]),
)  # fmt: skip


@FEW
@given(REQUESTS)
def test_every_built_pod_is_taken(api: Requests, request: PodRequest) -> None:
    pod = build_pod(request)
    assert build_pod(request) == pod
    assert refusal(api, pod) == ""


GOOD: dict[str, Any] = {
    "metadata": {"name": "good", "labels": {"a": "b"}},
    "spec": {
        "containers": [
            {
                "name": "base",
                "image": "busybox",
                "env": [{"name": "A", "value": "1"}],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                "ports": [{"containerPort": 80}],
                "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}},
            }
        ],
        "volumes": [{"name": "data", "emptyDir": {}}],
        "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute"}],
        "restartPolicy": "Never",
    },
}
PLACES: list[tuple[Any, ...]] = [
    ("metadata", "name"),
    ("metadata", "labels", "a"),
    ("metadata", "labels", "A b"),
    ("metadata", "annotations"),
    ("metadata", "finalizers"),
    ("spec", "containers", 0, "name"),
    ("spec", "containers", 0, "image"),
    ("spec", "containers", 0, "imagePullPolicy"),
    ("spec", "containers", 0, "terminationMessagePolicy"),
    ("spec", "containers", 0, "env", 0, "name"),
    ("spec", "containers", 0, "env", 0, "valueFrom"),
    ("spec", "containers", 0, "envFrom"),
    ("spec", "containers", 0, "volumeMounts", 0, "name"),
    ("spec", "containers", 0, "volumeMounts", 0, "mountPath"),
    ("spec", "containers", 0, "volumeMounts", 0, "subPath"),
    ("spec", "containers", 0, "ports", 0, "containerPort"),
    ("spec", "containers", 0, "ports", 0, "name"),
    ("spec", "containers", 0, "ports", 0, "protocol"),
    ("spec", "containers", 0, "resources", "limits", "cpu"),
    ("spec", "containers", 0, "resources", "requests", "cpu"),
    ("spec", "containers", 0, "resources", "requests", "example.com/device"),
    ("spec", "containers", 0, "livenessProbe"),
    ("spec", "containers", 0, "securityContext"),
    ("spec", "volumes", 0, "name"),
    ("spec", "volumes", 0, "secret"),
    ("spec", "volumes", 0, "hostPath"),
    ("spec", "initContainers"),
    ("spec", "nodeSelector"),
    ("spec", "tolerations", 0, "operator"),
    ("spec", "tolerations", 0, "key"),
    ("spec", "tolerations", 0, "value"),
    ("spec", "tolerations", 0, "effect"),
    ("spec", "tolerations", 0, "tolerationSeconds"),
    ("spec", "affinity"),
    ("spec", "topologySpreadConstraints"),
    ("spec", "activeDeadlineSeconds"),
    ("spec", "terminationGracePeriodSeconds"),
    ("spec", "hostname"),
    ("spec", "subdomain"),
    ("spec", "schedulerName"),
    ("spec", "restartPolicy"),
    ("spec", "dnsPolicy"),
    ("spec", "hostAliases"),
    ("spec", "imagePullSecrets"),
    ("spec", "schedulingGates"),
]
KINDS: dict[str, list[Any]] = {
    "annotations": [{}, {"a/b": "x"}, {"a b": "x"}, {"A/B": "x"}, {"": "x"}],
    "finalizers": [["orphan"], ["x"], ["a.b/c"], [""]],
    "valueFrom": [
        {"fieldRef": {"fieldPath": "metadata.name"}},
        {"fieldRef": {"fieldPath": "metadata.labels['a']"}},
        {"fieldRef": {"fieldPath": "spec.node"}},
        {"secretKeyRef": {"name": "s", "key": "k"}},
        {"secretKeyRef": {"name": "S_", "key": "k"}},
        {"configMapKeyRef": {"name": "s", "key": ""}},
        {},
    ],
    "envFrom": [[{"secretRef": {"name": "s"}}], [{"configMapRef": {}}], [{}]],
    "containerPort": [1, 0, 65535, 65536, -1],
    "cpu": ["1", "0", "-1", "x", "1.5", "3", "100m", "1e3"],
    "example.com/device": ["1", "0"],
    "livenessProbe": [
        {"exec": {"command": ["x"]}},
        {},
        {"exec": {"command": ["x"]}, "tcpSocket": {"port": 1}},
    ],
    "securityContext": [{}, {"runAsUser": -1}, {"runAsUser": 7}, {"seccompProfile": {"type": "x"}}],
    "secret": [{"secretName": "s"}, {}, {"secretName": "s", "defaultMode": 512}],
    "hostPath": [{"path": "/a"}, {}, {"path": "/a/../b"}],
    "initContainers": [[], [{"name": "i", "image": "a"}], [{"name": "base", "image": "a"}], [{"name": "i"}]],
    "nodeSelector": [{}, {"a": "b"}, {"a b": "c"}, {"a": "b c"}],
    "tolerationSeconds": [0, 1, -1],
    "affinity": [
        {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
        for terms in (
            [],
            [{}],
            [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}],
            [{"matchExpressions": [{"key": "a", "operator": "In"}]}],
            [{"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}],
            [{"matchExpressions": [{"key": "a", "operator": "Near"}]}],
        )
    ],
    "topologySpreadConstraints": [
        [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}],
        [{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}],
        [{"maxSkew": 1, "topologyKey": "", "whenUnsatisfiable": "DoNotSchedule"}],
        [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "x"}],
    ],
    "activeDeadlineSeconds": [1, 0, -1, 2**31 - 1, 2**31],
    "terminationGracePeriodSeconds": [0, 1, -1],
    "hostAliases": [
        [{"ip": "10.0.0.1", "hostnames": ["a"]}],
        [{"ip": "x"}],
        [{"ip": "::1", "hostnames": ["A_"]}],
    ],
    "imagePullSecrets": [[{"name": "a"}], [{"name": "A"}], [{}]],
    "schedulingGates": [[{"name": "a/b"}], [{"name": "a b"}]],
}
WORDS = ["", "a", "A", "a_b", "a.b", "-a", "x" * 64, "x" * 300, "a b", " a", "/a", "a/b", "../a", "data", "None", "Never",
         "Always", "Equal", "Exists", "NoSchedule", "File", "UDP", "Default", "a.b/c"]  # fmt: skip
ONLY_WE = "names no object that can exist"


def place(pod: dict[str, Any], path: tuple[Any, ...], value: Any) -> None:
    for step in path[:-1]:
        if isinstance(pod, dict):
            pod = pod.setdefault(step, {})
        else:
            pod = pod[step]
    pod[path[-1]] = value


@settings(FEW, max_examples=600)
@given(st.data())
def test_we_refuse_what_the_server_refuses(api: Requests, data: st.DataObject) -> None:
    """One or two fields of a good pod are changed. The embedded server and we judge independently and must agree."""
    pod = copy.deepcopy(GOOD)
    for path in data.draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=2, unique=True)):
        place(pod, path, data.draw(st.sampled_from(KINDS.get(str(path[-1]), WORDS))))
    problems = pod_problems(pod)
    certain = [each for each in problems if ONLY_WE not in each.message]
    said = refusal(api, {"apiVersion": "v1", "kind": "Pod", **pod})
    event("refused" if said else "taken")
    assert problems if said else not certain, (problems, said)
