"""OpenAPI documents: what they refer to exists, and kubectl can read them over a socket."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest
from aiohttp import web
from registry_sample import sample_registry

from podbay.apiserver import discovery
from podbay.apiserver.openapi import OpenApi
from podbay.apiserver.openapi_descriptions import Descriptions
from podbay.apiserver.request import Request
from podbay.apiserver.result import PlainResult
from podbay.apiserver.schema.types import Schema

SCHEMA = Schema.load()
REGISTRY = sample_registry()
KUBECTL = Path(sys.executable).parent / "kubectl"


@pytest.fixture(scope="module")
def openapi() -> OpenApi:
    return OpenApi(SCHEMA, REGISTRY)


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


@pytest.mark.parametrize(
    "name", ["v2", "api/v1", "apis/rbac.authorization.k8s.io/v1", "apis/authorization.k8s.io/v1"]
)
def test_every_reference_resolves(openapi: OpenApi, name: str) -> None:
    document = openapi.document(name)
    schemas = document["definitions"] if name == "v2" else document["components"]["schemas"]
    found = set(references(document))
    assert found
    assert {ref.rsplit("/", 1)[-1] for ref in found} <= schemas.keys()


def test_operations_are_unique_and_carry_kinds(openapi: OpenApi) -> None:
    document = openapi.document("v2")
    operations = [
        op for item in document["paths"].values() for verb, op in item.items() if verb != "parameters"
    ]
    names = [op["operationId"] for op in operations]
    assert len(names) == len(set(names))
    assert {
        "listCoreV1NamespacedPod",
        "listCoreV1PodForAllNamespaces",
        "patchRbacAuthorizationV1ClusterRole",
    } <= set(names)
    assert all(op["x-kubernetes-group-version-kind"]["kind"] for op in operations)


def test_what_kubectl_looks_for(openapi: OpenApi) -> None:
    document = openapi.document("api/v1")
    patch = document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"]
    assert {"fieldValidation", "dryRun", "fieldManager", "force"} <= {p["name"] for p in patch["parameters"]}
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]
    pod = document["components"]["schemas"]["io.k8s.api.core.v1.Pod"]
    assert pod["x-kubernetes-group-version-kind"] == [{"group": "", "kind": "Pod", "version": "v1"}]
    spec = document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]
    containers = spec["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-list-map-keys"] == ["name"]
    assert spec["required"] == ["containers"]


def test_descriptions_come_from_the_installed_models() -> None:
    texts = Descriptions().of(SCHEMA.struct("core/v1.ContainerPort"))
    assert texts.keys() == {"containerPort", "hostIP", "hostPort", "name", "protocol"}
    assert "noqa" not in "".join(texts.values())
    assert ":return" not in "".join(Descriptions().of(SCHEMA.struct("core/v1.Pod")).values())


def test_descriptions_do_not_load_the_client() -> None:
    program = (
        "import sys; from podbay.apiserver.openapi_descriptions import Descriptions; "
        "from podbay.apiserver.schema.types import Schema; "
        "assert Descriptions().of(Schema.load().struct('core/v1.ContainerPort')); "
        "sys.exit('kubernetes_asyncio.client' in sys.modules)"
    )
    # A process of its own: other tests of this run use the client.
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_without_the_models_there_are_no_descriptions(tmp_path: Path) -> None:
    assert Descriptions(tmp_path / "absent").of(SCHEMA.struct("core/v1.Pod")) == {}


def test_caching(openapi: OpenApi) -> None:
    index = openapi.serve(Request("GET", "/openapi/v3"))
    assert index is not None
    url = orjson.loads(index.body)["paths"]["api/v1"]["serverRelativeURL"]
    path, _, query = url.partition("?")
    found = openapi.serve(Request("GET", path, query=parse_qs(query)))
    assert found is not None
    assert (found.status, found.headers["Cache-Control"]) == (200, "public, immutable")
    held = Request("GET", path, query=parse_qs(query), headers={"if-none-match": found.headers["Etag"]})
    again = openapi.serve(held)
    assert again is not None
    assert again.status == 304
    moved = openapi.serve(Request("GET", path, query={"hash": ["old"]}))
    assert moved is not None
    assert (moved.status, moved.headers["Location"]) == (301, url)
    protobuf = {"accept": "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"}
    refused = openapi.serve(Request("GET", path, headers=protobuf))
    assert refused is not None
    assert refused.status == 406
    assert openapi.serve(Request("GET", "/openapi/v3/apis/nope/v1")) is None
    assert openapi.serve(Request("GET", "/openapi/v4")) is None


@pytest.fixture
async def server(openapi: OpenApi) -> AsyncIterator[str]:
    """The documents on a real socket."""

    async def answer(raw: web.Request) -> web.Response:
        path, _, query = raw.raw_path.partition("?")
        headers = {k.lower(): v for k, v in raw.headers.items()}
        request = Request(raw.method, path, query=parse_qs(query), headers=headers)
        found: PlainResult | None
        if path == "/version":
            found = PlainResult(orjson.dumps(discovery.version()), content_type="application/json")
        elif path.startswith("/openapi"):
            found = openapi.serve(request)
        else:
            found = discovery.document(REGISTRY, path, request)
        if found is None:
            return web.Response(status=404, text="404 page not found\n")
        return web.Response(
            status=found.status,
            body=found.body,
            headers={"Content-Type": found.content_type, **found.headers},
        )

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}"
    await runner.cleanup()


async def kubectl(server: str, home: Path, *args: str) -> str:
    process = await asyncio.create_subprocess_exec(
        KUBECTL,
        "--server",
        server,
        *args,
        env={"HOME": str(home)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.mark.skipif(not KUBECTL.exists(), reason="kubectl is not installed beside this Python")
async def test_kubectl_reads_it(server: str, tmp_path: Path) -> None:
    resources = await kubectl(server, tmp_path, "api-resources")
    assert [line.split()[0] for line in resources.splitlines()[1:]] == [
        "namespaces",
        "pods",
        "selfsubjectaccessreviews",
        "clusterroles",
    ]
    explained = await kubectl(server, tmp_path, "explain", "pod.spec.containers.ports")
    assert "FIELD: ports <[]ContainerPort>" in explained
    assert "containerPort\t<integer> -required-" in explained
    assert "KIND:       ClusterRole" in await kubectl(
        server, tmp_path, "explain", "clusterroles", "--recursive"
    )
    assert "v1.36.2" in await kubectl(server, tmp_path, "version")
    older = await kubectl(
        server, tmp_path, "explain", "pod.spec.volumes.emptyDir", "--output=plaintext-openapiv2"
    )
    assert "RESOURCE: emptyDir <Object>" in older
    assert "sizeLimit\t<string>" in older
