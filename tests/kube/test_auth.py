"""Credentials: one fetch for the life of a token, renewed in time and on 401, never a request as nobody."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from parts import CONFIGMAPS, client_of, configmap, declare

from podbay.aio.virtual import VirtualClock
from podbay.errors import ApiError, CredentialError
from podbay.kube.auth import AuthFlow, Issued, RunPlugin, Use
from podbay.kube.config import (
    ClusterConfig,
    ExecPlugin,
    MintedToken,
    SecretText,
    StaticToken,
    TokenFile,
    TokenSource,
)
from podbay.kube.credentials import Credentials
from podbay.kube.exec_plugin import describe
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.testing import Environment
from podbay.testing.requests import Requests

V1 = "client.authentication.k8s.io/v1"
PLUGIN = ClusterConfig(server="https://x", credential=ExecPlugin("login"))


class Plugin:
    """A credential plugin that counts its runs. `body` is what its shell script does."""

    def __init__(self, directory: Path, body: str) -> None:
        self.runs_file = directory / "runs"
        self.path = directory / "plugin"
        self.path.write_text(f"#!/bin/sh\necho run >> {self.runs_file}\n{body}\n")
        self.path.chmod(0o700)

    @property
    def runs(self) -> int:
        return self.runs_file.read_text().count("run") if self.runs_file.exists() else 0

    def config(self, base: ClusterConfig | None = None, **options: Any) -> ClusterConfig:
        from dataclasses import replace

        credential = ExecPlugin(str(self.path), **options)
        if base is None:
            return ClusterConfig(server="https://x", credential=credential, origin="kubeconfig f")
        return replace(base, credential=credential, certificate=None)


def answer(token: str = "t", *, version: str = V1, expires: str = "", **status: str) -> str:
    status = {"token": token, "expirationTimestamp": expires, **status}
    fields = ",".join(f'"{k}":"{v}"' for k, v in status.items() if v)
    return f"""echo '{{"apiVersion":"{version}","kind":"ExecCredential","status":{{{fields}}}}}'"""


# -- when to fetch (no process, no file)


def test_a_token_is_renewed_shortly_before_its_end() -> None:
    now = VirtualClock().now()
    for life, renewed_after in ((3600, 3240), (840, 756), (300, 240), (60, 30)):
        flow = AuthFlow(PLUGIN)
        assert isinstance(flow.begin(now), RunPlugin)
        flow.supply(Issued((("Authorization", "Bearer a"),), expires=now + timedelta(seconds=life)), now)
        assert isinstance(flow.begin(now + timedelta(seconds=renewed_after - 1)), Use)
        assert isinstance(flow.begin(now + timedelta(seconds=renewed_after)), RunPlugin)


def test_a_renewal_that_fails_is_no_harm_while_the_token_lives() -> None:
    now = VirtualClock().now()
    flow = AuthFlow(PLUGIN)
    flow.supply(Issued((), expires=now + timedelta(seconds=600)), now)
    late = now + timedelta(seconds=550)
    flow.failed(CredentialError("x"), late)
    assert isinstance(flow.begin(late), Use)
    assert isinstance(flow.begin(late + timedelta(seconds=10)), RunPlugin)
    with pytest.raises(CredentialError):
        flow.failed(CredentialError("x"), now + timedelta(seconds=601))


def test_a_clock_that_is_an_hour_ahead_does_not_run_the_plugin_for_every_request() -> None:
    now = VirtualClock().now()
    flow = AuthFlow(PLUGIN)
    flow.supply(Issued((), expires=now - timedelta(minutes=46)), now)
    assert isinstance(flow.begin(now + timedelta(seconds=59)), Use)


def test_one_fetch_for_many_requests_that_are_refused() -> None:
    now = VirtualClock().now()
    flow = AuthFlow(PLUGIN)
    first, second = Issued(), Issued()
    flow.supply(first, now)
    assert flow.refused(first, now)
    assert isinstance(flow.begin(now), RunPlugin)
    flow.supply(second, now)
    # Another request that was under way with the first token.
    assert flow.refused(first, now)
    assert flow.begin(now) == Use(second)
    # The second one is refused as well: it is not the token's fault.
    later = now + timedelta(seconds=0.5)
    assert not flow.refused(second, later)
    # It may have been fetched in the moment in which all were revoked: asked again, ever more seldom.
    runs = 0
    issued = second
    for tenth in range(3000):
        later = now + timedelta(seconds=tenth / 10)
        if flow.refused(issued, later):
            runs += 1
            issued = Issued()
            flow.supply(issued, later)
    assert 10 <= runs <= 16
    # Unless tokens work in between: then each was worth its fetch.
    now, runs = later + timedelta(minutes=5), 0
    for tenth in range(300):
        later = now + timedelta(seconds=tenth / 10)
        if flow.refused(issued, later):
            runs += 1
            issued = Issued()
            flow.supply(issued, later)
            flow.accepted(issued)
    assert 14 <= runs <= 31
    assert not AuthFlow(ClusterConfig(server="https://x", credential=StaticToken(SecretText("t")))).refused(
        first, now
    )


# -- plugins


async def test_one_run_for_the_life_of_a_token(tmp_path: Path) -> None:
    clock = VirtualClock()
    expires = (clock.now() + timedelta(minutes=14)).strftime("%Y-%m-%dT%H:%M:%SZ")
    plugin = Plugin(tmp_path, answer("secret", expires=expires))
    credentials = Credentials(plugin.config(), clock)
    issued = await asyncio.gather(*(credentials.current() for _ in range(100)))
    assert {i.headers for i in issued} == {(("Authorization", "Bearer secret"),)}
    assert plugin.runs == 1
    await clock.advance(600)
    await credentials.current()
    assert plugin.runs == 1
    await clock.advance(200)
    await credentials.current()
    assert plugin.runs == 2
    assert "secret" not in repr(issued[0])


async def test_a_plugin_is_told_what_it_must_know(tmp_path: Path) -> None:
    plugin = Plugin(
        tmp_path, f'echo "$KUBERNETES_EXEC_INFO" > {tmp_path}/info; echo "$A" >> {tmp_path}/info\n{answer()}'
    )
    config = plugin.config(
        env=(("A", SecretText("one")),), provide_cluster_info=True, cluster_config={"audience": "x"}
    )
    await Credentials(config, VirtualClock()).current()
    import json

    info, a = (tmp_path / "info").read_text().splitlines()
    told = json.loads(info)
    assert (told["apiVersion"], told["kind"]) == (V1, "ExecCredential")
    assert told["spec"]["interactive"] is False
    assert told["spec"]["cluster"] == {"server": "https://x", "config": {"audience": "x"}}
    assert a == "one"


@pytest.mark.parametrize("version", ["v1alpha1", "v1beta1"])
async def test_v1alpha1_is_asked_as_v1beta1_and_may_answer_as_either(tmp_path: Path, version: str) -> None:
    answered = "client.authentication.k8s.io/" + version
    plugin = Plugin(tmp_path, answer(version=answered))
    config = plugin.config(api_version="client.authentication.k8s.io/v1alpha1")
    assert (await Credentials(config, VirtualClock()).current()).headers


async def test_a_plugin_may_give_a_certificate(tmp_path: Path) -> None:
    plugin = Plugin(tmp_path, answer("", clientCertificateData="CERT", clientKeyData="KEY"))
    issued = await Credentials(plugin.config(), VirtualClock()).current()
    assert issued.certificate is not None
    assert (issued.certificate.cert_pem, issued.certificate.key_pem.reveal()) == ("CERT", "KEY")
    assert "KEY" not in repr(issued)


TOKEN = "eyJhbGciOiJSUzI1NiJ9.c2VjcmV0.c2ln"


@pytest.mark.parametrize(
    ("body", "options", "words"),
    [
        (
            "echo 'Unable to locate credentials' >&2; exit 255",
            {},
            "exited with 255. It says: Unable to locate",
        ),
        (f"echo 'bad {TOKEN}' >&2; exit 1", {}, "It says: bad ***"),
        ("kill -9 $$", {}, "was killed by signal 9"),
        ("sleep 30", {}, "gave no answer within 1 s"),
        ("sleep 30 & exit 0", {}, "gave no answer within 1 s"),
        ("echo '<html>hunter2</html>'", {}, "bytes that are not JSON"),
        ("true", {}, "printed 0 bytes that are not JSON"),
        ('echo \'{"kind":"Pod"}\'', {}, "not an ExecCredential"),
        (answer(version="client.authentication.k8s.io/v1beta1"), {}, "Set users[].user.exec.apiVersion to"),
        (answer(version="v9"), {}, "Update the plugin"),
        (answer(""), {}, "neither a token nor a client certificate"),
        (answer("", clientKeyData="hunter2"), {}, "without certificate"),
        (answer(expires="tomorrow"), {}, "not a time"),
        (answer(), {"interactive_mode": "Always"}, "interactiveMode Always"),
    ],
)
async def test_a_plugin_that_fails_is_named(
    tmp_path: Path, body: str, options: dict[str, Any], words: str
) -> None:
    plugin = Plugin(tmp_path, body)
    credentials = Credentials(plugin.config(**options), VirtualClock(), plugin_seconds=1.0)
    with pytest.raises(CredentialError) as caught:
        await credentials.current()
    assert words in str(caught.value)
    assert str(plugin.path) in str(caught.value)
    assert str(caught.value).startswith("kubeconfig f: ")
    assert "hunter2" not in str(caught.value)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        (("get-token", "--oidc-client-secret=hunter2"), "login get-token --oidc-client-secret=***"),
        (("--token", "hunter2", "get-token"), "login --token *** …"),
        (("-p=hunter2", "get-token"), "login -p=*** get-token"),
        (("eks", "get-token", "--password", "hunter2"), "login eks get-token …"),
    ],
)
def test_values_of_a_plugins_options_are_not_shown(args: tuple[str, ...], shown: str) -> None:
    plugin = ExecPlugin("login", args=args)
    assert describe(plugin) == shown
    assert "hunter2" not in repr(plugin)


async def test_a_missing_plugin_says_how_to_install_it() -> None:
    credential = ExecPlugin("no-such-login", install_hint="brew install no-such-login")
    credentials = Credentials(ClusterConfig(server="https://x", credential=credential), VirtualClock())
    with pytest.raises(CredentialError, match="'no-such-login' was not found"):
        await credentials.current()
    bare = Credentials(ClusterConfig(server="https://x", credential=ExecPlugin("./nope")), VirtualClock())
    with pytest.raises(CredentialError, match=r"Install \./nope"):
        await bare.current()


async def test_a_hanging_plugin_leaves_no_process(tmp_path: Path) -> None:
    plugin = Plugin(tmp_path, f"sleep 61 & echo $! > {tmp_path}/child; wait")
    with pytest.raises(CredentialError):
        await Credentials(plugin.config(), VirtualClock(), plugin_seconds=0.5).current()
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().split(") ")[1].startswith("Z"):
            break
        await asyncio.sleep(0.02)
    else:
        pytest.fail("the plugin's child lives on")


# -- files and sources


async def test_a_token_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one\n")
    clock = VirtualClock()
    credentials = Credentials(ClusterConfig(server="https://x", credential=TokenFile(path)), clock)
    assert (await credentials.current()).headers[0][1] == "Bearer one"
    path.write_text("two\n")
    await clock.advance(30)
    assert (await credentials.current()).headers[0][1] == "Bearer one"
    await clock.advance(31)
    assert (await credentials.current()).headers[0][1] == "Bearer two"
    path.unlink()
    await clock.advance(61)
    # Somebody replaces it just now: the old one still serves.
    assert (await credentials.current()).headers[0][1] == "Bearer two"
    empty = Credentials(ClusterConfig(server="https://x", credential=TokenFile(path)), clock)
    with pytest.raises(CredentialError, match="cannot be read"):
        await empty.current()


async def test_tokens_made_in_this_process() -> None:
    clock = VirtualClock()
    made = 0

    async def mint() -> MintedToken:
        nonlocal made
        made += 1
        return MintedToken(SecretText(f"t{made}"), clock.now() + timedelta(minutes=10))

    credentials = Credentials(ClusterConfig(server="https://x", credential=TokenSource("eks", mint)), clock)
    for _ in range(5):
        assert (await credentials.current()).headers[0][1] == "Bearer t1"
    await clock.advance(590)
    assert (await credentials.current()).headers[0][1] == "Bearer t2"


# -- against an API server


async def test_an_expired_token_is_renewed_once_on_401(
    podbay_cluster: Environment, podbay_namespace: str, api: Requests, tmp_path: Path
) -> None:
    assert podbay_cluster.embedded is not None
    good = podbay_cluster.embedded.token
    base = load_kubeconfig(podbay_cluster.kubeconfig)
    plugin = Plugin(
        tmp_path, f"if [ $(wc -l < {tmp_path}/runs) = 1 ]; then {answer('stale')}; else {answer(good)}; fi"
    )
    async with client_of(plugin.config(base)) as client:
        await asyncio.gather(*(client.list(CONFIGMAPS, namespace=podbay_namespace) for _ in range(20)))
        await client.create(CONFIGMAPS, configmap("c"), namespace=podbay_namespace)
        assert plugin.runs == 2


async def test_a_watch_renews_on_401_as_well(
    podbay_cluster: Environment, podbay_namespace: str, api: Requests, tmp_path: Path
) -> None:
    assert podbay_cluster.embedded is not None
    plugin = Plugin(tmp_path, answer(podbay_cluster.embedded.token))
    async with client_of(plugin.config(load_kubeconfig(podbay_cluster.kubeconfig))) as client:
        declare(api, do="refuse", status=401, count=1, match={"verb": "watch"})
        events = client.watch(CONFIGMAPS, namespace=podbay_namespace)
        assert (await anext(events)).type == "ADDED"
        await events.aclose()
        assert plugin.runs == 2


async def test_a_user_without_access_does_not_run_the_plugin_for_every_request(
    podbay_cluster: Environment, tmp_path: Path
) -> None:
    plugin = Plugin(tmp_path, answer("wrong"))
    async with client_of(plugin.config(load_kubeconfig(podbay_cluster.kubeconfig))) as client:
        for _ in range(10):
            with pytest.raises(ApiError) as caught:
                await client.list(CONFIGMAPS, namespace="default")
            assert caught.value.code == 401
        assert plugin.runs == 2


async def test_no_request_is_sent_as_nobody(podbay_cluster: Environment, tmp_path: Path) -> None:
    plugin = Plugin(tmp_path, "exit 1")
    async with client_of(plugin.config(load_kubeconfig(podbay_cluster.kubeconfig))) as client:
        with pytest.raises(CredentialError):
            await client.list(CONFIGMAPS, namespace="default")
        with pytest.raises(CredentialError):
            async with client.logs("default", "p", container="c"):
                pass
        assert client.counter.total.total() == 0
