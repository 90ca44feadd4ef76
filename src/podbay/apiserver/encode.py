"""Results as bytes in the form the client asked for: whole objects, tables, metadata only; JSON, YAML or protobuf.

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
from podbay.apiserver.schema.protobuf_write import write_event
from podbay.apiserver.storage import Change, Entry
from podbay.errors import ApiError
from podbay.objects.meta import Object

if TYPE_CHECKING:
    from podbay.apiserver.core import Core

__all__ = ["Encoded", "Lines", "encode", "encode_error", "line_encoder"]


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
    assert isinstance(result, ObjectResult | ListResult)
    output = _output(request, protobuf=_has_protobuf(core, result.type))
    if isinstance(result, ListResult):
        return Encoded(200, _list(core, result, output, request), output.content_type, {}, result.warnings)
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


def _output(request: Request, *, protobuf: bool = True) -> Output:
    return negotiate.negotiate_output(
        request.headers.get("accept", ""),
        pretty=request.param("pretty"),
        user_agent=request.headers.get("user-agent", ""),
        protobuf=protobuf,
    )


def _has_protobuf(core: Core, resource: ResourceType | None) -> bool:
    """The type table knows the kind's numbers (None: a Status, which has them)."""
    return resource is None or resource.type_name in core.schema


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


@dataclass(frozen=True, slots=True)
class Lines:
    """How a watch goes out: its content type, and what each change becomes."""

    content_type: str
    encode: Callable[[Change], bytes]


def line_encoder(core: Core, request: Request, resource: ResourceType) -> Lines:
    """Raises ApiError 406."""
    protobuf = _has_protobuf(core, resource)
    output = negotiate.negotiate_watch(request.headers.get("accept", ""), protobuf=protobuf)
    return Lines(output.stream_content_type, _line_of(core, request, resource, output))


def _line_of(
    core: Core, request: Request, resource: ResourceType, output: Output
) -> Callable[[Change], bytes]:
    if output.convert == "Table":
        return _TableLines(core, resource, output, _include(request))
    if output.convert:
        return lambda change: _metadata_line(change, output)
    if output.media_type == "protobuf":
        frame = ("protobuf", resource.gvr)
        return lambda change: change.encoded(frame, lambda c: _shown_line(c, resource, output))
    if resource.from_storage is not None:
        return lambda change: _shown_line(change, resource, output)
    head = f'"kind":"{resource.kind}","apiVersion":"{resource.gvr.api_version}",'.encode()
    line = ("json", resource.gvr)
    return lambda change: change.encoded(line, lambda c: _line(c, head))


def _line(change: Change, head: bytes) -> bytes:
    body = change.entry.raw if change.type == "ERROR" else b"{" + head + change.entry.raw[1:]
    return b"".join((b'{"type":"', change.type.encode(), b'","object":', body, b"}\n"))


def _shown_line(change: Change, resource: ResourceType, output: Output) -> bytes:
    obj = change.entry.object()
    return _event(change.type, obj if change.type == "ERROR" else shown(resource, obj), output)


def _event(kind: str, obj: Object, output: Output) -> bytes:
    if output.media_type == "protobuf":
        return write_event(kind, negotiate.encode_object(obj, output))
    return orjson.dumps({"type": kind, "object": obj}, option=orjson.OPT_APPEND_NEWLINE)


def _metadata_line(change: Change, output: Output) -> bytes:
    obj = change.entry.object()
    if change.type != "ERROR":
        obj = tables.partial_metadata(obj, api_version=f"meta.k8s.io/{output.version}")
    return _event(change.type, obj, output)


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
            return _event("ERROR", obj, self._output)
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
            return _event("BOOKMARK", table, self._output)
        table = tables.table_for(
            self._resource,
            [obj],
            now=self._core.now(),
            include=self._include,
            with_columns=self._first,
            version=self._output.version,
        )
        self._first = False
        return _event(change.type, table, self._output)
