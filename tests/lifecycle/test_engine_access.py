"""Clusters that cannot be reached, do not know us or fall silent: every run ends with words that help a newcomer."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from engine_parts import Cluster, engine, task
from patience import PATIENCE

from podbay.aio.clock import SystemClock
from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.nodes import one_scripted_node
from podbay.kube import credentials
from podbay.kube.config import ClusterConfig, SecretText, StaticToken
from podbay.kube.kubeconfig import load_kubeconfig, parse_kubeconfig
from podbay.lifecycle import first_answer
from podbay.lifecycle.outcome import Outcome
from podbay.lifecycle.plan import Deadlines
from podbay.testing import Environment
from podbay.testing.requests import Requests


async def outcome_of(config: ClusterConfig | Path, namespace: str, **more: Any) -> Outcome:
    async with engine(config, patience=1.0) as found:
        deadlines = Deadlines(run=60.0, schedule=1.0)
        outcome, _ = await found.run(task(namespace, deadlines=deadlines, **more))
        return outcome


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests need not wait as long as a person's cluster deserves."""
    monkeypatch.setattr(first_answer, "LOOK_SECONDS", 1.0)
    monkeypatch.setattr(first_answer, "FIRST_ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(credentials.Credentials.__init__, "__kwdefaults__", {"plugin_seconds": 1.0})


# -- addresses and certificates


@pytest.mark.usefixtures("hurried")
async def test_a_wrong_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        outcome = await outcome_of(ClusterConfig(server=f"https://127.0.0.1:{port}"), "default")
    assert outcome.kind == "refused"
    assert f"https://127.0.0.1:{port}" in outcome.message
    assert outcome.pod == ""


@pytest.mark.usefixtures("hurried")
async def test_an_unknown_name() -> None:
    outcome = await outcome_of(ClusterConfig(server="https://no-such-host.invalid"), "default")
    assert outcome.kind == "refused"
    assert "no-such-host.invalid" in outcome.message


async def test_a_wrong_authority(scripted: Environment, cluster: Cluster) -> None:
    with Environment.start(ClusterOptions(nodes=())) as other:
        foreign = load_kubeconfig(other.kubeconfig)
    config = replace(load_kubeconfig(scripted.kubeconfig), ca_pem=foreign.ca_pem)
    outcome = await outcome_of(config, cluster.namespace)
    assert outcome.kind == "refused"
    assert "certificate" in outcome.message
    assert await cluster.pods() == []


# -- who we are


def as_nobody(scripted: Environment, token: str) -> ClusterConfig:
    config = load_kubeconfig(scripted.kubeconfig)
    return replace(config, credential=StaticToken(SecretText(token)), certificate=None)


@pytest.mark.usefixtures("hurried")
async def test_a_token_that_the_cluster_does_not_know(scripted: Environment, cluster: Cluster) -> None:
    outcome = await outcome_of(as_nobody(scripted, "hunter2"), cluster.namespace)
    assert outcome.kind == "refused"
    assert outcome.diagnosis is not None
    assert outcome.diagnosis.category == "Unauthorized"
    assert "hunter2" not in str(outcome.to_json())


async def test_a_token_that_ends_in_the_middle(
    scripted: Environment, cluster: Cluster, tmp_path: Path
) -> None:
    """A token file is read again when the cluster does not accept what was in it."""
    await allow(cluster, ["create", "get", "list", "watch", "delete"], ["pods", "pods/log"])
    token = tmp_path / "token"
    token.write_text(await service_account_token(cluster))
    document = yaml.safe_load(scripted.kubeconfig.read_text())
    document["users"][0]["user"] = {"tokenFile": str(token)}
    async with engine(parse_kubeconfig(document)) as found:
        life = found.start(task(cluster.namespace, run=3, log="one"))
        await life.until("running")
        # Tokens of this very second count as issued before.
        await cluster.call("POST", "/podbay.dev/v1/faults/expire-tokens", {}, expect=200)
        await asyncio.sleep(1.1)
        token.write_text(await service_account_token(cluster))
        outcome = await life.outcome()
    assert (outcome.kind, life.notes.log) == ("succeeded", ["one"])
    await cluster.gone(outcome.pod)


async def service_account_token(cluster: Cluster) -> str:
    path = f"/api/v1/namespaces/{cluster.namespace}/serviceaccounts/default/token"
    return str((await cluster.call("POST", path, {"spec": {}}, expect=201))["status"]["token"])


async def allow(cluster: Cluster, verbs: list[str], resources: list[str]) -> None:
    """Give the namespace's default service account these rights, and only these."""
    api = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{cluster.namespace}"
    rule = {"apiGroups": [""], "resources": resources, "verbs": verbs}
    role = {"metadata": {"name": "r"}, "rules": [rule]}
    await cluster.call("POST", f"{api}/roles", role, expect=201)
    binding = {
        "metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": cluster.namespace}],
    }
    await cluster.call("POST", f"{api}/rolebindings", binding, expect=201)


ALL = ["create", "get", "list", "watch", "delete", "patch"]


@pytest.mark.parametrize("missing", ["watch", "create"])
async def test_a_right_that_is_missing(scripted: Environment, cluster: Cluster, missing: str) -> None:
    left = [verb for verb in ALL if verb not in (missing, "list" if missing == "watch" else "")]
    await allow(cluster, left, ["pods", "pods/log"])
    config = as_nobody(scripted, await service_account_token(cluster))
    outcome = await outcome_of(config, cluster.namespace)
    assert outcome.kind == "refused"
    assert outcome.diagnosis is not None
    assert outcome.diagnosis.category == "Forbidden"
    assert "pods" in outcome.message
    assert await cluster.pods() == []


