"""Faults declared over the wire hit the requests they name, as often as they say, and nothing else."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from typing import Any

import pytest

from podbay.apiserver.faults.rules import read_fault
from podbay.errors import InvalidInputError
from podbay.testing import Environment
from podbay.testing.requests import Requests

FAULTS = "/podbay.dev/v1/faults"


@pytest.fixture
def api(podbay_cluster: Environment) -> Iterator[Requests]:
    with Requests(podbay_cluster.kubeconfig) as requests:
        yield requests
        requests.call("DELETE", FAULTS)


def declare(api: Requests, **fault: Any) -> dict[str, Any]:
    code, answer = api.call("POST", FAULTS, fault)
    assert code == 201, answer
    return answer  # type: ignore[no-any-return]


def configmap(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


def test_a_refusal_hits_as_often_as_declared(api: Requests, podbay_namespace: str) -> None:
    path = f"/api/v1/namespaces/{podbay_namespace}/configmaps"
    declare(
        api,
        do="refuse",
        status=429,
        retry_after=1,
        count=2,
        match={"verb": "create", "resource": "configmaps"},
    )
    answers = [api.call("POST", path, configmap(f"c{i}")) for i in range(3)]
    assert [code for code, _ in answers] == [429, 429, 201]
    assert answers[0][1]["details"]["retryAfterSeconds"] == 1
    assert api.call("GET", FAULTS)[1]["items"] == []


def test_an_answer_can_be_lost_after_the_effect(api: Requests, podbay_namespace: str) -> None:
    path = f"/api/v1/namespaces/{podbay_namespace}/configmaps"
    declare(api, do="refuse", status=504, after=True, count=1, match={"verb": "create", "name": ""})
    assert api.call("POST", path, configmap("made"))[0] == 504
    assert api.call("GET", f"{path}/made")[0] == 200


def test_a_dropped_connection_gives_no_answer(api: Requests, podbay_namespace: str) -> None:
    declare(api, do="drop", match={"namespace": podbay_namespace, "resource": "secrets"})
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        api.call("GET", f"/api/v1/namespaces/{podbay_namespace}/secrets")


def test_a_delay_delays(api: Requests, podbay_namespace: str) -> None:
    declare(api, do="delay", seconds=0.3, count=1, match={"resource": "configmaps"})
    started = time.monotonic()
    assert api.call("GET", f"/api/v1/namespaces/{podbay_namespace}/configmaps")[0] == 200
    assert time.monotonic() - started >= 0.3


def test_a_watch_is_cut_at_a_byte(api: Requests, podbay_namespace: str) -> None:
    path = f"/api/v1/namespaces/{podbay_namespace}/configmaps"
    declare(api, do="cut", bytes=100, count=1, match={"verb": "watch"})
    with pytest.raises(http.client.IncompleteRead) as cut:
        api.call("GET", f"{path}?watch=1&timeoutSeconds=5")
    assert len(cut.value.partial) == 100
    assert cut.value.partial.startswith(b'{"type":"ADDED"')


def test_tokens_issued_so_far_expire_and_new_ones_are_good(api: Requests, podbay_namespace: str) -> None:
    path = f"/api/v1/namespaces/{podbay_namespace}/serviceaccounts/default/token"

    def token() -> str:
        code, answer = api.call(
            "POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        )
        assert code == 201, answer
        return str(answer["status"]["token"])

    old = token()
    assert api.call("GET", "/api", token=old)[0] == 200
    assert api.call("POST", f"{FAULTS}/expire-tokens")[0] == 200
    assert api.call("GET", "/api", token=old)[0] == 401
    assert api.call("GET", "/api", token=token())[0] == 200


def test_only_administrators_declare_faults(podbay_cluster: Environment) -> None:
    with Requests(podbay_cluster.kubeconfig) as api:
        code, answer = api.call("GET", FAULTS, token="")
    assert code == 403
    assert answer["message"].endswith('cannot get path "/podbay.dev/v1/faults"')


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"do": "explode"}, "do: 'explode' is not a fault"),
        ({"do": "delay", "bytes": 3}, "bytes: not a field of `do: delay`"),
        ({"do": "refuse", "status": 418}, "status: 418 cannot be injected"),
        ({"do": "drop", "match": {"pod": "x"}}, "match.pod: unknown"),
        ({"do": "cut", "bytes": -1}, "bytes: -1 is not a whole number"),
        ([], "expected an object"),
    ],
)
def test_a_wrong_fault_is_refused_by_field(fault: Any, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words.replace("(", r"\(")):
        read_fault(fault, id_="f")
