"""/openapi/v2 and /openapi/v3: what clients read about kinds and their fields (`kubectl explain`, `apply`, `diff`).

Documents are built when first asked for and kept compressed. v2 comes in JSON and in protobuf (Go clients ask for
nothing else), v3 in JSON only (no client insists on more). Source: k8s.io/kube-openapi/pkg/{handler,handler3}.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from podbay.apiserver.discovery import GIT_VERSION
from podbay.apiserver.openapi_descriptions import Descriptions
from podbay.apiserver.openapi_paths import PathBuilder
from podbay.apiserver.openapi_protobuf import encode_v2
from podbay.apiserver.openapi_schemas import SchemaBuilder, group_version_kinds
from podbay.apiserver.registry import Registry, ResourceType
from podbay.apiserver.request import Request
from podbay.apiserver.result import PlainResult
from podbay.apiserver.schema.types import Schema

__all__ = ["OpenApi"]

_V3: Final = "/openapi/v3"
_JSON: Final = "application/json"
_PROTOBUF: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_V2_FORMS: Final = {
    "application/json": _JSON,
    _PROTOBUF: _PROTOBUF,
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf": _PROTOBUF,
    "application/*": _JSON,
    "*/*": _JSON,
}
_V3_FORMS: Final = {"application/json": _JSON, "application/*": _JSON, "*/*": _JSON}
_SECURITY: Final = {
    "BearerToken": {
        "description": "Bearer Token authentication",
        "in": "header",
        "name": "authorization",
        "type": "apiKey",
    }
}


class OpenApi:
    """Serves the documents of one registry."""

    def __init__(self, schema: Schema, registry: Registry) -> None:
        self._schema = schema
        self._registry = registry
        self._built: dict[str, bytes] = {}
        self._etag = ""

    def serve(self, request: Request) -> PlainResult | None:
        """The answer to a path under /openapi, None when nothing is there."""
        path = request.path.rstrip("/")
        if path == "/openapi/v2":
            return self._answer(request, "v2")
        if path == _V3:
            return self._index(request)
        name = path.removeprefix(_V3 + "/")
        if name == path or name not in self._group_versions():
            return None
        wanted = request.param("hash")
        if wanted and wanted != self._hash():
            return PlainResult(b"", status=301, headers={"Location": self._url(name), "Vary": "Accept"})
        answer = self._answer(request, name)
        if wanted and answer.status == 200:
            answer.headers["Cache-Control"] = "public, immutable"
        return answer

    def document(self, name: str) -> dict[str, Any]:
        """The document of "v2" or of a group version ("api/v1", "apis/policy/v1"), built afresh."""
        return self._build_v2() if name == "v2" else self._build_v3(name)

    def _answer(self, request: Request, name: str) -> PlainResult:
        headers = {"Etag": f'"{self._hash()}"', "Vary": "Accept"}
        form = _negotiate(request.headers.get("accept", ""), _V2_FORMS if name == "v2" else _V3_FORMS)
        if not form:
            return PlainResult(b"", status=406, headers={"Vary": "Accept"})
        if request.headers.get("if-none-match") == headers["Etag"]:
            return PlainResult(b"", status=304, headers=headers)
        key = f"{name} {form}"
        packed = self._built.get(key)
        if packed is None:
            document = self.document(name)
            body = encode_v2(document) if form == _PROTOBUF else orjson.dumps(document)
            self._built[key] = zlib.compress(body)
        else:
            body = zlib.decompress(packed)
        return PlainResult(body, content_type=form, headers=headers)

    def _index(self, request: Request) -> PlainResult:
        paths = {name: {"serverRelativeURL": self._url(name)} for name in self._group_versions()}
        headers = {"Etag": f'"{self._hash()}"'}
        if request.headers.get("if-none-match") == headers["Etag"]:
            return PlainResult(b"", status=304, headers=headers)
        return PlainResult(orjson.dumps({"paths": paths}), content_type=_JSON, headers=headers)

    def _url(self, name: str) -> str:
        return f"{_V3}/{name}?{urlencode({'hash': self._hash()})}"

    def _hash(self) -> str:
        """Changes whenever a document may: it covers the server's version and all it serves, so nothing need be built."""
        if not self._etag:
            served = sorted(
                (str(t.gvr), t.kind, t.verbs, tuple((s.name, s.verbs) for s in t.subresources))
                for t in self._registry
            )
            self._etag = hashlib.sha512(f"{GIT_VERSION} {served}".encode()).hexdigest().upper()
        return self._etag

    def _group_versions(self) -> dict[str, tuple[str, str]]:
        return {(f"apis/{g}/{v}" if g else f"api/{v}"): (g, v) for g, v in self._registry.groups()}

    def _build_v3(self, name: str) -> dict[str, Any]:
        wanted = self._group_versions()[name]
        types = [t for t in self._registry if (t.gvr.group, t.gvr.version) == wanted]
        paths, definitions = self._parts(types, v3=True)
        return {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": GIT_VERSION},
            "paths": paths,
            "components": {"schemas": definitions, "securitySchemes": _SECURITY},
            "security": [{"BearerToken": []}],
        }

    def _build_v2(self) -> dict[str, Any]:
        paths, definitions = self._parts(self._registry, v3=False)
        return {
            "swagger": "2.0",
            "info": {"title": "Kubernetes", "version": GIT_VERSION},
            "paths": paths,
            "definitions": definitions,
            "securityDefinitions": _SECURITY,
            "security": [{"BearerToken": []}],
        }

    def _parts(self, types: Iterable[ResourceType], *, v3: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        builder = PathBuilder(self._schema, v3=v3)
        paths = dict(sorted(item for t in types for item in builder.paths(t)))
        schemas = SchemaBuilder(self._schema, group_version_kinds(self._registry), Descriptions(), v3=v3)
        schemas.require(builder.names)
        return paths, dict(sorted(schemas.definitions.items()))


def _negotiate(accept: str, forms: Mapping[str, str]) -> str:
    """The first acceptable form, empty when there is none."""
    wanted = (part.partition(";")[0].strip() for part in (accept or "*/*").split(","))
    return next((forms[w] for w in wanted if w in forms), "")
