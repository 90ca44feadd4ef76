"""Request bodies: which media type they are in, what they decode to, and what a patch turns into.

Source: k8s.io/apiserver/pkg/endpoints/handlers/{create,update,patch,delete}.go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import orjson

from podbay.apiserver import field, negotiate, status
from podbay.apiserver.patch.govalues import go_sprint, read_json
from podbay.apiserver.patch.json_patch import unknown_operation_fields
from podbay.apiserver.patch.options import invalid_options, validate_delete_options
from podbay.apiserver.registry import ResourceType, Subresource
from podbay.apiserver.request import Request
from podbay.apiserver.schema.decode import Target as DecodeTarget
from podbay.apiserver.schema.decode import (
    convert_map,
    decode,
    decode_options,
    normalize,
    normalize_strict,
)
from podbay.apiserver.verbs.options import delete_options_from_query
from podbay.errors import ApiError
from podbay.objects.meta import Object

if TYPE_CHECKING:
    from podbay.apiserver.core import Core
    from podbay.apiserver.verbs.patch import PatchRequest

__all__ = ["decode_body", "decode_patched", "delete_options"]

FieldValidation = Literal["Strict", "Warn", "Ignore"]


def decode_body(
    core: Core,
    request: Request,
    resource: ResourceType,
    sub: Subresource | None,
    *,
    strictness: FieldValidation,
    warnings: list[str],
) -> Object:
    """The object in a POST or PUT, in normal form. Raises ApiError 400 or 415."""
    decoded = decode(
        core.schema,
        _target(resource, sub),
        request.body,
        media_type=negotiate.input_media_type(request.headers.get("content-type", ""))
        if isinstance(request.body, bytes)
        else "json",
        field_validation=strictness,
    )
    warnings += decoded.warnings
    if sub is None and resource.to_storage is not None:
        return resource.to_storage(decoded.obj)
    return decoded.obj


def _target(resource: ResourceType, sub: Subresource | None) -> DecodeTarget:
    if sub is None or not sub.type_name:
        return DecodeTarget(resource.kind, resource.gvr.api_version, resource.type_name)
    version = sub.version or resource.gvr.version
    api_version = f"{sub.group}/{version}" if sub.group else version
    return DecodeTarget(sub.kind, api_version, sub.type_name)


def decode_patched(
    core: Core, resource: ResourceType, patched: Object, patch: PatchRequest, warnings: list[str]
) -> Object:
    """A patched object in normal form; unknown fields are dropped, warned of or refused."""
    strategic = patch.type == "strategic"
    try:
        if patch.field_validation == "Ignore" and not strategic:
            return normalize(core.schema, resource.type_name, patched)
        read = convert_map if strategic else normalize_strict
        decoded = read(core.schema, resource.type_name, patched)
    except ApiError as err:
        raise _unfit(patched, patch, err.message) from err
    unknown = decoded.warnings
    if patch.type == "json" and patch.field_validation != "Ignore":
        unknown = unknown_operation_fields(read_json(patch.body)) + unknown
    if unknown and patch.field_validation == "Strict":
        raise _unfit(patched, patch, "strict decoding error: " + ", ".join(unknown))
    if patch.field_validation != "Ignore":
        warnings += unknown
    return decoded.obj


def _unfit(patched: Object, patch: PatchRequest, message: str) -> ApiError:
    """The 422 of a patch whose outcome is not an object of the kind; a strategic one shows the patch as Go prints it."""
    text = go_sprint(read_json(patch.body)) if patch.type == "strategic" else orjson.dumps(patched).decode()
    return status.invalid("", "", "", [field.invalid(field.Path("patch"), text, message)])


def delete_options(core: Core, request: Request) -> dict[str, Any]:
    """DeleteOptions from the body or, without one, from the parameters; checked. Raises ApiError 400 or 422."""
    body = request.body
    if body:
        media_type = (
            negotiate.input_media_type(request.headers.get("content-type", ""))
            if isinstance(body, bytes)
            else "json"
        )
        assert not isinstance(body, list)
        options = decode_options(core.schema, body, media_type=media_type)
    else:
        options = delete_options_from_query(request)
    errors = validate_delete_options(options)
    if errors:
        raise invalid_options("DeleteOptions", errors)
    return options