async def test_logs_that_must_not_be_read(scripted: Environment, cluster: Cluster) -> None:
    await allow(cluster, ALL, ["pods"])
    config = as_nobody(scripted, await service_account_token(cluster))
    async with engine(config) as found:
        outcome, notes = await found.run(task(cluster.namespace, run=0.2, log="one"))
    assert (outcome.kind, notes.log) == ("succeeded", [])
    assert any("log cannot be read" in text and "pods/log" in text for text in notes.notices)


# -- credential plugins


def with_plugin(scripted: Environment, command: str, *args: str) -> ClusterConfig:
    document = yaml.safe_load(scripted.kubeconfig.read_text())
    document["users"][0]["user"] = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "interactiveMode": "Never",
            "command": command,
            "args": list(args),
            "installHint": "Get it from the cluster's administrator.",
        }
    }
    return parse_kubeconfig(document)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["no-such-plugin"], ["no-such-plugin", "Get it from the cluster's administrator."]),
        (["sh", "-c", "sleep 600"], ["no answer"]),
        (["sh", "-c", "echo Please log in first"], ["not JSON"]),
        (["sh", "-c", "echo session over >&2; exit 3"], ["exited with 3", "session over"]),
        (["sh", "-c", 'echo \'{"kind": "ExecCredential"}\''], ["sh"]),
    ],
    ids=["missing", "hanging", "rubbish", "failing", "empty"],
)
async def test_a_plugin_that_does_not_work(
    scripted: Environment, cluster: Cluster, command: list[str], words: list[str]
) -> None:
    async with asyncio.timeout(PATIENCE):
        outcome = await outcome_of(with_plugin(scripted, *command), cluster.namespace)
    assert outcome.kind == "refused"
    for each in words:
        assert each in outcome.message
    assert await cluster.pods() == []


async def test_a_plugin_runs_once_for_many_pods(
    scripted: Environment, cluster: Cluster, tmp_path: Path
) -> None:
    token = await service_account_token(cluster)
    await allow(cluster, ALL, ["pods", "pods/log"])
    runs = tmp_path / "runs"
    answer = f'{{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {{"token": "{token}"}}}}'
    script = f"echo run >> {runs}; echo '{answer}'"
    async with engine(with_plugin(scripted, "sh", "-c", script)) as found:
        results = await asyncio.gather(*(found.run(task(cluster.namespace)) for _ in range(20)))
    assert {outcome.kind for outcome, _ in results} == {"succeeded"}
    assert runs.read_text().count("run") == 1


# -- clocks


class Skewed(SystemClock):
    """A cluster whose clock is an hour off."""

    def __init__(self, hours: float) -> None:
        self._by = timedelta(hours=hours)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._by


@pytest.mark.parametrize("hours", [-1.0, 1.0])
async def test_a_clock_that_is_an_hour_off(hours: float) -> None:
    options = ClusterOptions(nodes=one_scripted_node(), clock=Skewed(hours))
    with Environment.start(options) as environment, Requests(environment.kubeconfig) as api:
        api.create_namespace("n")
        cluster = Cluster(api, "n")
        config = load_kubeconfig(environment.kubeconfig)
        # Its certificates are of its own time; what is tried here is what the engine makes of its stamps.
        config = replace(config, insecure=True, ca_pem="", certificate=None)
        assert environment.embedded is not None
        config = replace(config, credential=StaticToken(SecretText(environment.embedded.token)))
        async with engine(config) as found:
            outcome, notes = await found.run(task("n", run=1.2, log="one\ntwo"))
            assert (outcome.kind, notes.log) == ("succeeded", ["one", "two"])
            assert outcome.receipt.ran is not None
            assert 0 <= outcome.receipt.ran <= 10
            assert 0 <= (outcome.receipt.ended or 0) <= PATIENCE
            killed = found.start(task("n", run="forever", deadlines=Deadlines(run=30.0)))
            await killed.until("running")
            killed.run.kill("Ada")
            assert (await killed.outcome()).kind == "killed"
            deleted = found.start(task("n", run="forever", script={"stop-seconds": "0"}))
            await deleted.until("running")
            await cluster.delete(deleted.pod)
            assert (await deleted.outcome()).kind == "deleted"


# -- silence


class Relay:
    """Passes bytes on to a server, until it is told to swallow everything and say nothing."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.silent = False
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        others, other = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += [writer, other]
        # Connections that were opened in silence stay so; those opened afterwards work.
        dead: list[bool] = [self.silent]

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                dead[0] = dead[0] or self.silent
                if not dead[0]:
                    sink.write(data)
                    await sink.drain()
            if not dead[0]:
                sink.close()

        await asyncio.gather(pump(reader, other), pump(others, writer), return_exceptions=True)


async def test_a_server_that_falls_silent_without_closing(
    scripted: Environment, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Established connections swallow everything, as behind a firewall that has forgotten them; new ones work."""
    from podbay.kube import client, sending

    # A bookmark comes about once a minute, so silence is shorter than that only here.
    monkeypatch.setattr(client, "SILENCE_SECONDS", 3.0)
    monkeypatch.setattr(sending, "ANSWER_SECONDS", 3.0)
    config = load_kubeconfig(scripted.kubeconfig)
    relay = Relay(int(config.server.rpartition(":")[2]))
    port = await relay.start()
    try:
        async with engine(replace(config, server=f"https://127.0.0.1:{port}"), patience=60) as found:
            life = found.start(task(cluster.namespace, run=2, log="one"))
            await life.until("running")
            relay.silent = True
            await asyncio.sleep(2.5)
            relay.silent = False
            outcome = await life.outcome()
        assert (outcome.kind, life.notes.log) == ("succeeded", ["one"])
    finally:
        await relay.close()
    await cluster.gone(outcome.pod)
