"""Results as bytes in the form the client asked for: whole objects, tables, metadata only; JSON or YAML.

Stored objects go out as the bytes that are stored; only other forms cost a parse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import orjson

from podbay.apiserver import negotiate, tables
from podbay.apiserver.negotiate import Output
from podbay.apiserver.registry import ResourceType
from podbay.apiserver.request import Request
from podbay.apiserver.result import ListResult, ObjectResult, PlainResult, VerbResult, shown
from podbay.apiserver.storage import Change, Entry
from podbay.errors import ApiError
from podbay.objects.meta import Object

if TYPE_CHECKING:
    from podbay.apiserver.core import Core

__all__ = ["Encoded", "encode", "encode_error", "line_encoder"]


@dataclass(slots=True)
class Encoded:
    """A whole answer, ready for the wire."""

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()


def encode(core: Core, result: VerbResult, request: Request) -> Encoded:
    """Raises ApiError 406 for a conversion that the result does not have."""
    if isinstance(result, PlainResult):
        return Encoded(result.status, result.body, result.content_type, result.headers)
    output = _output(request)
    if isinstance(result, ListResult):
        return Encoded(200, _list(core, result, output, request), output.content_type, {}, result.warnings)
    assert isinstance(result, ObjectResult)
    return Encoded(
        result.status, _object(core, result, output, request), output.content_type, {}, result.warnings
    )


def encode_error(request: Request, err: ApiError) -> Encoded:
    """`kind: Status`, in JSON when the client takes nothing that we have."""
    try:
        output = _output(request)
        output = Output(output.media_type, output.pretty)
    except ApiError:
        output = negotiate.JSON
    return Encoded(err.code, negotiate.encode_object(err.status(), output), output.content_type)


def _output(request: Request) -> Output:
    return negotiate.negotiate_output(
        request.headers.get("accept", ""),
        pretty=request.param("pretty"),
        user_agent=request.headers.get("user-agent", ""),
    )


def _object(core: Core, result: ObjectResult, output: Output, request: Request) -> bytes:
    if (
        result.entry is not None
        and result.type is not None
        and output == negotiate.JSON
        and result.type.from_storage is None
    ):
        return _typed_raw(result.type, result.entry) + b"\n"
    obj = result.object()
    if output.convert and result.type is not None:
        if output.convert == "Table":
            obj = tables.table_for(
                result.type, [obj], now=core.now(), include=_include(request), version=output.version
            )
        elif output.convert == "PartialObjectMetadata":
            obj = tables.partial_metadata(obj, api_version=f"meta.k8s.io/{output.version}")
        else:
            raise _not_acceptable(
                f"you requested PartialObjectMetadataList, but the requested object is not a list (*v1.{result.type.kind})"
            )
    return negotiate.encode_object(obj, output)


def _typed_raw(resource: ResourceType, entry: Entry) -> bytes:
    head = f'{{"kind":"{resource.kind}","apiVersion":"{resource.gvr.api_version}",'
    return head.encode() + entry.raw[1:]


def _list(core: Core, result: ListResult, output: Output, request: Request) -> bytes:
    metadata = _list_metadata(result)
    resource = result.type
    if output == negotiate.JSON and resource.from_storage is None:
        head = f'{{"kind":"{resource.list_kind}","apiVersion":"{resource.gvr.api_version}","metadata":'
        items = b",".join([entry.raw for entry in result.page.entries])
        return b"".join((head.encode(), orjson.dumps(metadata), b',"items":[', items, b"]}\n"))
    objects = [entry.object() for entry in result.page.entries]
    if output.convert == "Table":
        body = tables.table_for(
            resource,
            objects,
            now=core.now(),
            include=_include(request),
            list_metadata=metadata,
            version=output.version,
        )
    elif output.convert == "PartialObjectMetadataList":
        version = f"meta.k8s.io/{output.version}"
        body = {
            "kind": output.convert,
            "apiVersion": version,
            "metadata": metadata,
            "items": [tables.partial_metadata(obj, api_version=version) for obj in objects],
        }
    elif output.convert:
        raise _not_acceptable(
            f"you requested PartialObjectMetadata, but the requested object is a list (*v1.{resource.list_kind})"
        )
    else:
        body = {
            "kind": resource.list_kind,
            "apiVersion": resource.gvr.api_version,
            "metadata": metadata,
            "items": [_item(resource, obj) for obj in objects],
        }
    return negotiate.encode_object(body, output)


def _item(resource: ResourceType, obj: Object) -> Object:
    """Items of a list carry no apiVersion and kind."""
    if resource.from_storage is None:
        return obj
    return {k: v for k, v in resource.from_storage(obj).items() if k not in ("apiVersion", "kind")}


def _list_metadata(result: ListResult) -> dict[str, Any]:
    page = result.page
    metadata: dict[str, Any] = {"resourceVersion": str(page.version)}
    if page.continue_token:
        metadata["continue"] = page.continue_token
        if page.remaining is not None:
            metadata["remainingItemCount"] = page.remaining
    return metadata


def _include(request: Request) -> Literal["None", "Metadata", "Object"]:
    """includeObject of a table request; the real server refuses other words."""
    wanted = request.param("includeObject") or "Metadata"
    if wanted not in ("None", "Metadata", "Object"):
        raise ApiError(400, "BadRequest", f"unrecognized includeObject value: {wanted!r}")
    return wanted  # type: ignore[return-value]


def _not_acceptable(message: str) -> ApiError:
    return ApiError(406, "NotAcceptable", message)


def line_encoder(core: Core, request: Request, resource: ResourceType) -> Callable[[Change], bytes]:
    """How each change of a watch becomes a line. Raises ApiError 406."""
    output = negotiate.negotiate_watch(request.headers.get("accept", ""))
    head = f'"kind":"{resource.kind}","apiVersion":"{resource.gvr.api_version}",'.encode()
    if not output.convert and resource.from_storage is not None:
        return lambda change: _shown_line(change, resource)
    if not output.convert:
        kind = ("json", resource.gvr)
        return lambda change: change.encoded(kind, lambda c: _line(c, head))
    if output.convert != "Table":
        return lambda change: _metadata_line(change, output)
    return _TableLines(core, resource, output, _include(request))


def _line(change: Change, head: bytes) -> bytes:
    body = change.entry.raw if change.type == "ERROR" else b"{" + head + change.entry.raw[1:]
    return b"".join((b'{"type":"', change.type.encode(), b'","object":', body, b"}\n"))


def _shown_line(change: Change, resource: ResourceType) -> bytes:
    obj = change.entry.object()
    return _event(change.type, obj if change.type == "ERROR" else shown(resource, obj))


def _event(kind: str, obj: Object) -> bytes:
    return orjson.dumps({"type": kind, "object": obj}, option=orjson.OPT_APPEND_NEWLINE)


def _metadata_line(change: Change, output: Output) -> bytes:
    obj = change.entry.object()
    if change.type != "ERROR":
        obj = tables.partial_metadata(obj, api_version=f"meta.k8s.io/{output.version}")
    return _event(change.type, obj)


class _TableLines:
    """Events as one-row tables; the columns come with the first one only, as kubectl expects."""

    def __init__(
        self,
        core: Core,
        resource: ResourceType,
        output: Output,
        include: Literal["None", "Metadata", "Object"],
    ) -> None:
        self._core, self._resource, self._output, self._include = core, resource, output, include
        self._first = True

    def __call__(self, change: Change) -> bytes:
        obj = change.entry.object()
        if change.type == "ERROR":
            return _event("ERROR", obj)
        if change.type == "BOOKMARK":
            version = f"meta.k8s.io/{self._output.version}"
            row = {"cells": [], "object": tables.partial_metadata(obj, api_version=version)}
            table = {
                "kind": "Table",
                "apiVersion": version,
                "metadata": {},
                "columnDefinitions": [],
                "rows": [row],
            }
            return _event("BOOKMARK", table)
        table = tables.table_for(
            self._resource,
            [obj],
            now=self._core.now(),
            include=self._include,
            with_columns=self._first,
            version=self._output.version,
        )
        self._first = False
        return _event(change.type, table)
