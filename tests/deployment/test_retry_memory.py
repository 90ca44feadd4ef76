"""More memory after a try that was killed for its memory: how much, where it ends, and what is said of it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from deployment_parts import PODS, a_pod, applied, deployment, size
from hypothesis import given
from hypothesis import strategies as st

from podbay.deployment.check import pod_totals
from podbay.deployment.enforce import enforce
from podbay.deployment.model import Deployment
from podbay.deployment.raising import FormerTry, Raised, former_in, raise_memory, tried
from podbay.errors import ApiError
from podbay.kube.client import KubeClient
from podbay.objects.meta import Object
from podbay.objects.quantity import Quantity
from podbay.pods.resources import MEMORY_RAISED_ANNOTATION

MIB = 1 << 20
FACTOR = "pods: {retry_memory_factor: 1.5, maximum: {cpu: 4, memory: 2Gi}}"


def pod_of(memory: str, *beside: str, request: str = "") -> Object:
    """Main container first; `beside` are the others' sizes."""
    main = size("1", memory, requests={"cpu": "1", "memory": request or memory})
    containers = [{"name": "base", "image": "b", "resources": main}]
    containers += [
        {"name": f"c{number}", "image": "b", "resources": size("1", each)}
        for number, each in enumerate(beside)
    ]
    return a_pod(containers=containers)


def killed(limit: int, *, base: int = 0, number: int = 1) -> FormerTry:
    return FormerTry(number=number, limit=limit * MIB, base=(base or limit) * MIB, killed=True)


def memory(pod: Object, part: str = "limits") -> str:
    found: str = pod["spec"]["containers"][0]["resources"][part]["memory"]
    return found


def raised(pod: Object, former: FormerTry | None, text: str = FACTOR) -> Raised:
    return raise_memory(pod, "base", former, deployment(text))


def test_the_next_try_has_so_many_times_as_much_and_says_why() -> None:
    pod = pod_of("512Mi")
    before = copy.deepcopy(pod)
    found = raised(pod, killed(512))
    assert pod == before
    assert (memory(found.pod), memory(found.pod, "requests")) == ("768Mi", "768Mi")
    assert found.pod["metadata"]["annotations"][MEMORY_RAISED_ANNOTATION] == "512Mi"
    assert found.note == (
        "Memory of container base is raised from 512Mi to 768Mi, because try 1 was killed for its memory at 512Mi "
        "(pods.retry_memory_factor: 1.5)."
    )


def test_it_is_off_unless_the_file_says_so() -> None:
    pod = pod_of("512Mi")
    for text in ("", "pods: {retry_memory_factor: 1}"):
        assert raised(pod, killed(512), text) == Raised(pod)


def test_nothing_is_raised_without_a_kill() -> None:
    pod = pod_of("512Mi")
    assert raised(pod, None) == Raised(pod)
    failed = FormerTry(number=1, limit=512 * MIB, base=512 * MIB, killed=False)
    assert raised(pod, failed) == Raised(pod)


def test_what_was_raised_stays_when_the_next_try_fails_otherwise() -> None:
    former = FormerTry(number=2, limit=768 * MIB, base=512 * MIB, killed=False)
    found = raised(pod_of("512Mi"), former)
    assert memory(found.pod) == "768Mi"
    assert "because try 2 had it after one that was killed for its memory" in found.note


def test_each_kill_raises_again_up_to_the_maximum() -> None:
    sizes = []
    pod, limit = pod_of("512Mi"), 512
    for number in range(1, 6):
        found = raised(pod, killed(limit, base=512, number=number))
        sizes.append(memory(found.pod))
        limit = Quantity.parse(memory(found.pod)).value() // MIB
    assert sizes == ["768Mi", "1152Mi", "1728Mi", "2Gi", "2Gi"]
    assert "(pods.retry_memory_factor: 1.5; pods.maximum.memory (2Gi) allows no more)." in found.note


def test_at_the_maximum_it_stays_and_that_is_said() -> None:
    pod = pod_of("2Gi")
    found = raised(pod, killed(2048))
    assert found.pod == pod
    assert found.note == (
        "Memory of container base stays at 2Gi, though try 1 was killed for its memory at 2Gi: "
        "pods.maximum.memory (2Gi) allows no more."
    )


