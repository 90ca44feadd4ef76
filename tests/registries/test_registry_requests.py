"""The client against real registries: TLS and password, tokens, plain HTTP; and against one that fails on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import images
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from cloud_parts import proxy
from registry_parts import GOOD, SERVICE, SMALL, WRONG, Shelf, TokenServer
from self_signed import Authority

from podbay.errors import InvalidInputError, RegistryError
from podbay.kube.config import SecretText
from podbay.registries.advice import architecture_advice
from podbay.registries.cache import ContentCache
from podbay.registries.client import ClientOptions, RegistryClient
from podbay.registries.facts import image_facts, with_any_login
from podbay.registries.image_name import parse_image_name
from podbay.registries.logins import ANONYMOUS, Login
from registries import PASSWORD, USER, ScriptedRegistry, error, free_address, serve


@asynccontextmanager
async def client(authority: Authority | None = None, **options: Any) -> AsyncIterator[RegistryClient]:
    trusted = {"ca_file": authority.certificate} if authority else {}
    async with RegistryClient(ClientOptions(**trusted, **options)) as opened:
        yield opened


async def refusal(work: Any) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        await work
    assert PASSWORD not in str(caught.value)
    assert WRONG.password.reveal() not in str(caught.value)
    return caught.value


async def test_a_password_over_tls(locked: str, authority: Authority, shelf: Shelf) -> None:
    async with client(authority) as asking:
        assert await asking.log_in(locked, GOOD)
        name = parse_image_name(f"{locked}/team/small:1.2")
        assert (await asking.resolve(name, GOOD)).digest == shelf.digest
        facts = await image_facts(asking, name, GOOD)
        assert facts.pinned == f"{locked}/team/small:1.2@{shelf.digest}"
        assert facts.platforms[0].platform == f"linux/{images.ARCHITECTURE}"
        assert facts.platforms[0].entrypoint == ("/bin/tool",)
        assert facts.platforms[0].command == ("--help",)
        assert facts.platforms[0].user == "1000"
        manifest = json.loads(SMALL.manifest()[0])
        whole = manifest["config"]["size"] + sum(each["size"] for each in manifest["layers"])
        assert facts.platforms[0].size == whole


async def test_a_wrong_password_and_none(locked: str, authority: Authority) -> None:
    async with client(authority) as asking:
        name = parse_image_name(f"{locked}/team/small:1.2")
        err = await refusal(asking.log_in(locked, WRONG))
        assert err.kind == "login"
        assert f"{locked} refuses user {USER}: wrong user name or password" in str(err)
        err = await refusal(asking.resolve(name, WRONG))
        assert err.kind == "login"
        err = await refusal(asking.resolve(name))
        assert err.kind == "login"
        assert f"podbay registry add {locked}" in str(err)


async def test_a_certificate_that_nobody_vouches_for(locked: str) -> None:
    async with client() as asking:
        err = await refusal(asking.log_in(locked, GOOD))
        assert err.kind == "tls"
        assert "signed by nobody this machine trusts. Give its authority with --ca-file" in str(err)


async def test_a_certificate_out_of_date(shelf: Shelf, tmp_path: Path) -> None:
    old = Authority.make(tmp_path, valid_for=timedelta(days=-1))
    async with ScriptedRegistry().serve(old.server()) as registry, client(old) as asking:
        err = await refusal(asking.log_in(registry.address, GOOD))
        assert err.kind == "tls"
        assert "not valid now" in str(err)
        assert "clock" in str(err)


async def test_a_tag_that_is_not_there_names_its_neighbours(locked: str, authority: Authority) -> None:
    async with client(authority) as asking:
        err = await refusal(image_facts(asking, parse_image_name(f"{locked}/team/small:1.22"), GOOD))
        assert err.kind == "no-tag"
        assert str(err) == f"{locked}/team/small has no tag 1.22. Nearest: 1.2, 1.3-rc."
        err = await refusal(image_facts(asking, parse_image_name(f"{locked}/team/smell:1"), GOOD))
        assert err.kind == "no-repository"
        assert "has no repository team/smell" in str(err)


async def test_plain_http_only_on_this_machine(shelf: Shelf) -> None:
    async with client() as asking:
        assert not await asking.log_in(shelf.address, ANONYMOUS)
        facts = await image_facts(asking, parse_image_name(f"{shelf.address}/team/both:1"))
        assert facts.digest == shelf.index
        assert facts.architectures == (images.ARCHITECTURE, "arm64")
        port = shelf.address.rpartition(":")[2]
    elsewhere = f"registry.test:{port}"
    async with client(resolver=Loopback()) as asking:
        err = await refusal(asking.log_in(elsewhere, GOOD))
        assert err.kind == "plain-http"
        assert "--plain-http" in str(err)
    async with client(resolver=Loopback(), plain_http=frozenset([elsewhere])) as asking:
        assert not await asking.log_in(elsewhere, ANONYMOUS)


async def test_content_is_asked_for_once(shelf: Shelf, tmp_path: Path) -> None:
    name = parse_image_name(f"{shelf.address}/team/both:1")
    async with client() as asking:
        await image_facts(asking, name, cache=ContentCache(tmp_path / "cache"))
        # HEAD, index, two manifests, two configurations.
        assert asking.requests == 6
    async with client() as asking:
        facts = await image_facts(asking, name, cache=ContentCache(tmp_path / "cache"))
        assert asking.requests == 1
        assert facts.digest == shelf.index
    for each in (tmp_path / "cache").iterdir():
        each.write_bytes(b"{}")
    async with client() as asking:
        assert await image_facts(asking, name, cache=ContentCache(tmp_path / "cache")) == facts
        assert asking.requests == 6


async def test_architectures_that_lack(shelf: Shelf) -> None:
    async with client() as asking:
        foreign = await image_facts(asking, parse_image_name(f"{shelf.address}/team/foreign:1"))
        both = await image_facts(asking, parse_image_name(f"{shelf.address}/team/both:1"))
    kind, words = architecture_advice(foreign, ["amd64"]) or ("", "")
    assert kind == "problem"
    assert (
        "is for linux/s390x; the nodes are linux/amd64. Build it for them: docker build --platform=linux/amd64"
        in words
    )
    assert architecture_advice(both, [images.ARCHITECTURE, "arm64"]) is None
    kind, words = architecture_advice(both, ["s390x"]) or ("", "")
    assert (kind, f"is for linux/{images.ARCHITECTURE}, linux/arm64/v8;" in words) == ("problem", True), words
    kind, words = architecture_advice(both, ["arm64", "ppc64le"]) or ("", "")
    assert kind == "warning"
    assert "Or choose nodes by kubernetes.io/arch: arm64." in words


# Tokens: docker-registry checks their signature, audience, times and access.


@pytest.fixture
async def guarded(shelf: Shelf, tmp_path: Path) -> AsyncIterator[tuple[str, TokenServer]]:
    server = TokenServer.make(tmp_path / "bundle.pem")
    address = free_address()
    auth = {
        "token": {
            "realm": f"http://{address}/token",
            "service": SERVICE,
            "issuer": "tokens",
            "rootcertbundle": str(tmp_path / "bundle.pem"),
        }
    }
    async with server.serve(address):
        with serve(tmp_path, shelf.data, auth=auth) as registry:
            yield registry, server


async def test_tokens(guarded: tuple[str, TokenServer], shelf: Shelf) -> None:
    registry, server = guarded
    async with client() as asking:
        assert await asking.log_in(registry, GOOD)
        name = parse_image_name(f"{registry}/team/small:1.2")
        assert (await image_facts(asking, name, GOOD)).digest == shelf.digest
        assert [each.get("scope") for each in server.requests] == [None, "repository:team/small:pull"]
        refreshing = Login(identity_token=SecretText(PASSWORD))
        assert (await asking.resolve(name, refreshing)).digest == shelf.digest
        assert server.requests[-1]["method"] == "POST"


async def test_tokens_that_are_refused(guarded: tuple[str, TokenServer]) -> None:
    registry, _ = guarded
    async with client() as asking:
        err = await refusal(asking.log_in(registry, WRONG))
        assert err.kind == "login"
        err = await refusal(asking.resolve(parse_image_name(f"{registry}/closed/small:1.2"), GOOD))
        assert err.kind == "denied"
        assert (
            f"does not let user {USER} pull closed/small: it does not exist there, or the right to pull lacks"
            in str(err)
        )
        assert await asking.resolve(parse_image_name(f"{registry}/open/small:1.2"))
        err = await refusal(asking.resolve(parse_image_name(f"{registry}/team/small:1.2")))
        assert err.kind == "login"


async def test_a_token_that_expires_is_replaced(guarded: tuple[str, TokenServer], shelf: Shelf) -> None:
    registry, server = guarded
    server.seconds = -120.0
    name = parse_image_name(f"{registry}/team/small:1.2")
    async with client() as asking:
        assert (await refusal(asking.resolve(name, GOOD))).kind == "denied"
        server.seconds = 300.0
        assert (await asking.resolve(name, GOOD)).digest == shelf.digest


# One that fails on demand.


async def test_a_rate_limit_is_waited_out_when_short() -> None:
    registry = ScriptedRegistry()
    registry.put("1", SMALL)
    left = [2]

    def fault(_: web.Request) -> web.Response | None:
        left[0] -= 1
        return error(429, "TOOMANYREQUESTS", "slow down", Retry_After="0") if left[0] >= 0 else None

    registry.fault = fault
    async with registry.serve(), client() as asking:
        assert await asking.resolve(parse_image_name(f"{registry.address}/a/b:1"))
        registry.fault = lambda _: error(429, "TOOMANYREQUESTS", "slow down", Retry_After="600")
        err = await refusal(asking.manifest(parse_image_name(f"{registry.address}/a/b:1"), "1"))
        assert err.kind == "rate-limit"
        assert "Try again in 600 s. A login has a higher limit" in str(err)
        assert "slow down" in str(err)


async def cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"{")
    assert request.transport is not None
    request.transport.close()
    return response


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (lambda _: error(500, "UNKNOWN", "oh no"), "unavailable", "answers 500; it is down or overloaded"),
        (
            lambda _: error(
                403, "DENIED", "User: arn:aws:iam::1:role/n is not authorized to perform: ecr:BatchGetImage"
            ),
            "denied",
            "arn:aws:iam::1:role/n is not authorized to perform: ecr:BatchGetImage",
        ),
        (lambda _: web.Response(status=404, text="<html>"), "no-tag", "has no tag 1"),
        (lambda _: web.Response(text="<html>"), "odd", "a manifest that is not JSON"),
        (lambda _: error(404, "NAME_UNKNOWN", "no"), "no-repository", "has no repository a/b"),
        (cut, "broken", "broke the connection"),
        (
            lambda _: web.Response(text="{}", headers={"Docker-Content-Digest": f"sha256:{'0' * 64}"}),
            "digest",
            "does not match its digest",
        ),
        (
            lambda _: web.Response(status=401, headers={"WWW-Authenticate": 'Bearer realm="ftp://x"'}),
            "odd",
            "token",
        ),
        (lambda _: web.Response(status=401), "login", "refuses user"),
    ],
)
async def test_answers_that_are_none(answer: Callable[[web.Request], Any], kind: str, words: str) -> None:
    registry = ScriptedRegistry(fault=lambda request: None if request.method == "HEAD" else answer(request))
    async with registry.serve(), client() as asking:
        err = await refusal(image_facts(asking, parse_image_name(f"{registry.address}/a/b:1"), GOOD))
        assert (err.kind, words in str(err)) == (kind, True), str(err)


async def test_registries_that_are_not_there() -> None:
    async with client() as asking:
        err = await refusal(asking.log_in(free_address(), GOOD))
        assert err.kind == "refused"
        assert "nothing listens there" in str(err)
        err = await refusal(asking.log_in("registry.invalid", GOOD))
        assert err.kind == "dns"
        assert "no such host" in str(err)


async def test_a_proxy_that_does_not_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxy({}) as nowhere:
        monkeypatch.setenv("HTTPS_PROXY", nowhere)
        async with client() as asking:
            err = await refusal(asking.log_in("registry.invalid", GOOD))
            assert err.kind == "proxy"
            assert "the proxy does not connect there, it answers 502" in str(err)
    away = free_address()
    monkeypatch.setenv("HTTPS_PROXY", f"http://somebody:{PASSWORD}@{away}")
    async with client() as asking:
        err = await refusal(asking.log_in("registry.invalid", GOOD))
        assert str(err) == f"registry.invalid: the proxy {away} of $HTTPS_PROXY cannot be reached"


async def test_certificates_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "odd.crt").write_text("odd")
    for name, words in (("nowhere.crt", "No such file"), ("odd.crt", "has no certificate in PEM")):
        async with client(ca_file=tmp_path / name) as asking:
            with pytest.raises(InvalidInputError, match=words) as caught:
                await asking.log_in("registry.invalid", GOOD)
            assert str(tmp_path / name) in str(caught.value)


async def test_a_registry_that_is_down_and_up_again() -> None:
    registry = ScriptedRegistry()
    digest = registry.put("1", SMALL)
    name = "a/b:1"
    async with registry.serve(), client() as asking:
        image = parse_image_name(f"{registry.address}/{name}")
        registry.fault = lambda _: error(503, "UNAVAILABLE", "starting")
        assert (await refusal(image_facts(asking, image))).kind == "unavailable"
        registry.fault = lambda _: None
        assert (await image_facts(asking, image)).digest == digest
    async with client() as asking:
        assert (await refusal(image_facts(asking, image))).kind == "refused"


async def test_a_registry_that_hangs() -> None:
    over = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        await over.wait()
        return web.Response()

    registry = ScriptedRegistry(fault=hang)
    async with registry.serve(), client(seconds=0.2) as asking:
        err = await refusal(asking.log_in(registry.address, GOOD))
        over.set()
        assert err.kind == "timeout"


async def test_a_login_is_not_sent_in_the_clear() -> None:
    """A registry with TLS that names a token server without."""
    registry = ScriptedRegistry(
        fault=lambda _: web.Response(
            status=401, headers={"WWW-Authenticate": 'Bearer realm="http://tokens.example/x",service="s"'}
        )
    )
    async with registry.serve(), client() as asking:
        err = await refusal(asking.log_in(registry.address, GOOD))
        assert err.kind == "plain-http"
        assert "it is not sent" in str(err)


async def test_a_refresh_token_does_not_follow_a_token_server_elsewhere() -> None:
    stranger = ScriptedRegistry()

    def answer(request: web.Request) -> web.Response:
        if request.path == "/token":
            return web.Response(status=307, headers={"Location": f"http://{stranger.address}/token"})
        challenge = f'Bearer realm="http://{registry.address}/token",service="s"'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    registry = ScriptedRegistry(fault=answer)
    async with registry.serve(), stranger.serve(), client() as asking:
        await refusal(asking.log_in(registry.address, Login(identity_token=SecretText(PASSWORD))))
    assert stranger.requests == []


async def test_a_netrc_file_has_no_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: str, authority: Authority, shelf: Shelf
) -> None:
    """Packages come from the same host at many companies, with a login for pip that is none for images."""
    (tmp_path / "netrc").write_text("default login somebody password of-packages\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    registry = ScriptedRegistry()
    digest = registry.put("1", SMALL)
    async with registry.serve(), client() as asking:
        assert (await asking.resolve(parse_image_name(f"{registry.address}/a/b:1"))).digest == digest
    assert {authorization for _, _, authorization in registry.requests} == {""}
    async with client(authority) as asking:
        name = parse_image_name(f"{locked}/team/small:1.2")
        assert (await refusal(asking.resolve(name))).kind == "login"
        assert (await asking.resolve(name, GOOD)).digest == shelf.digest


async def test_a_redirect_takes_no_password_along() -> None:
    storage = ScriptedRegistry()
    registry = ScriptedRegistry()
    digest = registry.put("1", SMALL)
    storage.blobs.update(registry.blobs)

    def fault(request: web.Request) -> web.Response | None:
        if not request.headers.get("Authorization"):
            return error(401, "UNAUTHORIZED", "who?", WWW_Authenticate='Basic realm="x"')
        if "/blobs/" in request.path:
            return web.Response(status=307, headers={"Location": f"http://{storage.address}{request.path}"})
        return None

    registry.fault = fault
    async with registry.serve(), storage.serve(), client() as asking:
        facts = await image_facts(asking, parse_image_name(f"{registry.address}/a/b:1"), GOOD)
    assert facts.digest == digest
    assert [authorization for _, _, authorization in storage.requests] == [""]


async def test_logins_are_tried_in_turn(locked: str, authority: Authority, shelf: Shelf) -> None:
    async with client(authority) as asking:
        name = parse_image_name(f"{locked}/team/small:1.2")
        facts = await with_any_login(asking, name, [WRONG, GOOD], ContentCache())
        assert facts.digest == shelf.digest


class Loopback(AbstractResolver):
    """Every name is this machine."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=2, proto=0, flags=0)]

    async def close(self) -> None:
        return
