"""Applying, changing and destroying deployments over the wire."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from deployment_parts import (
    ACCOUNTS,
    LIMIT_RANGES,
    NAMESPACES,
    PODS,
    POLICIES,
    PRIORITY_CLASSES,
    QUOTAS,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    a_pod,
    applied,
    client_of,
    deployment,
    gone,
    outcomes,
    planned,
    size,
    verbs,
    writes,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podbay.deployment.access import LAUNCHER_RULES
from podbay.deployment.apply import apply_plan
from podbay.deployment.destroy import removal_of
from podbay.deployment.difference import after, field_changes
from podbay.deployment.model import Deployment
from podbay.deployment.observe import observe
from podbay.deployment.plan import Plan
from podbay.deployment.showing import shown
from podbay.errors import ApiError, ConflictError
from podbay.kube.client import KubeClient
from podbay.kube.config import SecretText
from podbay.objects.meta import annotations_of, labels_of
from podbay.objects.resource import GVR
from podbay.registries.logins import KeyedLogin, Login
from podbay.registries.pull_secrets import PullSecret, labels_for, write_pull_secret
from podbay.testing import Environment

REVIEWS = GVR("authorization.k8s.io", "v1", "subjectaccessreviews")


async def test_everything_is_made_and_nothing_again(kube: KubeClient) -> None:
    wanted = deployment("quota: {cpu: 4, memory: 8Gi}\nnetwork: {ingress: deny}")
    async with applied(kube, wanted):
        before = verbs(kube)
        plan = await planned(kube, wanted)
        assert plan.work == ()
        assert await apply_plan(kube, plan) == []
        asked = {verb: count - before.get(verb, 0) for verb, count in verbs(kube).items()}
        assert {verb for verb, count in asked.items() if count} <= {"get", "list"}
        assert sum(asked.values()) <= 12


async def test_who_may_lend_may_make_secrets_and_read_none(kube: KubeClient) -> None:
    wanted = deployment("airflow: {lending: true}")
    async with applied(kube, wanted):
        role = await kube.get(ROLES, f"{wanted.namespace}-pod-launcher", namespace=wanted.namespace)
        of_secrets = [rule["verbs"] for rule in role["rules"] if "secrets" in rule["resources"]]
        assert of_secrets == [["create"]]


async def test_who_may_measure_may_list_metrics_and_nothing_else_of_them(
    kube: KubeClient,
) -> None:
    wanted = deployment("airflow: {usage_every: 15s}")
    async with applied(kube, wanted):
        launcher = await kube.get(ROLES, f"{wanted.namespace}-pod-launcher", namespace=wanted.namespace)
        assert launcher["rules"] == LAUNCHER_RULES, "its verbs stay exact"
        role = await kube.get(ROLES, f"{wanted.namespace}-usage-reader", namespace=wanted.namespace)
        assert role["rules"] == [{"apiGroups": ["metrics.k8s.io"], "resources": ["pods"], "verbs": ["list"]}]
        account = f"system:serviceaccount:{wanted.namespace}:{wanted.namespace}-airflow"
        for group, verb, allowed in (
            ("metrics.k8s.io", "list", True),
            ("metrics.k8s.io", "get", False),
            ("", "list", True),
            ("", "update", False),
        ):
            attributes = {"namespace": wanted.namespace, "group": group, "resource": "pods", "verb": verb}
            review = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SubjectAccessReview",
                "spec": {"user": account, "resourceAttributes": attributes},
            }
            answer = await kube.create(REVIEWS, review)
            assert bool(answer["status"]["allowed"]) is allowed, attributes
        without = deployment(namespace=wanted.namespace)
        plan = await planned(kube, without)
        assert {str(each): each.action for each in plan.work if "usage-reader" in str(each)} == {
            f"Role {wanted.namespace}-usage-reader": "delete",
            f"RoleBinding {wanted.namespace}-usage-reader": "delete",
        }


async def test_the_role_has_the_verbs_that_operators_need_and_no_other(kube: KubeClient) -> None:
    wanted = deployment("airflow: {service_accounts: [airflow/airflow-worker]}")
    async with applied(kube, wanted):
        name = f"{wanted.namespace}-pod-launcher"
        role = await kube.get(ROLES, name, namespace=wanted.namespace)
        assert role["rules"] == LAUNCHER_RULES
        found = {
            (resource, verb)
            for rule in role["rules"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }
        assert found == {
            *(("pods", verb) for verb in ("create", "get", "list", "watch", "patch", "delete")),
            ("pods/log", "get"),
            ("pods/exec", "create"),
            ("pods/exec", "get"),
            ("events", "list"),
            ("events", "watch"),
        }
        binding = await kube.get(ROLE_BINDINGS, name, namespace=wanted.namespace)
        subjects = {(each["namespace"], each["name"]) for each in binding["subjects"]}
        assert subjects == {(wanted.namespace, f"{wanted.namespace}-airflow"), ("airflow", "airflow-worker")}


async def test_a_changed_file_changes_the_cluster_and_prunes_what_it_no_longer_says(kube: KubeClient) -> None:
    wanted = deployment("quota: {cpu: 4, memory: 8Gi}\npods: {allowed_service_accounts: [etl]}")
    async with applied(kube, wanted):
        changed = deployment("pods: {default: {cpu: 500m}}", namespace=wanted.namespace)
        plan = await planned(kube, changed)
        actions = {str(each.key[0]): each.action for each in plan.work}
        assert actions == {
            "Namespace": "update",
            "LimitRange": "update",
            "ResourceQuota": "delete",
            "ValidatingAdmissionPolicy": "update",
            "ServiceAccount": "delete",
        }
        assert not any(each.drift for each in plan.work)
        assert set(outcomes(await apply_plan(kube, plan)).values()) == {"updated", "deleted"}
        assert (await planned(kube, changed)).work == ()
        limits = await kube.get(LIMIT_RANGES, f"{wanted.namespace}-default", namespace=wanted.namespace)
        assert limits["spec"]["limits"][0]["default"]["cpu"] == "500m"
        with pytest.raises(ApiError, match="not found"):
            await kube.get(QUOTAS, f"{wanted.namespace}-default", namespace=wanted.namespace)


async def test_what_others_put_beside_ours_is_neither_seen_nor_pruned(kube: KubeClient) -> None:
    wanted = deployment()
    async with applied(kube, wanted):
        labels = labels_of(await kube.get(SECRETS, "env-secrets", namespace=wanted.namespace))
        # Even with our labels: copied labels do not make it ours.
        other = {"metadata": {"name": "theirs", "labels": labels}, "stringData": {"a": "b"}}
        await kube.create(SECRETS, other, namespace=wanted.namespace)
        await kube.patch(
            NAMESPACES,
            wanted.namespace,
            {"metadata": {"labels": {"team": "data"}}},
            field_manager="kubectl-label",
        )
        assert (await planned(kube, wanted)).work == ()


async def test_drift_is_shown_refused_and_set_back_by_force(kube: KubeClient) -> None:
    wanted = deployment()
    async with applied(kube, wanted):
        name = f"{wanted.namespace}-default"
        limits = [{"type": "Pod", "max": {"cpu": "500"}}]
        await kube.patch(
            LIMIT_RANGES,
            name,
            {"spec": {"limits": limits}},
            namespace=wanted.namespace,
            field_manager="kubectl-edit",
        )
        plan = await planned(kube, wanted)
        (change,) = plan.work
        assert change.drift
        assert plan.obstacles == (
            f"LimitRange {name}: spec.limits was changed by kubectl-edit; set it back with --force, or change podbay.yaml",
        )
        before = writes(kube)
        with pytest.raises(
            ConflictError, match=r"nothing was applied:\n  LimitRange .* changed by kubectl-edit"
        ):
            await apply_plan(kube, plan)
        assert writes(kube) == before
        assert outcomes(await apply_plan(kube, await planned(kube, wanted, force=True))) == {
            "LimitRange": "updated"
        }
        assert (await planned(kube, wanted)).work == ()


async def test_what_somebody_deleted_comes_back(kube: KubeClient) -> None:
    wanted = deployment()
    async with applied(kube, wanted):
        await kube.delete(LIMIT_RANGES, f"{wanted.namespace}-default", namespace=wanted.namespace)
        plan = await planned(kube, wanted)
        assert [(each.action, each.drift) for each in plan.work] == [("create", True)]
        assert outcomes(await apply_plan(kube, plan)) == {"LimitRange": "created"}


async def test_a_foreign_object_in_the_way_is_named_and_left_alone(kube: KubeClient) -> None:
    wanted = deployment()
    await kube.create(NAMESPACES, {"metadata": {"name": wanted.namespace}})
    try:
        await kube.create(
            ACCOUNTS, {"metadata": {"name": f"{wanted.namespace}-kpo"}}, namespace=wanted.namespace
        )
        plan = await planned(kube, wanted)
        assert {each.split(":")[0] for each in plan.obstacles} == {
            f"Namespace {wanted.namespace}",
            f"ServiceAccount {wanted.namespace}-kpo",
        }
        before = writes(kube)
        with pytest.raises(ConflictError, match="take it over with --adopt"):
            await apply_plan(kube, plan)
        assert writes(kube) == before
        # Taken over, it works; destroyed, what was there before is still there.
        results = await apply_plan(kube, await planned(kube, wanted, adopt=True))
        assert {each.done for each in results} == {"created", "updated"}
        assert (await planned(kube, wanted)).work == ()
        removal = await removal_of(kube, wanted)
        assert set(removal.kept) == {
            f"Namespace {wanted.namespace}",
            f"ServiceAccount {wanted.namespace}-kpo",
        }
        await gone(kube, wanted)
        assert labels_of(await kube.get(NAMESPACES, wanted.namespace)) == {
            "kubernetes.io/metadata.name": wanted.namespace
        }
        left = await kube.list(ACCOUNTS, namespace=wanted.namespace)
        assert {each["metadata"]["name"] for each in left.items} >= {f"{wanted.namespace}-kpo"}
        assert (await kube.list(LIMIT_RANGES, namespace=wanted.namespace)).items == []
        assert (await removal_of(kube, wanted)).changes == ()
    finally:
        await kube.delete(NAMESPACES, wanted.namespace)


async def test_from_an_adopted_namespace_the_logins_go(kube: KubeClient) -> None:
    """They are passwords, and no apply has made them; what only carries our labels stays."""
    wanted = deployment()
    await kube.create(NAMESPACES, {"metadata": {"name": wanted.namespace}})
    try:
        await apply_plan(kube, await planned(kube, wanted, adopt=True))
        login = KeyedLogin("ghcr.io", "", Login("me", SecretText("hidden")))
        made = PullSecret(name="registry-ghcr-io", logins=(login,))
        now = datetime.now(UTC)
        await write_pull_secret(kube, wanted.namespace, made, now=now, labels=labels_for(wanted))
        other = {"metadata": {"name": "other", "labels": labels_for(wanted)}}
        mine = {"metadata": {"name": "mine", "labels": {"podbay.dev/registry": "true"}}}
        for each in (other, mine):
            await kube.create(SECRETS, each, namespace=wanted.namespace)
        removal = await removal_of(kube, wanted)
        assert "Secret registry-ghcr-io" in [str(each) for each in removal.changes]
        assert set(removal.kept) == {f"Namespace {wanted.namespace}"}
        await gone(kube, wanted)
        left = await kube.list(SECRETS, namespace=wanted.namespace)
        assert {each["metadata"]["name"] for each in left.items} == {"mine", "other"}
    finally:
        await kube.delete(NAMESPACES, wanted.namespace)


async def test_an_object_that_appears_while_we_apply_is_not_overwritten(kube: KubeClient) -> None:
    wanted = deployment()
    async with applied(kube, wanted):
        name = f"{wanted.namespace}-default"
        await kube.delete(LIMIT_RANGES, name, namespace=wanted.namespace)
        plan = await planned(kube, wanted)
        theirs = {"metadata": {"name": name}, "spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}}]}}
        await kube.create(LIMIT_RANGES, theirs, namespace=wanted.namespace)
        (result,) = await apply_plan(kube, plan)
        assert result.done == "refused"
        assert "Apply failed with 1 conflict" in result.message
        left = await kube.get(LIMIT_RANGES, name, namespace=wanted.namespace)
        assert left["spec"]["limits"] == [{"type": "Pod", "max": {"cpu": "1"}}]
        assert "is there already" in (await planned(kube, wanted)).obstacles[0]


async def test_another_deployment_is_never_taken_over(kube: KubeClient) -> None:
    wanted = deployment()
    async with applied(kube, wanted):
        other = deployment(name="other", namespace=wanted.namespace)
        for adopt in (False, True):
            with pytest.raises(ConflictError, match="belongs to deployment analytics-"):
                await apply_plan(kube, await planned(kube, other, adopt=adopt, force=adopt))


async def test_of_two_people_who_begin_at_once_one_is_told(
    kube: KubeClient, podbay_cluster: Environment
) -> None:
    mine = deployment("quota: {cpu: 4, memory: 8Gi}")
    theirs = deployment("quota: {cpu: 8, memory: 8Gi}", namespace=mine.namespace)
    async with client_of(podbay_cluster.kubeconfig) as other:
        plans = [await planned(kube, mine), await planned(other, theirs)]
        try:
            await apply_plan(kube, plans[0])
            before = writes(other)
            with pytest.raises(
                ConflictError, match="made by somebody else in this moment; nothing was applied"
            ):
                await apply_plan(other, plans[1])
            assert writes(other) == before + 1, "one refused create"
            quota = await kube.get(QUOTAS, f"{mine.namespace}-default", namespace=mine.namespace)
            assert quota["spec"]["hard"]["cpu"] == "4"
        finally:
            await gone(kube, mine)


async def test_a_plan_that_has_become_old_is_not_applied(kube: KubeClient) -> None:
    wanted = deployment("quota: {cpu: 4, memory: 8Gi}")
    async with applied(kube, wanted):
        first = deployment("quota: {cpu: 5, memory: 8Gi}", namespace=wanted.namespace)
        second = deployment("quota: {cpu: 6, memory: 8Gi}", namespace=wanted.namespace)
        old = await planned(kube, second)
        await apply_plan(kube, await planned(kube, first))
        with pytest.raises(
            ConflictError, match=r"Namespace .* has been changed by somebody since this plan was made"
        ):
            await apply_plan(kube, old)
        quota = await kube.get(QUOTAS, f"{wanted.namespace}-default", namespace=wanted.namespace)
        assert quota["spec"]["hard"]["cpu"] == "5"


async def test_a_version_that_moved_for_nothing_is_no_conflict(kube: KubeClient) -> None:
    wanted = deployment("quota: {cpu: 4, memory: 8Gi, pods: 9}")
    async with applied(kube, wanted):
        changed = deployment("quota: {cpu: 5, memory: 8Gi, pods: 9}", namespace=wanted.namespace)
        plan = await planned(kube, changed)
        # The quota's status is counted anew, so its version moves.
        await kube.create(PODS, a_pod(serviceAccountName=wanted.service_account), namespace=wanted.namespace)
        name = f"{wanted.namespace}-default"
        await kube.patch(
            QUOTAS,
            name,
            {"metadata": {"annotations": {"seen": "yes"}}},
            namespace=wanted.namespace,
            field_manager="me",
        )
        assert "refused" not in outcomes(await apply_plan(kube, plan)).values()


async def test_two_applies_side_by_side_end_in_one_of_both_states(
    kube: KubeClient, podbay_cluster: Environment
) -> None:
    """Whoever is told of no conflict has the cluster as in his file."""
    base = deployment("quota: {cpu: 4, memory: 8Gi}")
    async with applied(kube, base), client_of(podbay_cluster.kubeconfig) as other:
        for round_ in range(5):
            files = [
                deployment(
                    f"quota: {{cpu: {n}, memory: 8Gi}}\npods: {{default: {{cpu: {n}00m}}}}",
                    namespace=base.namespace,
                )
                for n in (5 + 2 * round_, 6 + 2 * round_)
            ]
            results = await asyncio.gather(
                *(_apply_now(api, file) for api, file in zip((kube, other), files, strict=True)),
                return_exceptions=True,
            )
            won = [
                file
                for file, result in zip(files, results, strict=True)
                if not isinstance(result, BaseException)
            ]
            assert all(isinstance(each, ConflictError) for each in results if isinstance(each, BaseException))
            if len(won) == 1:
                assert (await planned(kube, won[0])).work == ()


async def _apply_now(api: KubeClient, wanted: Deployment) -> None:
    await apply_plan(api, await planned(api, wanted))


AMOUNTS = st.sampled_from(["100m", "0.25", "1", "1500m", "2"])
BYTES = st.sampled_from(["64Mi", "1000000k", "1Gi", "2G", "1.5Gi"])


@st.composite
def files(draw: st.DrawFn) -> str:
    lines: list[str] = []
    pods: dict[str, Any] = {
        "default": {"cpu": draw(AMOUNTS), "memory": draw(BYTES)},
        "requests": draw(st.sampled_from(["follow-limits", "as-given"])),
        "persistent_volumes": str(draw(st.booleans())).lower(),
        "security": draw(st.sampled_from(["privileged", "baseline", "restricted"])),
        "architectures": draw(st.sampled_from(["[]", "[amd64]", "[amd64, arm64]"])),
        "protected_labels": draw(st.sampled_from(["{}", "{team: data}", "{a.b/c: d, e: f}"])),
        "allowed_service_accounts": draw(st.sampled_from(["[]", "[etl]", "[etl, ml]"])),
        "service_account_annotations": draw(st.sampled_from(["{}", "{a.b/role: 'x:y'}", "{c: d}"])),
    }
    lines.append(f"pods: {_flow(pods)}")
    if draw(st.booleans()):
        lines.append(f"quota: {{cpu: {draw(st.integers(2, 9))}, memory: {draw(st.integers(2, 9))}Gi}}")
    if draw(st.booleans()):
        lines.append("network: {ingress: deny, egress: deny, egress_to: [10.0.0.0/8]}")
    airflow = st.sampled_from(
        [
            "{}",
            "{in_namespace: true, service_accounts: [airflow/worker]}",
            "{usage_every: 15s, lending: true}",
            "{usage_every: 1m, service_accounts: [airflow/worker]}",
        ]
    )
    lines.append(f"airflow: {draw(airflow)}")
    lines.append(f"admission_policy: {draw(st.sampled_from(['deny', 'warn', 'off']))}")
    return "\n".join(lines)


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
    return str(value)


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(first=files(), second=files())
def test_applying_twice_is_applying_once(podbay_cluster: Environment, first: str, second: str) -> None:
    """Whatever the files say: after an apply nothing is left to do, also when the file before said something else."""

    async def live() -> None:
        wanted = deployment(first)
        changed = deployment(second, namespace=wanted.namespace)
        async with client_of(podbay_cluster.kubeconfig) as api:
            try:
                for each in (wanted, changed, wanted):
                    plan = await planned(api, each)
                    assert plan.obstacles == ()
                    results = await apply_plan(api, plan)
                    await _has_come_as_planned(api, plan)
                    assert not {one.done for one in results} & {"refused", "withheld"}, results
                    assert (await planned(api, each)).work == ()
            finally:
                await gone(api, wanted)

    asyncio.run(live())


async def _has_come_as_planned(api: KubeClient, plan: Plan) -> None:
    """What the plan has shown of each object is what is there now."""
    now = (await observe(api, plan.deployment)).objects
    for change in plan.work:
        if change.action == "delete":
            left = now.get(change.key)
            assert left is None or left["metadata"]["deletionTimestamp"]
        elif change.action == "create":
            assert field_changes(change.desired or {}, now[change.key]) == []
        else:
            predicted = after(change.desired or {}, change.live or {})
            assert shown(now[change.key]) == shown(predicted)


async def test_nothing_is_left_after_destroy(kube: KubeClient) -> None:
    wanted = deployment("airflow: {in_namespace: true}")
    await apply_plan(kube, await planned(kube, wanted))
    pod = a_pod(serviceAccountName=wanted.service_account, priorityClassName=wanted.task_priority_class)
    pod["spec"]["containers"][0]["resources"] = size("1", "1Gi")
    await kube.create(PODS, pod, namespace=wanted.namespace)
    removal = await removal_of(kube, wanted)
    assert [each.key[0] for each in removal.changes] == [
        "RoleBinding",
        "Namespace",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingAdmissionPolicy",
        "PriorityClass",
    ]
    await gone(kube, wanted, wait=True)
    assert (await removal_of(kube, wanted)).changes == ()
    for resource, name in (
        (NAMESPACES, wanted.namespace),
        (POLICIES, f"podbay-{wanted.namespace}"),
        (PRIORITY_CLASSES, wanted.task_priority_class),
    ):
        with pytest.raises(ApiError, match="not found"):
            await kube.get(resource, name)
    await gone(kube, wanted, wait=True)


async def test_the_namespace_says_which_state_it_has(kube: KubeClient) -> None:
    wanted = deployment()
    async with applied(kube, wanted):
        plan = await planned(kube, wanted)
        found = await kube.get(NAMESPACES, wanted.namespace)
        assert annotations_of(found)["podbay.dev/revision"] == plan.revision
