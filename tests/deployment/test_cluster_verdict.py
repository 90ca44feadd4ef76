"""`podbay check` and `podbay doctor` against a cluster: what they see, and that they change nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from deployment_parts import CONFIGMAPS, NAMESPACES, PODS, a_pod, applied, client_of, deployment, size

from podbay.deployment.cluster_check import check_in_cluster
from podbay.deployment.doctor import examine, judge_clock, judge_version
from podbay.deployment.enforce import enforce
from podbay.deployment.model import Deployment
from podbay.kube.client import KubeClient
from podbay.kube.config import Impersonation
from podbay.objects.meta import Object


def fitting(wanted: Deployment, pod: Object) -> Object:
    made = enforce(pod, wanted)
    assert made.problems == ()
    return made.pod


async def test_a_good_pod_has_no_problems_and_is_not_made(kube: KubeClient) -> None:
    async with applied(kube, deployment("quota: {cpu: 4, memory: 8Gi}")) as wanted:
        pod = fitting(wanted, a_pod("good"))
        verdict = await check_in_cluster(kube, pod, wanted.namespace)
        assert verdict.problems == verdict.notes == ()
        assert (await kube.list(PODS, namespace=wanted.namespace)).items == []
        await kube.create(PODS, pod, namespace=wanted.namespace)
        assert (await check_in_cluster(kube, pod, wanted.namespace)).problems == (), (
            "a running namesake is no problem"
        )


async def test_what_a_pod_names_must_be_there(kube: KubeClient) -> None:
    async with applied(kube, deployment("pods: {persistent_volumes: true}")) as wanted:
        await kube.create(
            CONFIGMAPS, {"metadata": {"name": "known"}, "data": {"a": "b"}}, namespace=wanted.namespace
        )
        pod = fitting(
            wanted,
            a_pod(
                volumes=[
                    {"name": "v", "persistentVolumeClaim": {"claimName": "gone"}},
                    {"name": "s", "secret": {"secretName": "gone"}},
                    {"name": "c", "configMap": {"name": "known"}},
                ],
                imagePullSecrets=[{"name": "gone"}],
            ),
        )
        pod["spec"]["containers"][0] |= {
            "env": [
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "env-secrets", "key": "PASSWORD"}}},
                {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "known", "key": "other"}}},
                {"name": "C", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "x", "optional": True}}},
            ],
            "envFrom": [{"configMapRef": {"name": "gone"}}],
        }
        verdict = await check_in_cluster(kube, pod, wanted.namespace)
        assert [str(each) for each in verdict.problems] == [
            "spec.containers[0].env[0].valueFrom.secretKeyRef: Secret env-secrets has no key PASSWORD; "
            "set it: podbay secrets set PASSWORD",
            "spec.containers[0].env[1].valueFrom.configMapKeyRef: ConfigMap known has no key other",
            f"spec.containers[0].envFrom[0].configMapRef: ConfigMap gone is not in namespace {wanted.namespace}",
            "spec.volumes[0].persistentVolumeClaim: PersistentVolumeClaim gone is not in namespace "
            f"{wanted.namespace}",
            f"spec.volumes[1].secret: Secret gone is not in namespace {wanted.namespace}",
            f"spec.imagePullSecrets[0]: Secret gone is not in namespace {wanted.namespace}",
        ]


async def test_what_the_cluster_refuses_is_a_problem_in_its_words(kube: KubeClient) -> None:
    async with applied(kube, deployment()) as wanted:
        pod = fitting(wanted, a_pod())
        pod["spec"]["serviceAccountName"] = "nobody"
        verdict = await check_in_cluster(kube, pod, wanted.namespace)
        assert len(verdict.problems) == 1
        assert 'serviceaccount "nobody" not found' in str(verdict.problems[0])
        pod = fitting(wanted, a_pod())
        pod["spec"]["containers"][0]["name"] = "Not_A_Name"
        verdict = await check_in_cluster(kube, pod, wanted.namespace)
        assert [each.path for each in verdict.problems] == ["spec.containers[0].name"]


async def test_a_full_quota_is_a_wait_and_no_problem(kube: KubeClient) -> None:
    async with applied(kube, deployment("quota: {cpu: 1, memory: 1Gi}")) as wanted:
        first = a_pod(schedulingGates=[{"name": "example.com/hold"}])
        first["spec"]["containers"][0]["resources"] = size("1", "512Mi")
        await kube.create(PODS, fitting(wanted, first), namespace=wanted.namespace)
        verdict = await check_in_cluster(kube, fitting(wanted, a_pod()), wanted.namespace)
        assert verdict.problems == ()
        assert verdict.notes[0].startswith("the quota is used up now, so the pod would wait: ")


async def test_the_doctor_finds_a_healthy_deployment_healthy(kube: KubeClient) -> None:
    async with applied(kube, deployment()) as wanted:
        before = kube.counter.total.copy()
        findings = await examine(kube, wanted, datetime.now(UTC))
        assert {each.verdict for each in findings} == {"ok"}, findings
        # Reviews are creates in name only, one for each verb that is asked about; nothing else is written.
        asked = kube.counter.total - before
        assert asked["create"] == 11 + 11 * 5
        assert not set(asked) & {"patch", "update", "delete"}


async def test_the_doctor_names_what_is_missing(kube: KubeClient) -> None:
    wanted = deployment(
        "pods: {architectures: [s390x]}\nqueues: {gpu: {node_selector: {pool: gpu}}}\nsecrets: [PASSWORD]"
    )
    findings = await examine(kube, wanted, datetime.now(UTC) + timedelta(hours=1))
    said = {(each.subject, each.verdict): each for each in findings}
    assert said["deployment", "failed"].fix == "Run `podbay apply`."
    assert re.search(r"clock is 3[56]\d\d s ahead of the cluster's", said["clock", "failed"].message)
    assert said["nodes", "failed"].message.startswith("no ready node is s390x")
    assert said["nodes", "warning"].message == "no ready node has the labels of queue gpu (pool=gpu)"
    assert all(each.fix for each in findings if each.verdict != "ok")


async def test_the_doctor_of_somebody_without_rights_names_the_verbs(kube: KubeClient) -> None:
    async with applied(kube, deployment()) as wanted:
        user = f"system:serviceaccount:{wanted.namespace}:{wanted.namespace}-airflow"
        nobody = replace(kube.config, impersonation=Impersonation(user))
        async with client_of(nobody) as limited:
            findings = await examine(limited, wanted, datetime.now(UTC))
        said = [each for each in findings if each.subject == "permissions"]
        assert said[0].verdict == "ok", "the deployment's own launcher may launch"
        assert said[1].verdict == "warning"
        assert "may not get, list, create, patch, delete on namespaces, " in said[1].message
        assert " limitranges, " in said[1].message
        assert next(each for each in findings if each.subject == "deployment").verdict == "warning"


@pytest.mark.parametrize(
    ("major", "minor", "verdict"),
    [
        ("1", "36", "ok"),
        ("1", "30+", "ok"),
        ("1", "29", "failed"),
        ("0", "99", "failed"),
        ("", "", "warning"),
    ],
)
def test_versions(major: str, minor: str, verdict: str) -> None:
    assert judge_version({"gitVersion": "v", "major": major, "minor": minor}).verdict == verdict


@pytest.mark.parametrize(
    ("date", "verdict"),
    [
        ("Sun, 22 Nov 2026 12:00:00 GMT", "ok"),
        ("Sun, 22 Nov 2026 12:00:31 GMT", "failed"),
        ("Sun, 22 Nov 2026 11:59:00 GMT", "failed"),
        ("", "warning"),
        ("yesterday", "warning"),
    ],
)
def test_clocks(date: str, verdict: str) -> None:
    assert judge_clock(date, datetime(2026, 11, 22, 12, 0, tzinfo=UTC)).verdict == verdict


async def test_a_namespace_that_is_not_there_is_said(kube: KubeClient) -> None:
    wanted = deployment()
    verdict = await check_in_cluster(kube, fitting(wanted, a_pod()), wanted.namespace)
    assert f'namespaces "{wanted.namespace}" not found' in str(verdict.problems[0])
    assert wanted.namespace not in {each["metadata"]["name"] for each in (await kube.list(NAMESPACES)).items}
