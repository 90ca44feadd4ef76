"""Pods made to fit a deployment: each rule by itself."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from deployment_parts import a_pod, deployment, size

from podbay.deployment.check import check_pod, pod_totals
from podbay.deployment.enforce import enforce, pod_defaults
from podbay.deployment.image_patterns import complete_name
from podbay.deployment.model import Deployment
from podbay.errors import InvalidInputError
from podbay.objects.meta import Object
from podbay.pods.build import build
from podbay.pods.problems import Problem
from podbay.pods.request import PodRequest

DEFAULT = {"cpu": "250m", "memory": "512Mi", "ephemeral-storage": "256Mi"}


def main(pod: Object) -> dict[str, Any]:
    found: dict[str, Any] = pod["spec"]["containers"][0]
    return found


def with_resources(resources: dict[str, Any]) -> Object:
    pod = a_pod()
    main(pod)["resources"] = resources
    return pod


def test_a_pod_that_says_nothing_gets_the_default_size() -> None:
    made = enforce(a_pod(), deployment())
    assert main(made.pod)["resources"] == {"requests": DEFAULT, "limits": DEFAULT}
    assert made.problems == ()
    assert made.notes == ()


def test_what_the_task_says_itself_stays() -> None:
    asked = size("800m", "3Gi")
    resources = main(enforce(with_resources(asked), deployment()).pod)["resources"]
    assert resources["limits"] == {"cpu": "800m", "memory": "3Gi", "ephemeral-storage": "256Mi"}
    assert resources["requests"] == resources["limits"]


def test_requests_are_raised_to_the_limits_and_it_is_said() -> None:
    made = enforce(with_resources(size("2", "1Gi", requests={"cpu": "100m", "memory": "1Gi"})), deployment())
    assert main(made.pod)["resources"]["requests"]["cpu"] == "2"
    assert made.notes == ("spec.containers[0].resources.requests[cpu]: raised from 100m to the limit, 2",)


def test_a_request_without_limit_is_its_own_limit_even_above_the_default() -> None:
    """A LimitRange alone would set a limit below it, and the pod would be refused (spec 38)."""
    made = enforce(with_resources({"requests": {"cpu": "700m"}}), deployment())
    assert main(made.pod)["resources"]["limits"]["cpu"] == "700m"
    assert made.problems == ()


def test_as_given_leaves_requests_alone() -> None:
    made = enforce(
        with_resources(size("2", "1Gi", requests={"cpu": "100m", "memory": "1Gi"})),
        deployment("pods: {requests: as-given}"),
    )
    assert main(made.pod)["resources"]["requests"]["cpu"] == "100m"
    assert made.problems == ()


def test_every_container_counts_and_the_upstream_sidecar_is_sized_by_itself() -> None:
    pod = a_pod(initContainers=[{"name": "init", "image": "busybox"}])
    tiny = {"requests": {"cpu": "1m", "memory": "10Mi"}}
    pod["spec"]["containers"].append({"name": "airflow-xcom-sidecar", "image": "alpine", "resources": tiny})
    made = enforce(pod, deployment())
    sidecar = made.pod["spec"]["containers"][1]["resources"]
    assert sidecar["limits"] == {"cpu": "50m", "memory": "32Mi", "ephemeral-storage": "256Mi"}
    assert sidecar["requests"] == sidecar["limits"]
    assert made.pod["spec"]["initContainers"][0]["resources"]["limits"] == DEFAULT
    assert made.problems == ()
    given = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "20m", "memory": "16Mi"}}
    pod["spec"]["containers"][1]["resources"] = given
    assert enforce(pod, deployment()).pod["spec"]["containers"][1]["resources"]["limits"]["cpu"] == "20m"


def test_protected_labels_win_over_what_a_hook_wrote() -> None:
    pod = a_pod()
    pod["metadata"]["labels"] = {"team": "mine", "own": "kept"}
    made = enforce(pod, deployment("pods: {protected_labels: {team: data, cost: a}}"))
    assert made.pod["metadata"]["labels"] == {"team": "data", "own": "kept", "cost": "a"}
    assert made.notes == ("metadata.labels[team]: mine gives way to data, which the deployment protects",)


@pytest.mark.parametrize(
    ("given", "becomes"), [(None, "-kpo"), ("", "-kpo"), ("default", "-kpo"), ("etl", "etl")]
)
def test_the_service_account(given: str | None, becomes: str) -> None:
    wanted = deployment("pods: {allowed_service_accounts: [etl]}")
    made = enforce(a_pod(serviceAccountName=given), wanted)
    assert made.pod["spec"]["serviceAccountName"].endswith(becomes)
    assert made.problems == ()


def test_a_service_account_that_is_not_allowed_is_a_problem_and_no_change() -> None:
    wanted = deployment(namespace="misty-harbor-4821")
    made = enforce(a_pod(serviceAccountName="admin"), wanted)
    assert made.pod["spec"]["serviceAccountName"] == "admin"
    message = "admin is not allowed; pods may run as misty-harbor-4821-kpo (pods.allowed_service_accounts)"
    assert made.problems == (Problem("spec.serviceAccountName", message),)


def test_default_may_be_allowed_by_name() -> None:
    wanted = deployment("pods: {allowed_service_accounts: [default]}")
    assert enforce(a_pod(serviceAccountName="default"), wanted).pod["spec"]["serviceAccountName"] == "default"


def test_pull_secrets_are_added_to_the_pods_own() -> None:
    wanted = deployment("pods: {pull_secrets: [registry, other]}")
    made = enforce(a_pod(imagePullSecrets=[{"name": "own"}, {"name": "other"}]), wanted)
    assert made.pod["spec"]["imagePullSecrets"] == [{"name": "own"}, {"name": "other"}, {"name": "registry"}]


def test_pull_secrets_come_by_image() -> None:
    wanted = deployment(
        """
