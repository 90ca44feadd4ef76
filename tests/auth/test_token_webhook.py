"""Tokens that another server judges: --authentication-token-webhook-config-file, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from podbay.embedded.arguments import parse_arguments
from podbay.embedded.cluster import ClusterOptions, EmbeddedCluster
from podbay.embedded.process import to_arguments
from podbay.embedded.token_webhook import read_token_webhook
from podbay.errors import InvalidInputError
from podbay.testing.requests import Requests

REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
JOE: dict[str, Any] = {
    "username": "joe",
    "uid": "7",
    "groups": ["team"],
    "extra": {"example.org/seen": ["yes"]},
}


class Webhook:
    """Answers by token: a status, or an HTTP code to fail with."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"good": {"authenticated": True, "user": JOE}}
        self.asked: list[dict[str, Any]] = []
        self.authorization = ""

    async def answer(self, request: web.Request) -> web.Response:
        review = await request.json()
        self.asked.append(review)
        self.authorization = request.headers.get("Authorization", "")
        found = self.answers.get(review["spec"]["token"], {"authenticated": False})
        if isinstance(found, int):
            return web.Response(status=found)
        return web.json_response({**review, "status": found})

    @asynccontextmanager
    async def cluster(self, directory: Path) -> AsyncIterator[Requests]:
        app = web.Application()
        app.router.add_post("/review", self.answer)
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        file = directory / "webhook.yaml"
        file.write_text(document(f"http://127.0.0.1:{runner.addresses[0][1]}/review"))
        try:
            async with EmbeddedCluster(ClusterOptions(nodes=(), token_webhook=file)) as cluster:
                kubeconfig = directory / "kubeconfig"
                kubeconfig.write_text(cluster.kubeconfig())
                with Requests(kubeconfig) as api:
                    yield api
        finally:
            await runner.cleanup()


def document(server: str, **cluster: str) -> str:
    return yaml.safe_dump(
        {
            "clusters": [{"name": "w", "cluster": {"server": server, **cluster}}],
            "users": [{"name": "w", "user": {"token": "of-the-server"}}],
            "contexts": [{"name": "w", "context": {"cluster": "w", "user": "w"}}],
            "current-context": "w",
        }
    )


async def who(api: Requests, token: str) -> tuple[int, dict[str, Any]]:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    code, answer = await asyncio.to_thread(api.call, "POST", REVIEWS, body, token=token)
    return code, answer["status"]["userInfo"] if code == 201 else {}


async def test_whom_the_webhook_knows(tmp_path: Path) -> None:
    hook = Webhook()
    async with hook.cluster(tmp_path) as api:
        found = await asyncio.gather(*(who(api, "good") for _ in range(10)))
        assert found == [(201, {**JOE, "groups": ["team", "system:authenticated"]})] * 10
        await who(api, "good")
        assert len(hook.asked) == 1
        assert hook.authorization == "Bearer of-the-server"
        assert (await who(api, "bad"))[0] == 401
        assert (await who(api, "bad"))[0] == 401
        assert len(hook.asked) == 2
        # The cluster's own tokens are not shown to anybody.
        path = "/api/v1/namespaces/default/serviceaccounts/default/token"
        _, made = await asyncio.to_thread(api.call, "POST", path, {"spec": {}})
        assert (await who(api, made["status"]["token"]))[0] == 201
        assert len(hook.asked) == 2


async def test_answers_that_are_a_refusal_and_one_that_comes_late(tmp_path: Path) -> None:
    hook = Webhook()
    odd: list[Any] = [
        500,
        {"authenticated": True, "user": {}},
        {"authenticated": True, "user": JOE, "audiences": ["another"]},
        {"authenticated": False, "error": "no"},
        "nonsense",
    ]
    hook.answers |= {f"odd-{number}": answer for number, answer in enumerate(odd)}
    async with hook.cluster(tmp_path) as api:
        for token in hook.answers:
            assert (await who(api, token))[0] == (201 if token == "good" else 401), token
        # A webhook that has failed is asked again.
        hook.answers["odd-0"] = hook.answers["good"]
        assert (await who(api, "odd-0"))[0] == 201


@pytest.mark.parametrize(
    "text",
    ["", "clusters: []", document("x").replace("name: w", "name: v"), "current-context: [", "[1]"],
)
def test_files_that_name_no_server(tmp_path: Path, text: str) -> None:
    file = tmp_path / "webhook.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInputError, match="is no kubeconfig with a current-context"):
        read_token_webhook(file)
    with pytest.raises(InvalidInputError, match="No such file"):
        read_token_webhook(tmp_path / "missing")
    file.write_text(document("https://x", **{"certificate-authority": "missing.crt"}))
    with pytest.raises(InvalidInputError, match="No such file"):
        read_token_webhook(file)


def test_a_cluster_in_the_background_gets_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODBAY_HOME", str(tmp_path / "home"))
    file = tmp_path / "webhook.yaml"
    file.write_text(document("https://127.0.0.1:1/review"))
    words = to_arguments(host="127.0.0.1", port=0, nodes=None, runtime="none", token_webhook=file)
    assert parse_arguments(["--name", "a", *words]).token_webhook == file
    file.write_text("nothing")
    with pytest.raises(InvalidInputError, match=str(file)):
        parse_arguments(["--name", "a", *words])