def test_the_other_containers_and_the_quota_count() -> None:
    assert memory(raised(pod_of("1Gi", "768Mi"), killed(1024)).pod) == "1280Mi"
    found = raised(pod_of("1Gi", "256Mi"), killed(1024), FACTOR + "\nquota: {memory: 1500Mi}")
    assert memory(found.pod) == "1244Mi"
    assert "quota.memory (1500Mi) allows no more" in found.note


def test_an_author_who_has_given_more_meanwhile_is_right() -> None:
    pod = pod_of("1Gi")
    assert raised(pod, killed(512)) == Raised(pod)


def test_a_request_below_its_limit_stays() -> None:
    found = raised(pod_of("512Mi", request="128Mi"), killed(512))
    assert (memory(found.pod), memory(found.pod, "requests")) == ("768Mi", "128Mi")


@pytest.mark.parametrize("resources", [{}, {"limits": {}}, {"limits": {"memory": "much"}}])
def test_a_container_without_a_limit_was_not_killed_at_one(resources: dict[str, Any]) -> None:
    pod = a_pod(containers=[{"name": "base", "image": "b", "resources": resources}])
    assert raised(pod, killed(512)) == Raised(pod)
    assert tried(pod, "base", 1, killed=True) is None


def test_what_a_try_leaves_is_read_back() -> None:
    first = tried(pod_of("512Mi"), "base", 1, killed=True)
    assert first == killed(512)
    again = tried(raised(pod_of("512Mi"), first).pod, "base", 2, killed=False)
    assert again == FormerTry(number=2, limit=768 * MIB, base=512 * MIB, killed=False)
    assert former_in(again.to_json()) == again


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        [],
        {},
        {"try": 1},
        {"try": True, "limit": 1, "base": 1},
        {"try": 1, "limit": -1, "base": 1},
    ],
)
def test_what_is_no_such_thing_is_no_hint(value: Any) -> None:
    assert former_in(value) is None


async def test_what_is_raised_to_the_bound_is_let_in(kube: KubeClient) -> None:
    wanted = deployment(FACTOR + "\nquota: {cpu: 8, memory: 8Gi}")
    async with applied(kube, wanted):
        made = enforce(pod_of("1700Mi", "256Mi"), wanted).pod
        larger = raise_memory(made, "base", killed(1700), wanted).pod
        assert memory(larger) == memory(larger, "requests") == "1792Mi", "2Gi without the other container"
        await kube.create(PODS, larger, namespace=wanted.namespace, dry_run=True)
        larger["spec"]["containers"][0]["resources"] = size("1", "1793Mi")
        with pytest.raises(ApiError, match="maximum memory usage per Pod is 2Gi"):
            await kube.create(PODS, larger, namespace=wanted.namespace, dry_run=True)


SIZES = st.integers(32, 4096)


@given(
    SIZES,
    SIZES,
    st.booleans(),
    st.floats(1, 4),
    st.integers(64, 8192),
    st.none() | st.integers(64, 8192),
    SIZES,
)
def test_never_less_than_written_and_never_more_than_allowed(
    now: int, before: int, was_killed: bool, factor: float, most: int, quota: int | None, beside: int
) -> None:
    lines = (
        f"pods: {{retry_memory_factor: {factor!r}, default: {{memory: 32Mi}}, maximum: {{memory: {most}Mi}}}}"
    )
    wanted: Deployment = deployment(lines + (f"\nquota: {{memory: {quota}Mi}}" if quota else ""))
    pod = pod_of(f"{now}Mi", f"{beside}Mi")
    former = FormerTry(number=1, limit=before * MIB, base=now * MIB, killed=was_killed)
    found = raise_memory(pod, "base", former, wanted).pod
    given_now = Quantity.parse(memory(found)).value()
    assert given_now >= now * MIB
    assert given_now <= max(now * MIB, before * MIB, -(-int(before * MIB * factor) // MIB) * MIB + MIB)
    total, allowed = pod_totals(found)["memory"].value(), min(most, quota or most) * MIB
    assert total <= max(allowed, (now + beside) * MIB)
    if not enforce(pod, wanted).problems:
        assert not enforce(found, wanted).problems, "a pod that might start still may"
