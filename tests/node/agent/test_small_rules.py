"""Small deciding parts: expansion, environment, delays, probes, messages, limits, credentials, disk."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbay.errors import StartError
from podbay.node.credentials import matching_credentials
from podbay.node.disk_limits import exceeded, has_disk_limit
from podbay.node.env import EnvSources, environment
from podbay.node.expansion import expand
from podbay.node.fields import NodeFacts
from podbay.node.observed import LogLine
from podbay.node.probes import Tally
from podbay.node.resources import container_limits, cpu_quota, cpu_shares
from podbay.node.restarts import RestartBackoff, go_duration
from podbay.node.security import check_non_root
from podbay.node.stopping import StopOrder
from podbay.node.termination import log_message, shorten, text_of

NODE = NodeFacts(name="n", ip="192.0.2.1", allocatable={"cpu": "4", "memory": "8Gi"})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$(A)-$(B)", "1-2"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(NONE)", "$(NONE)"),
        ("$(A", "$(A"),
        ("$", "$"),
        ("$A", "$A"),
        ("a$b$(A)$", "a$b1$"),
        ("$($(A))", "$($(A))"),
    ],
)
def test_expansion(text: str, wanted: str) -> None:
    assert expand(text, {"A": "1"}, {"A": "other", "B": "2"}) == wanted


def sources(**objects: dict[str, str]) -> EnvSources:
    """Config maps by name; a Secret of each name holds the same."""
    maps = {name: {"data": data} for name, data in objects.items()}
    secrets = {
        name: {"data": {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}}
        for name, data in objects.items()
    }
    return EnvSources(
        secret=lambda _, name: secrets.get(name),
        config_map=lambda _, name: maps.get(name),
        services=[
            _service("default", "kubernetes", "10.96.0.1", [{"name": "https", "port": 443}]),
            _service("ns", "my-db", "10.96.0.9", [{"port": 5432}]),
            _service("ns", "headless", "None", [{"port": 1}]),
            _service("other", "unseen", "10.96.0.8", [{"port": 1}]),
        ],
        node=NODE,
        pod_ips=("10.0.0.2",),
    )


def _service(namespace: str, name: str, address: str, ports: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"clusterIP": address, "ports": ports},
    }


def env_of(container: dict[str, Any], found: EnvSources, **spec: Any) -> dict[str, str]:
    whole = {"name": "c", **container}
    pod = {"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {"containers": [whole], **spec}}
    return environment(pod, whole, found)


def test_environment_order_and_sources() -> None:
    container = {
        "envFrom": [{"configMapRef": {"name": "c"}, "prefix": "X_"}, {"secretRef": {"name": "c"}}],
        "env": [
            {"name": "A", "value": "own"},
            {"name": "B", "value": "$(A) $(X_K) $(MY_DB_SERVICE_HOST)"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "S", "valueFrom": {"secretKeyRef": {"name": "c", "key": "K"}}},
            {"name": "O", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "K", "optional": True}}},
            {"name": "EMPTY"},
        ],
    }
    found = env_of(container, sources(c={"K": "k", "A": "hidden"}))
    own = {k: v for k, v in found.items() if "_PORT" not in k and "SERVICE" not in k}
    assert own == {
        "X_K": "k",
        "X_A": "hidden",
        "K": "k",
        "A": "own",
        "B": "own k 10.96.0.9",
        "IP": "10.0.0.2",
        "S": "k",
        "EMPTY": "",
    }
    assert found["MY_DB_PORT_5432_TCP"] == "tcp://10.96.0.9:5432"
    assert found["KUBERNETES_SERVICE_PORT_HTTPS"] == "443"
    assert not any(name.startswith(("UNSEEN", "HEADLESS")) for name in found)


def test_without_service_links_only_the_api_server_is_named() -> None:
    found = env_of({}, sources(), enableServiceLinks=False)
    assert "KUBERNETES_SERVICE_HOST" in found and "MY_DB_SERVICE_HOST" not in found


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"secretKeyRef": {"name": "x", "key": "k"}}, 'secret "x" not found'),
        ({"configMapKeyRef": {"name": "x", "key": "k"}}, 'configmap "x" not found'),
        ({"secretKeyRef": {"name": "c", "key": "k"}}, "couldn't find key k in Secret ns/c"),
        ({"configMapKeyRef": {"name": "c", "key": "k"}}, "couldn't find key k in ConfigMap ns/c"),
    ],
)
def test_what_is_missing_is_named(source: dict[str, Any], message: str) -> None:
    with pytest.raises(StartError) as caught:
        env_of({"env": [{"name": "A", "valueFrom": source}]}, sources(c={}))
    assert (caught.value.reason, str(caught.value)) == ("CreateContainerConfigError", message)


def test_resources_of_the_container_in_its_environment() -> None:
    def value(reference: dict[str, str]) -> str:
        container = {
            "resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "100Mi"}},
            "env": [{"name": "A", "valueFrom": {"resourceFieldRef": reference}}],
        }
        return env_of(container, sources())["A"]

    assert value({"resource": "limits.cpu"}) == "2"
    assert value({"resource": "limits.cpu", "divisor": "1m"}) == "1500"
    assert value({"resource": "requests.memory", "divisor": "1Mi"}) == "100"
    assert value({"resource": "limits.memory", "divisor": "1Gi"}) == "8"
    assert value({"resource": "requests.cpu"}) == "0"


def test_delays_double_up_to_five_minutes_and_are_forgotten() -> None:
    backoff = RestartBackoff()
    now, delays = 0.0, []
    assert backoff.wait_since("k", now, now) == 0
    for _ in range(8):
        backoff.next("k", now, now)
        delays.append(backoff.wait_since("k", now, now))
        now += delays[-1]
    assert delays == [10, 20, 40, 80, 160, 300, 300, 300]
    later = now + 601
    assert backoff.wait_since("k", later, later) == 0
    backoff.next("k", later, later)
    assert backoff.seconds("k") == 10


@pytest.mark.parametrize(("seconds", "text"), [(10, "10s"), (80, "1m20s"), (300, "5m0s"), (3600, "1h0m0s")])
def test_go_durations(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 4), st.integers(1, 4))
def test_a_probe_needs_its_threshold_in_a_row(results: list[bool], success: int, failure: int) -> None:
    tally = Tally({"successThreshold": success, "failureThreshold": failure}, "startup")
    wanted: bool | None = None
    for i, result in enumerate(results):
        tally.add(result)
        needed = success if result else failure
        if len(results[: i + 1]) >= needed and set(results[i + 1 - needed : i + 1]) == {result}:
            wanted = result
        assert tally.result is wanted


def test_termination_messages_are_cut_and_readable() -> None:
    assert text_of(b"a\0b\xff\xfec") == "a\0b\ufffd\ufffdc"
    lines = [LogLine(0, "stdout", False, b"x" * 1500), LogLine(0, "stderr", True, b"y" * 1500)]
    text = log_message(lines)
    assert len(text) == 2048 and text.endswith(b"y" * 1500)
    long = {str(i): "z" * 4096 for i in range(4)}
    assert {len(m) for m in shorten(long).values()} == {3072}


@pytest.mark.parametrize(
    ("milli", "shares", "quota"), [(0, 2, None), (1, 2, 1000), (250, 256, 25_000), (2000, 2048, 200_000)]
)
def test_cpu_in_cgroup_units(milli: int, shares: int, quota: int | None) -> None:
    assert (cpu_shares(milli), cpu_quota(milli)) == (shares, quota)


def test_a_limit_stands_in_for_the_request() -> None:
    container = {"name": "c", "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}}}
    pod = {"metadata": {}, "spec": {"containers": [container]}, "status": {"qosClass": "Burstable"}}
    limits = container_limits(pod, container, machine_memory=1 << 30)
    assert (limits.cpu_shares, limits.cpu_quota, limits.memory) == (512, 50_000, 64 << 20)
    assert limits.oom_score_adj == 999


def _login(host: str, user: str) -> dict[str, Any]:
    auths = {"auths": {host: {"auth": base64.b64encode(f"{user}:pw".encode()).decode()}}}
    data = base64.b64encode(json.dumps(auths).encode()).decode()
    return {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": data}}


@pytest.mark.parametrize(
    ("repository", "users"),
    [
        ("docker.io/library/busybox", ["hub"]),
        ("reg.example:5000/team/app", ["team", "reg"]),
        ("reg.example:5000/other", ["reg"]),
        ("a.star.example/x", ["star"]),
        ("a.b.star.example/x", []),
        ("elsewhere.example/x", []),
    ],
)
def test_credentials_fit_by_host_and_path(repository: str, users: list[str]) -> None:
    secrets = [
        _login("https://index.docker.io/v1/", "hub"),
        _login("reg.example:5000", "reg"),
        _login("reg.example:5000/team", "team"),
        _login("*.star.example", "star"),
        {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "bm90IGpzb24="}},
    ]
    assert [auth.username for auth in matching_credentials(repository, secrets)] == users


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("", "image will run as root"),
        ("0", "image will run as root"),
        ("00", "image will run as root"),
        ("app", "image has non-numeric user (app), cannot verify user is non-root"),
        ("\u0661", "image has non-numeric user (\u0661), cannot verify user is non-root"),
        ("1000:50", None),
    ],
)
def test_run_as_non_root(user: str, words: str | None) -> None:
    pod = {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "spec": {"securityContext": {"runAsNonRoot": True}},
    }
    if words is None:
        check_non_root(pod, {"name": "c"}, user)
        return
    with pytest.raises(StartError) as caught:
        check_non_root(pod, {"name": "c"}, user)
    assert str(caught.value) == f'container has runAsNonRoot and {words} (pod: "p_ns(u)", container: c)'


def test_disk_limits() -> None:
    resources = {"limits": {"ephemeral-storage": "10Mi"}}
    volumes = [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]
    pod = {
        "metadata": {},
        "spec": {"containers": [{"name": "c", "resources": resources}], "volumes": volumes},
    }
    assert has_disk_limit(pod)
    assert exceeded(pod, {"c": 5 << 20}, {"v": 1 << 20}) == ""
    assert exceeded(pod, {}, {"v": 2 << 20}) == 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '
    assert "Pod ephemeral local storage usage exceeds" in exceeded(pod, {"c": 11 << 20}, {})
    assert not has_disk_limit({"metadata": {}, "spec": {"containers": [{"name": "c"}]}})


async def test_sidecars_stop_last_and_in_reverse_order() -> None:
    spec = {
        "initContainers": [
            {"name": "s1", "restartPolicy": "Always"},
            {"name": "s2", "restartPolicy": "Always"},
        ],
        "containers": [{"name": "a"}, {"name": "b"}],
    }
    order = StopOrder(spec, ["a", "b", "s1", "s2"])
    await order.turn("a")
    order.ended("a")
    order.ended("b")
    await order.turn("s2")
    order.ended("s2")
    await order.turn("s1")
