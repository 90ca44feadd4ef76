"""The `paths` of OpenAPI v2 and v3: one operation for each verb a resource has, with the query parameters it takes.

kubectl looks here for the `fieldValidation` and `dryRun` parameters, for strategic merge patch among the request
bodies, and for the kind behind a resource. Source: k8s.io/apiserver/pkg/endpoints/installer.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from podbay.apiserver.negotiate import MEDIA_TYPES, PATCH_TYPES, STREAM_MEDIA_TYPES
from podbay.apiserver.openapi_schemas import DELETE_OPTIONS, PATCH, STATUS, reference
from podbay.apiserver.registry import ResourceType, Subresource
from podbay.apiserver.schema.types import Schema

__all__ = ["PathBuilder"]

_META: Final = "meta/v1."
_METHODS: Final = {
    "list": "get",
    "get": "get",
    "create": "post",
    "update": "put",
    "patch": "patch",
    "delete": "delete",
    "deletecollection": "delete",
}
_ACTIONS: Final = {"update": "put", "create": "post"}
_OPTIONS: Final = {
    "list": "ListOptions",
    "create": "CreateOptions",
    "update": "UpdateOptions",
    "patch": "PatchOptions",
    "delete": "DeleteOptions",
    "deletecollection": "DeleteOptions",
}
_PREFIX: Final = {
    "list": "list",
    "get": "read",
    "create": "create",
    "update": "replace",
    "patch": "patch",
    "delete": "delete",
    "deletecollection": "deleteCollection",
}
_TYPES: Final = {
    "string": "string",
    "bool": "boolean",
    "int64": "integer",
    "int32": "integer",
    "list": "string",
}
_STREAM_OPTIONS: Final = {
    "log": "PodLogOptions",
    "exec": "PodExecOptions",
    "attach": "PodAttachOptions",
    "portforward": "PodPortForwardOptions",
}


class PathBuilder:
    """Builds the path items of resources; `names` collects the definitions that they refer to."""

    def __init__(self, schema: Schema, *, v3: bool) -> None:
        self._schema = schema
        self._v3 = v3
        self.names: dict[str, None] = {STATUS: None, DELETE_OPTIONS: None, PATCH: None}

    def paths(self, resource: ResourceType) -> Iterator[tuple[str, dict[str, Any]]]:
        """(URL template, path item) of the collection, the object and its subresources."""
        base = resource.gvr.path()
        head, _, plural = base.rpartition("/")
        verbs = set(resource.verbs)
        scoped = f"{head}/namespaces/{{namespace}}/{plural}" if resource.namespaced else base
        collection = [v for v in ("list", "create", "deletecollection") if v in verbs]
        if collection:
            yield scoped, self._item(resource, None, collection, name=False)
        if resource.namespaced and "list" in verbs:
            yield base, self._item(resource, None, ["list"], name=False, all_namespaces=True)
        single = [v for v in ("get", "update", "patch", "delete") if v in verbs]
        if single:
            yield f"{scoped}/{{name}}", self._item(resource, None, single, name=True)
        for sub in resource.subresources:
            verbs_of_sub = [v for v in ("get", "create", "update", "patch") if v in sub.verbs]
            if verbs_of_sub:
                yield f"{scoped}/{{name}}/{sub.name}", self._item(resource, sub, verbs_of_sub, name=True)

    def _item(
        self,
        resource: ResourceType,
        sub: Subresource | None,
        verbs: Sequence[str],
        *,
        name: bool,
        all_namespaces: bool = False,
    ) -> dict[str, Any]:
        item: dict[str, Any] = {}
        for verb in verbs:
            item[_METHODS[verb]] = self._operation(resource, sub, verb, all_namespaces=all_namespaces)
        parameters = [self._parameter("pretty", "string")]
        if name:
            parameters.append(self._parameter("name", "string", path=True))
        if resource.namespaced and not all_namespaces:
            parameters.append(self._parameter("namespace", "string", path=True))
        item["parameters"] = parameters
        return item

    def _operation(
        self, resource: ResourceType, sub: Subresource | None, verb: str, *, all_namespaces: bool
    ) -> dict[str, Any]:
        group, version, kind = resource.gvr.group, resource.gvr.version, resource.kind
        if sub is not None:
            kind = sub.kind or kind
            if sub.version:
                group, version = sub.group, sub.version
        tag = _tag(resource)
        parameters = self._query(verb, sub)
        operation: dict[str, Any] = {
            "tags": [tag],
            "description": f"{_PREFIX[verb]} {kind}",
            "operationId": _operation_id(resource, sub, verb, all_namespaces=all_namespaces),
        }
        if parameters:
            operation["parameters"] = parameters
        body = self._body_type(resource, sub, verb)
        if body:
            self._add_body(operation, verb, body)
        operation["responses"] = self._responses(resource, sub, verb)
        if not self._v3:
            operation["produces"] = [*MEDIA_TYPES, *(STREAM_MEDIA_TYPES if verb == "list" else ())]
            operation["schemes"] = ["https"]
        operation["x-kubernetes-action"] = _ACTIONS.get(verb, verb)
        operation["x-kubernetes-group-version-kind"] = {"group": group, "kind": kind, "version": version}
        return operation

    def _query(self, verb: str, sub: Subresource | None) -> list[dict[str, Any]]:
        options = [_META + _OPTIONS[verb]] if verb in _OPTIONS else []
        if verb == "deletecollection":
            options.append(_META + "ListOptions")
        if sub is not None and sub.name in _STREAM_OPTIONS:
            options = ["core/v1." + _STREAM_OPTIONS[sub.name]]
        found: dict[str, dict[str, Any]] = {}
        for name in options:
            for field in self._schema.struct(name).fields.values():
                if field.name not in ("kind", "apiVersion") and field.kind in _TYPES:
                    found[field.name] = self._parameter(field.name, _TYPES[field.kind])
        return [found[name] for name in sorted(found)]

    def _parameter(self, name: str, type_: str, *, path: bool = False) -> dict[str, Any]:
        out: dict[str, Any] = {"name": name, "in": "path" if path else "query"}
        if path:
            out["required"] = True
        shape = {"type": type_, "uniqueItems": True}
        return {**out, "schema": shape} if self._v3 else {**out, **shape}

    def _body_type(self, resource: ResourceType, sub: Subresource | None, verb: str) -> str:
        if verb == "patch":
            return PATCH
        if verb in ("delete", "deletecollection"):
            return DELETE_OPTIONS
        if verb not in ("create", "update"):
            return ""
        return _type_of(resource, sub)

    def _add_body(self, operation: dict[str, Any], verb: str, name: str) -> None:
        self.names.setdefault(name)
        schema = reference(name, v3=self._v3)
        required = verb not in ("delete", "deletecollection")
        types = list(PATCH_TYPES) if verb == "patch" else ["*/*"]
        if self._v3:
            operation["requestBody"] = {"content": {t: {"schema": schema} for t in types}}
            if required:
                operation["requestBody"]["required"] = True
            return
        body: dict[str, Any] = {"name": "body", "in": "body", "schema": schema}
        if required:
            body["required"] = True
        operation.setdefault("parameters", []).insert(0, body)
        operation["consumes"] = types

    def _responses(self, resource: ResourceType, sub: Subresource | None, verb: str) -> dict[str, Any]:
        name = _type_of(resource, sub)
        if verb == "list":
            name = resource.type_name + "List"
        elif verb == "deletecollection" or (verb == "delete" and sub is None and resource.kind != "Pod"):
            name = STATUS
        codes = {"create": ("200", "201", "202"), "update": ("200", "201"), "patch": ("200", "201")}.get(verb)
        if verb == "delete":
            codes = ("200", "202")
        out = {code: self._response(name, listing=verb == "list") for code in codes or ("200",)}
        out["401"] = {"description": "Unauthorized"}
        return out

    def _response(self, name: str, *, listing: bool) -> dict[str, Any]:
        if not name:
            content: dict[str, Any] = {"*/*": {"schema": {"type": "string"}}}
            return {
                "description": "OK",
                **({"content": content} if self._v3 else {"schema": {"type": "string"}}),
            }
        self.names.setdefault(name)
        schema = reference(name, v3=self._v3)
        if not self._v3:
            return {"description": "OK", "schema": schema}
        types = (*MEDIA_TYPES, *(STREAM_MEDIA_TYPES if listing else ()))
        return {"description": "OK", "content": {t: {"schema": schema} for t in types}}


def _type_of(resource: ResourceType, sub: Subresource | None) -> str:
    """The definition of the body; empty for streams."""
    if sub is None or sub.strategy is not None:
        return resource.type_name
    return sub.type_name if sub.handler is not None else ""


def _tag(resource: ResourceType) -> str:
    return f"{_group_word(resource.gvr.group, capital=False)}_{resource.gvr.version}"


def _group_word(group: str, *, capital: bool = True) -> str:
    """rbac.authorization.k8s.io -> RbacAuthorization."""
    words = (group.removesuffix(".k8s.io") or "core").split(".")
    joined = "".join(w[:1].upper() + w[1:] for w in words)
    return joined if capital else joined[:1].lower() + joined[1:]


def _operation_id(resource: ResourceType, sub: Subresource | None, verb: str, *, all_namespaces: bool) -> str:
    """listCoreV1NamespacedPod, readRbacAuthorizationV1ClusterRole, patchCoreV1NamespacedPodStatus."""
    version = resource.gvr.version[:1].upper() + resource.gvr.version[1:]
    prefix = "delete" if verb == "deletecollection" else _PREFIX[verb]
    collection = "Collection" if verb == "deletecollection" else ""
    scope = "Namespaced" if resource.namespaced and not all_namespaces else ""
    tail = "ForAllNamespaces" if all_namespaces else ""
    part = "".join(w[:1].upper() + w[1:] for w in sub.name.split("-")) if sub is not None else ""
    return f"{prefix}{_group_word(resource.gvr.group)}{version}{collection}{scope}{resource.kind}{part}{tail}"
