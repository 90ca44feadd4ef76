"""Pulling from a real registry, and from one that misbehaves. No container is run; unpacking needs root."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import images
import pytest
from aiohttp import web
from images import Layer, build
from self_signed import Authority

import registries
from podbay.errors import PullError
from podbay.node.images.manifest import Platform
from podbay.node.images.puller import ImagePuller
from podbay.node.images.reference import parse_reference
from podbay.node.images.store import ImageStore, StoredImage
from podbay.node.specs import RegistryAuth
from registries import PASSWORD, USER, ScriptedRegistry, error

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="layers keep their owners")]

GOOD = RegistryAuth(USER, PASSWORD)
NOBODY = RegistryAuth()
SMALL = build(
    [Layer().directory("etc").add("etc/name", "small"), Layer().add("etc/more", "x" * 100)], {"Cmd": ["sh"]}
)
FOREIGN = build([Layer().add("f", "foreign")], architecture="s390x")
HERE = Platform("linux", images.ARCHITECTURE)


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    opened = ImageStore(tmp_path / "images")
    opened.open()
    return opened


@pytest.fixture
async def puller(store: ImageStore) -> AsyncIterator[ImagePuller]:
    async with ImagePuller(store, HERE) as opened:
        yield opened


async def pull(puller: ImagePuller, name: str, auth: RegistryAuth = NOBODY) -> StoredImage:
    return await puller.pull(parse_reference(name), auth)


async def refusal(puller: ImagePuller, name: str, auth: RegistryAuth = NOBODY) -> str:
    with pytest.raises(PullError) as caught:
        await pull(puller, name, auth)
    assert caught.value.reason == "ErrImagePull"
    text = str(caught.value)
    assert PASSWORD not in text
    return text


# A real registry


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not registries.has_registry():
        pytest.skip("needs the packages docker-registry and apache2-utils")
    with registries.docker_registry(tmp_path_factory.mktemp("registry"), auth=True) as address:
        registries.push(address, "team/small", "1", *SMALL.manifest())
        registries.push(address, "team/foreign", "1", *FOREIGN.manifest())
        here, there = SMALL.manifest(), FOREIGN.manifest()
        platforms = (
            {"os": "linux", "architecture": images.ARCHITECTURE},
            {"os": "linux", "architecture": "s390x"},
        )
        both = registries.index((here[0], platforms[0]), (there[0], platforms[1]))
        for part in (here, there):
            registries.push(address, "team/both", images.digest(part[0]), *part)
        registries.push(address, "team/both", "1", both, {})
        registries.push(address, "team/strange", images.digest(there[0]), *there)
        registries.push(address, "team/strange", "1", registries.index((there[0], platforms[1])), {})
        yield address


async def test_pull_with_a_password(real: str, puller: ImagePuller, store: ImageStore) -> None:
    image = await pull(puller, f"{real}/team/small:1", GOOD)
    digest = images.digest(SMALL.manifest()[0])
    assert image.id == SMALL.config_digest
    assert image.tags == (f"{real}/team/small:1",)
    assert image.digests == (f"{real}/team/small@{digest}",)
    files = [(store.layers / name) for name in image.layers]
    assert (files[0] / "etc/name").read_text() == "small"
    assert (files[1] / "etc/more").read_text() == "x" * 100
    assert list(store.downloads.iterdir()) == []


async def test_pull_by_digest(real: str, puller: ImagePuller) -> None:
    digest = images.digest(SMALL.manifest()[0])
    image = await pull(puller, f"{real}/team/small@{digest}", GOOD)
    assert (image.tags, image.digests) == ((), (f"{real}/team/small@{digest}",))


async def test_pull_chooses_from_an_index(real: str, puller: ImagePuller) -> None:
    image = await pull(puller, f"{real}/team/both:1", GOOD)
    assert image.id == SMALL.config_digest
    [digest] = image.digests
    # The name stands for the index, not for the one manifest taken from it.
    assert digest != f"{real}/team/both@{images.digest(SMALL.manifest()[0])}"


async def test_an_index_without_our_platform(real: str, puller: ImagePuller) -> None:
    text = await refusal(puller, f"{real}/team/strange:1", GOOD)
    assert f"no match for platform in manifest: the image is for linux/s390x, this node is {HERE}" in text


async def test_a_single_image_of_another_platform(real: str, puller: ImagePuller, store: ImageStore) -> None:
    text = await refusal(puller, f"{real}/team/foreign:1", GOOD)
    assert f"the image is for linux/s390x, this node is {HERE}" in text
    assert store.images() == []


async def test_no_password(real: str, puller: ImagePuller) -> None:
    text = await refusal(puller, f"{real}/team/small:1")
    assert text == (
        f'failed to pull and unpack image "{real}/team/small:1": failed to resolve reference "{real}/team/small:1": '
        "pull access denied, repository does not exist or may require authorization: authorization failed: "
        "no basic auth credentials"
    )


async def test_wrong_password(real: str, puller: ImagePuller) -> None:
    text = await refusal(puller, f"{real}/team/small:1", RegistryAuth(USER, "wrong"))
    assert (
        f"unexpected status from HEAD request to http://{real}/v2/team/small/manifests/1: 401 Unauthorized"
        in text
    )


async def test_no_such_tag(real: str, puller: ImagePuller) -> None:
    text = await refusal(puller, f"{real}/team/small:2", GOOD)
    assert f'{real}/team/small:2: not found (the repository "team/small" has no tag "2")' in text


async def test_no_such_repository(real: str, puller: ImagePuller) -> None:
    # This registry tells no difference for tags; a blob's absence would. What is sure is that it is not found.
    text = await refusal(puller, f"{real}/team/nothing:1", GOOD)
    assert f"{real}/team/nothing:1: not found" in text


async def test_a_tag_that_moved(real: str, puller: ImagePuller, store: ImageStore) -> None:
    registries.push(real, "team/moving", "1", *SMALL.manifest())
    first = await pull(puller, f"{real}/team/moving:1", GOOD)
    other = build([Layer().add("f", "other")])
    registries.push(real, "team/moving", "1", *other.manifest())
    second = await pull(puller, f"{real}/team/moving:1", GOOD)
    assert first.id != second.id
    kept = store.get(first.id)
    assert kept is not None
    assert kept.tags == ()
    assert second.tags == (f"{real}/team/moving:1",)


# Faults


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedRegistry]:
    registry = ScriptedRegistry()
    registry.put("1", SMALL)
    async with registry.serve():
        yield registry


async def test_pulling_again_asks_for_the_digest_only(
    scripted: ScriptedRegistry, puller: ImagePuller
) -> None:
    await pull(puller, f"{scripted.address}/a:1")
    scripted.requests.clear()
    await pull(puller, f"{scripted.address}/a:1")
    assert [(method, path) for method, path, _ in scripted.requests] == [("HEAD", "/v2/a/manifests/1")]


async def test_layers_that_are_here_are_not_fetched(scripted: ScriptedRegistry, puller: ImagePuller) -> None:
    await pull(puller, f"{scripted.address}/a:1")
    larger = build([Layer().directory("etc").add("etc/name", "small"), Layer().add("new", "n")])
    assert larger.layers[0] == SMALL.layers[0]
    scripted.put("2", larger)
    scripted.requests.clear()
    await pull(puller, f"{scripted.address}/a:2")
    blobs = [path for _, path, _ in scripted.requests if "/blobs/" in path]
    assert len(blobs) == 2  # the configuration and the one new layer


async def test_many_pulls_of_one_image_at_once(scripted: ScriptedRegistry, puller: ImagePuller) -> None:
    pulled = await asyncio.gather(*(pull(puller, f"{scripted.address}/a:1") for _ in range(8)))
    assert {image.id for image in pulled} == {SMALL.config_digest}
    assert len([path for _, path, _ in scripted.requests if "/blobs/" in path]) == 3


async def test_rate_limited(scripted: ScriptedRegistry, puller: ImagePuller) -> None:
    scripted.fault = lambda _: error(
        429, "TOOMANYREQUESTS", "You have reached your pull rate limit.", Retry_After="600"
    )
    text = await refusal(puller, f"{scripted.address}/a:1")
    assert "429 Too Many Requests" in text
    assert "(retry after 600 seconds)" in text


async def test_a_short_rate_limit_is_waited_out(scripted: ScriptedRegistry, puller: ImagePuller) -> None:
    answers = [error(429, "TOOMANYREQUESTS", "slow down", Retry_After="0.1")]
    scripted.fault = lambda _: answers.pop() if answers else None
    assert (await pull(puller, f"{scripted.address}/a:1")).id == SMALL.config_digest


async def test_the_registrys_own_words_are_told(scripted: ScriptedRegistry, puller: ImagePuller) -> None:
    def fault(request: web.Request) -> web.Response | None:
        return (
            error(403, "DENIED", "requested access to the resource is denied")
            if "blobs" in request.path
            else None
        )

    scripted.fault = fault
    text = await refusal(puller, f"{scripted.address}/a:1")
    assert "403 Forbidden - Server message: denied: requested access to the resource is denied" in text


async def test_unreachable(puller: ImagePuller) -> None:
    address = registries.free_address()
    text = await refusal(puller, f"{address}/a:1")
    assert text.endswith(f"dial tcp {address}: connect: connection refused")


async def test_unknown_host(puller: ImagePuller) -> None:
    text = await refusal(puller, "registry.invalid/a:1")
    assert "dial tcp: lookup registry.invalid: no such host" in text


async def test_a_registry_that_is_down_and_up_again(
    scripted: ScriptedRegistry, puller: ImagePuller, store: ImageStore
) -> None:
    layer = next(d for d in SMALL.manifest()[1] if d != SMALL.config_digest)
    scripted.fault = lambda _: error(503, "UNAVAILABLE", "starting")
    assert "503 Service Unavailable" in await refusal(puller, f"{scripted.address}/a:1")
    scripted.fault = lambda request: error(503, "", "") if request.path.endswith(layer) else None
    assert "503 Service Unavailable" in await refusal(puller, f"{scripted.address}/a:1")
    assert store.images() == []
    scripted.fault = lambda _: None
    assert (await pull(puller, f"{scripted.address}/a:1")).id == SMALL.config_digest


async def test_server_error(scripted: ScriptedRegistry, puller: ImagePuller) -> None:
    scripted.fault = lambda _: web.Response(status=500, text="<html>oops")
    text = await refusal(puller, f"{scripted.address}/a:1")
    assert text.endswith("500 Internal Server Error")


async def test_wrong_bytes_are_refused(
    scripted: ScriptedRegistry, puller: ImagePuller, store: ImageStore
) -> None:
    _, blobs = SMALL.manifest()
    layer = next(d for d in blobs if d != SMALL.config_digest)
    scripted.blobs[layer] = scripted.blobs[layer][:-1] + b"?"
    text = await refusal(puller, f"{scripted.address}/a:1")
    assert "unexpected commit digest sha256:" in text
    assert f"expected {layer}" in text
    assert (store.images(), list(store.layers.iterdir())) == ([], [])


async def test_too_many_bytes_are_refused(scripted: ScriptedRegistry, puller: ImagePuller) -> None:
    _, blobs = SMALL.manifest()
    layer = next(d for d in blobs if d != SMALL.config_digest)
    scripted.blobs[layer] += b"more"
    assert "failed size validation" in await refusal(puller, f"{scripted.address}/a:1")


async def test_a_manifest_that_is_not_its_digest(scripted: ScriptedRegistry, puller: ImagePuller) -> None:
    digest = images.digest(SMALL.manifest()[0])
    scripted.manifests[digest] = scripted.manifests[digest] + b" "
    text = await refusal(puller, f"{scripted.address}/a@{digest}")
    assert f"expected {digest}" in text


async def test_old_manifests_are_refused(scripted: ScriptedRegistry, puller: ImagePuller) -> None:
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    manifest = json.dumps({"schemaVersion": 1, "mediaType": kind, "fsLayers": []}).encode()
    scripted.manifests["old"] = scripted.manifests[images.digest(manifest)] = manifest
    text = await refusal(puller, f"{scripted.address}/a:old")
    assert f'media type "{kind}" is no longer supported' in text


@pytest.mark.parametrize(
    "manifest", [b"{", b"[]", b'{"mediaType":"x"}', b'{"mediaType":"x","config":{},"layers":[]}']
)
async def test_damaged_manifests(scripted: ScriptedRegistry, puller: ImagePuller, manifest: bytes) -> None:
    def fault(request: web.Request) -> web.Response | None:
        return web.Response(body=manifest) if "manifests" in request.path else None

    scripted.fault = fault
    assert "manifest" in await refusal(puller, f"{scripted.address}/a:1")


async def test_a_broken_download_goes_on(scripted: ScriptedRegistry, puller: ImagePuller) -> None:
    big = build([Layer().add("big", os.urandom(3_000_000))])
    scripted.put("big", big)
    layer = next(d for d in big.manifest()[1] if d != big.config_digest)
    asked: list[str] = []

    async def part(request: web.Request) -> web.StreamResponse:
        begin = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        asked.append(request.headers.get("Range", ""))
        data = scripted.blobs[layer]
        response = web.StreamResponse(status=206 if begin else 200)
        response.content_length = len(data) - begin
        await response.prepare(request)
        await response.write(data[begin : begin + 1_200_000])
        if begin + 1_200_000 < len(data):
            assert request.transport is not None
            request.transport.close()
        return response

    scripted.fault = lambda request: part(request) if request.path.endswith(layer) else None
    assert (await pull(puller, f"{scripted.address}/a:big")).id == big.config_digest
    assert asked[0] == ""
    assert len(asked) > 1
    assert all(value.startswith("bytes=") for value in asked[1:])


async def test_a_download_that_never_gets_on(scripted: ScriptedRegistry, puller: ImagePuller) -> None:
    layer = next(d for d in SMALL.manifest()[1] if d != SMALL.config_digest)

    async def nothing(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    scripted.fault = lambda request: nothing(request) if request.path.endswith(layer) else None
    text = await refusal(puller, f"{scripted.address}/a:1")
    assert "unexpected EOF" in text


async def test_a_registry_that_ignores_ranges(
    scripted: ScriptedRegistry, puller: ImagePuller, store: ImageStore
) -> None:
    layer = next(d for d in SMALL.manifest()[1] if d != SMALL.config_digest)
    (store.downloads / f"{layer.partition(':')[2]}.part").write_bytes(b"stale")
    assert (await pull(puller, f"{scripted.address}/a:1")).id == SMALL.config_digest


# Tokens


def guarded(registry: ScriptedRegistry, *, tokens: dict[str, str], wanted: str = "good") -> None:
    """Make a registry ask for a bearer token; tokens maps the Authorization at the token server to what it gives."""

    def fault(request: web.Request) -> web.Response | None:
        if request.path == "/token":
            given = tokens.get(request.headers.get("Authorization", ""))
            if given is None:
                return error(401, "UNAUTHORIZED", "incorrect username or password")
            assert request.query["scope"] == "repository:a:pull"
            assert request.query["service"] == "tests"
            return web.json_response({"token": given})
        if request.headers.get("Authorization") == f"Bearer {wanted}":
            return None
        challenge = (
            f'Bearer realm="http://{registry.address}/token",service="tests",scope="repository:a:pull"'
        )
        if request.headers.get("Authorization"):
            challenge += ',error="insufficient_scope"'
        return error(401, "UNAUTHORIZED", "authentication required", WWW_Authenticate=challenge)

    registry.fault = fault


BASIC = "Basic cHVsbGVyOnMzY3JldC13b3Jk"


async def test_anonymous_token(scripted: ScriptedRegistry, puller: ImagePuller) -> None:
    guarded(scripted, tokens={"": "good"})
    assert (await pull(puller, f"{scripted.address}/a:1")).id == SMALL.config_digest
    assert len([path for _, path, _ in scripted.requests if path == "/token"]) == 1


async def test_token_for_a_password(scripted: ScriptedRegistry, puller: ImagePuller) -> None:
    guarded(scripted, tokens={BASIC: "good", "": "for nobody"})
    assert (await pull(puller, f"{scripted.address}/a:1", GOOD)).id == SMALL.config_digest
    # The password goes to the token server, the token to the registry.
    assert {authorization for _, path, authorization in scripted.requests if path != "/token"} == {
        "",
        "Bearer good",
    }


async def test_a_token_that_is_not_enough(scripted: ScriptedRegistry, puller: ImagePuller) -> None:
    guarded(scripted, tokens={"": "for nobody"})
    text = await refusal(puller, f"{scripted.address}/a:1")
    assert text.endswith(
        "pull access denied, repository does not exist or may require authorization: "
        "server message: insufficient_scope: authorization failed"
    )


async def test_a_token_server_that_refuses(scripted: ScriptedRegistry, puller: ImagePuller) -> None:
    guarded(scripted, tokens={})
    text = await refusal(puller, f"{scripted.address}/a:1", GOOD)
    assert "failed to authorize: failed to fetch oauth token: unexpected status from GET request" in text
    assert "401 Unauthorized - Server message: unauthorized: incorrect username or password" in text


async def test_a_refresh_token(scripted: ScriptedRegistry, puller: ImagePuller) -> None:
    posted: list[Any] = []

    async def token(request: web.Request) -> web.Response:
        posted.append(dict(await request.post()))
        return web.json_response({"access_token": "good"})

    guarded(scripted, tokens={})
    inner = scripted.fault
    scripted.fault = lambda request: token(request) if request.path == "/token" else inner(request)
    await pull(puller, f"{scripted.address}/a:1", RegistryAuth(identity_token="refresh-me"))
    assert posted[0]["grant_type"] == "refresh_token"
    assert posted[0]["refresh_token"] == "refresh-me"


async def test_a_token_that_expires_on_the_way(scripted: ScriptedRegistry, puller: ImagePuller) -> None:
    served = iter(["first", "second"])
    valid = ["first"]

    def fault(request: web.Request) -> web.Response | None:
        if request.path == "/token":
            return web.json_response({"token": next(served)})
        if "blobs" in request.path and valid == ["first"]:
            valid[0] = "second"
        if request.headers.get("Authorization") == f"Bearer {valid[0]}":
            return None
        challenge = f'Bearer realm="http://{scripted.address}/token",service="tests"'
        return error(401, "UNAUTHORIZED", "expired", WWW_Authenticate=challenge)

    scripted.fault = fault
    assert (await pull(puller, f"{scripted.address}/a:1")).id == SMALL.config_digest


async def test_a_redirected_blob_does_not_take_the_password_along(
    scripted: ScriptedRegistry, puller: ImagePuller
) -> None:
    storage = ScriptedRegistry(blobs=dict(scripted.blobs))
    async with storage.serve():

        def fault(request: web.Request) -> web.Response | None:
            if not request.headers.get("Authorization"):
                return error(401, "UNAUTHORIZED", "who?", WWW_Authenticate='Basic realm="x"')
            if "blobs" in request.path:
                location = f"http://{storage.address}{request.path}"
                return web.Response(status=307, headers={"Location": location})
            return None

        scripted.fault = fault
        await pull(puller, f"{scripted.address}/a:1", GOOD)
    assert storage.requests
    assert {authorization for _, _, authorization in storage.requests} == {""}


async def test_a_refresh_token_does_not_follow_a_redirect(
    scripted: ScriptedRegistry, puller: ImagePuller
) -> None:
    stranger = ScriptedRegistry()
    guarded(scripted, tokens={})
    inner = scripted.fault

    def away(request: web.Request) -> web.Response | None:
        if request.path == "/token":
            return web.Response(status=307, headers={"Location": f"http://{stranger.address}/token"})
        found: web.Response | None = inner(request)
        return found

    scripted.fault = away
    async with stranger.serve():
        text = await refusal(puller, f"{scripted.address}/a:1", RegistryAuth(identity_token="refresh-me"))
    assert "failed to fetch oauth token: unexpected status from POST request" in text
    assert stranger.requests == []


async def test_a_netrc_file_has_no_say(
    scripted: ScriptedRegistry, puller: ImagePuller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds logins for packages; nodes know pull secrets only."""
    (tmp_path / "netrc").write_text("default login somebody password of-packages\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    guarded(scripted, tokens={BASIC: "good"})
    assert (await pull(puller, f"{scripted.address}/a:1", GOOD)).id == SMALL.config_digest
    sent = {authorization for _, _, authorization in scripted.requests}
    assert sent == {"", BASIC, "Bearer good"}


# TLS


async def test_a_certificate_nobody_signed(tmp_path: Path, puller: ImagePuller) -> None:
    registry = ScriptedRegistry()
    async with registry.serve(Authority.make(tmp_path).server()):
        text = await refusal(puller, f"{registry.address}/a:1")
    assert "tls: failed to verify certificate: x509: certificate signed by unknown authority" in text
    assert registry.requests == []