pods:
  pull_secrets: [registry]
  pull_secrets_by_image:
    "ghcr.io/team/*": [team, both]
    "docker.io/library/*": [hub, both]
    "ghcr.io/other/tool:2*": [other]
images: {tool: ghcr.io/team/tool:1}
"""
    )

    def secrets(*images: str, init: str = "") -> list[str]:
        pod = a_pod(containers=[{"name": f"c{at}", "image": each} for at, each in enumerate(images)])
        if init:
            pod["spec"]["initContainers"] = [{"name": "init", "image": init}]
        made = enforce(pod, wanted).pod
        assert enforce(made, wanted).pod == made
        return [each["name"] for each in made["spec"]["imagePullSecrets"]]

    assert secrets("quay.io/x") == ["registry"]
    assert secrets("ghcr.io/team/deep/tool:1") == ["registry", "team", "both"]
    assert secrets("tool") == ["registry", "team", "both"]
    assert secrets("busybox", "ghcr.io/team/x@sha256:1") == ["registry", "team", "both", "hub"]
    assert secrets("quay.io/x", init="index.docker.io/busybox") == ["registry", "hub", "both"]
    assert secrets("ghcr.io/other/tool:2.1") == ["registry", "other"]
    assert secrets("ghcr.io/other/tool:1") == ["registry"]
    assert wanted.pods.all_pull_secrets == ("registry", "team", "both", "hub", "other")
    elsewhere = enforce(a_pod(), wanted, in_cluster=False).pod
    assert "imagePullSecrets" not in elsewhere["spec"]


@pytest.mark.parametrize(
    ("image", "name", "tag"),
    [
        ("busybox", "docker.io/library/busybox", "latest"),
        ("team/x:1", "docker.io/team/x", "1"),
        ("index.docker.io/busybox", "docker.io/library/busybox", "latest"),
        ("localhost:5000/x", "localhost:5000/x", "latest"),
        ("localhost/x", "localhost/x", "latest"),
        ("a.example:5000/x/y:2@sha256:0", "a.example:5000/x/y", "2"),
        ("a.example/x@sha256:0", "a.example/x", ""),
    ],
)
def test_complete_names(image: str, name: str, tag: str) -> None:
    assert complete_name(image) == (name, tag)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("ghcr.io", "must be REGISTRY/PATH"),
        ("ghcr.io/", "must be REGISTRY/PATH"),
        ("ghcr.io/a b", "must be REGISTRY/PATH"),
        ("team/*", "on Docker Hub: docker.io/team/*"),
    ],
)
def test_patterns_that_fit_nothing(pattern: str, words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        deployment(f'pods: {{pull_secrets_by_image: {{"{pattern}": [x]}}}}')
    assert words in str(caught.value)


def test_one_architecture_is_a_node_selector() -> None:
    made = enforce(a_pod(), deployment("pods: {architectures: [amd64]}"))
    assert made.pod["spec"]["nodeSelector"] == {"kubernetes.io/arch": "amd64"}


def test_several_architectures_are_required_of_every_alternative() -> None:
    wanted = deployment("pods: {architectures: [amd64, arm64]}")
    zones = [
        {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]},
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]},
    ]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": zones}}
    made = enforce(a_pod(affinity={"nodeAffinity": required, "podAffinity": {}}), wanted)
    node = made.pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    demand = {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64", "arm64"]}
    assert [demand in each["matchExpressions"] for each in node["nodeSelectorTerms"]] == [True, True]
    assert made.pod["spec"]["affinity"]["podAffinity"] == {}
    assert made.problems == ()
    assert enforce(made.pod, wanted).pod == made.pod
    chosen = enforce(a_pod(nodeSelector={"kubernetes.io/arch": "arm64"}), wanted)
    assert "affinity" not in chosen.pod["spec"]
    assert chosen.problems == ()


def test_another_architecture_is_a_problem() -> None:
    made = enforce(
        a_pod(nodeSelector={"kubernetes.io/arch": "arm64"}), deployment("pods: {architectures: [amd64]}")
    )
    assert [str(each) for each in made.problems] == [
        "spec.nodeSelector[kubernetes.io/arch]: arm64 is not one of amd64 (pods.architectures)"
    ]


QUEUES = """
queues:
  gpu:
    node_selector: {pool: gpu, zone: a}
    tolerations: [{key: nvidia.com/gpu, operator: Exists}]
"""


def test_a_queue_says_which_nodes() -> None:
    wanted = deployment(QUEUES)
    pod = a_pod(nodeSelector={"zone": "b"}, tolerations=[{"key": "own", "operator": "Exists"}])
    made = enforce(pod, wanted, queue="gpu")
    assert made.pod["spec"]["nodeSelector"] == {"zone": "b", "pool": "gpu"}
    assert made.pod["spec"]["tolerations"] == [
        {"key": "own", "operator": "Exists"},
        {"key": "nvidia.com/gpu", "operator": "Exists"},
    ]
    assert made.notes == ("spec.nodeSelector[zone]: b of the task wins over a of queue gpu",)
    assert enforce(made.pod, wanted, queue="gpu").pod == made.pod
    for other in (None, "default"):
        assert enforce(pod, wanted, queue=other).pod["spec"]["nodeSelector"] == {"zone": "b"}


def test_image_aliases_stand_for_images_and_nothing_else() -> None:
    wanted = deployment("images: {etl: registry.example.com/etl:1}")
    pod = a_pod(
        containers=[
            {"name": n, "image": i}
            for n, i in (("a", "etl"), ("b", "airflow"), ("c", "etl:2"), ("d", "x/etl"))
        ]
    )
    made = enforce(pod, wanted, airflow_image="apache/airflow:3.3.2")
    assert [each["image"] for each in made.pod["spec"]["containers"]] == [
        "registry.example.com/etl:1",
        "apache/airflow:3.3.2",
        "etl:2",
        "x/etl",
    ]
    assert made.notes == (
        "spec.containers[0].image: etl is registry.example.com/etl:1",
        "spec.containers[1].image: airflow is apache/airflow:3.3.2",
    )


def test_the_file_says_what_airflow_is_if_it_says_it() -> None:
    wanted = deployment("images: {airflow: ours:1}")
    pod = a_pod(containers=[{"name": "a", "image": "airflow"}])
    assert main(enforce(pod, wanted, airflow_image="apache/airflow:3.3.2").pod)["image"] == "ours:1"


PROBLEMS: dict[str, tuple[Object, str]] = {
    "too large": (
        with_resources(size("44", "1Gi")),
        "spec.containers: cpu of all containers together is 44, more than 43 (pods.maximum.cpu)",
    ),
    "larger than the quota": (
        with_resources(size("9", "1Gi")),
        "spec.containers: cpu of 9 is more than the whole quota, 8 (quota.cpu): it could never start",
    ),
    "a persistent volume": (
        a_pod(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]),
        "spec.volumes[0].persistentVolumeClaim: persistent volumes are not for tasks here; "
        "use an emptyDir (pods.persistent_volumes)",
    ),
    "a request above its limit": (
        with_resources(size("1", "1Gi", requests={"cpu": "2", "memory": "1Gi"})),
        "spec.containers[0].resources.requests[cpu]: must equal the limit, 1, not 2 (pods.requests: follow-limits)",
    ),
    "an unknown secret variable": (
        a_pod(
            containers=[
                {
                    "name": "base",
                    "image": "b",
                    "env": [
                        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "env-secrets", "key": "TYPO"}}}
                    ],
                }
            ]
        ),
        "spec.containers[0].env[0].valueFrom.secretKeyRef.key: TYPO is not a secret variable of this deployment (secrets)",
    ),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_cannot_be_mended_is_named_with_the_field_that_says_so(case: str) -> None:
    pod, said = PROBLEMS[case]
    made = enforce(pod, deployment("quota: {cpu: 8}\nsecrets: [PASSWORD]"))
    assert said in [str(each) for each in made.problems]


def test_a_pod_for_another_namespace_is_a_problem() -> None:
    pod = a_pod()
    pod["metadata"]["namespace"] = "elsewhere"
    wanted = deployment(name="analytics", namespace="misty-harbor-4821")
    assert [str(each) for each in enforce(pod, wanted).problems] == [
        "metadata.namespace: pods of analytics belong in misty-harbor-4821, not elsewhere"
    ]


def test_a_pod_for_another_cluster_keeps_all_but_labels_and_aliases() -> None:
    """Spec 93: persistent volumes, GPUs and other processors are for external clusters."""
    wanted = deployment("pods: {protected_labels: {team: data}, architectures: [amd64]}\nimages: {etl: e:1}")
    pod = a_pod(
        nodeSelector={"kubernetes.io/arch": "arm64"},
        volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}],
        containers=[{"name": "base", "image": "etl", "resources": size("90", "1Gi", requests={"cpu": "1"})}],
    )
    expected = copy.deepcopy(pod)
    expected["metadata"]["labels"] = {"team": "data"}
    main(expected)["image"] = "e:1"
    made = enforce(pod, wanted, in_cluster=False)
    assert made.pod == expected
    assert made.problems == ()


def test_the_pod_given_is_not_changed() -> None:
    pod = a_pod(serviceAccountName="default")
    before = copy.deepcopy(pod)
    enforce(pod, deployment("pods: {architectures: [amd64], protected_labels: {a: b}}"))
    assert pod == before


@pytest.mark.parametrize("queue", [None, "gpu"])
@pytest.mark.parametrize("result", ["none", "sidecar"])
def test_pods_that_podbay_builds_fit_already(queue: str | None, result: Any) -> None:
    """The lowest layer and the enforcement agree: nothing is left to mend but nodes and architectures."""
    wanted: Deployment = deployment(
        "pods: {protected_labels: {team: data}, pull_secrets: [registry]}" + QUEUES
    )
    request = PodRequest(name="task", image="busybox", result=result, labels={"own": "kept"})
    built = build(request, pod_defaults(wanted)).pod
    made = enforce(built, wanted, queue=queue)
    assert made.problems == ()
    assert made.notes == ()
    if queue is None:
        assert made.pod == built
    assert check_pod(made.pod, wanted) == []


def test_defaults_for_another_cluster_are_labels_alone() -> None:
    wanted = deployment("pods: {protected_labels: {team: data}, priority_class: batch}")
    built = build(PodRequest(name="task", image="busybox"), pod_defaults(wanted, in_cluster=False)).pod
    assert built["metadata"]["labels"] == {"team": "data"}
    assert set(built["spec"]) == {"containers", "restartPolicy"}
    assert "resources" not in built["spec"]["containers"][0]


def test_totals_count_as_the_scheduler_does() -> None:
    pod = a_pod(
        containers=[{"name": n, "resources": size("1", "1Gi")} for n in "ab"],
        initContainers=[
            {"name": "one", "resources": size("2", "1Mi")},
            {"name": "side", "restartPolicy": "Always", "resources": size("500m", "1Gi")},
            {"name": "two", "resources": size("4", "1Mi")},
        ],
    )
    totals = {name: str(amount) for name, amount in pod_totals(pod).items()}
    assert totals == {"cpu": "4500m", "memory": "3Gi", "ephemeral-storage": "0"}


@pytest.mark.parametrize("value", ["", "x", "1Zi", None, {}, []])
def test_quantities_that_are_none_stop_nothing(value: Any) -> None:
    """Validation names them; enforcement has no opinion of them."""
    made = enforce(with_resources({"limits": {"cpu": value}, "requests": {"memory": value}}), deployment())
    assert made.pod["spec"]["containers"][0]["name"] == "base"
