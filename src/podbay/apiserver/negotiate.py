"""Content negotiation: which form a client gets, which form its body is in, or the real 406 and 415.

Not for encoding objects as tables or metadata (tables.py); this says only what was asked. Source: go-restful's
route matching (the first two refusals a request can meet), then k8s.io/apiserver/pkg/endpoints/handlers/negotiation.
Tables, the aggregated discovery and kinds that the type table lacks have no protobuf form: there Accept lists go on
to the next clause.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import orjson

from podbay.apiserver.schema.decode import MediaType
from podbay.apiserver.schema.protobuf_write import write_object
from podbay.apiserver.schema.types import Schema
from podbay.apiserver.schema.yamlprint import to_yaml
from podbay.errors import ApiError
from podbay.objects.api import PatchType
from podbay.objects.meta import Object

__all__ = [
    "JSON",
    "MEDIA_TYPES",
    "PATCH_TYPES",
    "STREAM_MEDIA_TYPES",
    "YAML",
    "Output",
    "check_route_accept",
    "encode_object",
    "input_media_type",
    "negotiate_discovery",
    "negotiate_output",
    "negotiate_watch",
    "patch_type",
]

_PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
MEDIA_TYPES: Final = ("application/json", "application/yaml", _PROTOBUF)
STREAM_MEDIA_TYPES: Final = (
    "application/json;stream=watch",
    f"{_PROTOBUF};stream=watch",
)
_SPOKEN: Final[tuple[tuple[str, MediaType], ...]] = (
    ("json", "json"),
    ("yaml", "yaml"),
    ("vnd.kubernetes.protobuf", "protobuf"),
)
_META_VERSIONS: Final = ("v1", "v1beta1")
_CONVERSIONS: Final = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")
_HUMAN_CLIENTS: Final = ("curl", "Wget", "Mozilla/5.0")
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})

PATCH_TYPES: Final[dict[str, PatchType]] = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_CONTENT_TYPE = re.compile(
    rf'({_TOKEN}/{_TOKEN})(?:\s*;\s*{_TOKEN}=(?:{_TOKEN}|"(?:[^"\\]|\\.)*"))*\s*;?\s*\Z'
)


@dataclass(frozen=True, slots=True)
class Output:
    """The form of an answer. convert is empty for the object itself; version is of meta.k8s.io, for conversions."""

    media_type: MediaType
    pretty: bool = False
    convert: Literal[
        "", "Table", "PartialObjectMetadata", "PartialObjectMetadataList", "APIGroupDiscoveryList"
    ] = ""
    version: str = ""

    @property
    def content_type(self) -> str:
        return _PROTOBUF if self.media_type == "protobuf" else f"application/{self.media_type}"

    @property
    def stream_content_type(self) -> str:
        """Of a watch in this form."""
        return f"{_PROTOBUF};stream=watch" if self.media_type == "protobuf" else self.content_type


JSON: Final = Output("json")
YAML: Final = Output("yaml")


@dataclass(frozen=True, slots=True)
class _Clause:
    main: str
    sub: str
    params: dict[str, str]
    quality: float


def check_route_accept(
    accept: str, *, method: str, listing: bool = False, extra: Sequence[str] = (), has_body: bool = True
) -> None:
    """The router's own check of `Accept`, before authorisation of content: raises ApiError 406 (415 for an empty write).

    listing is for collections read by GET (they offer the watch types too); extra are types that a subresource
    produces besides (pods/log: text/plain). It compares whole types only, as go-restful does.
    """
    produces = (*extra, *MEDIA_TYPES, *(STREAM_MEDIA_TYPES if listing else ()))
    for part in (accept or "*/*").split(","):
        wanted = part.partition(";")[0].strip()
        if wanted == "*/*" or wanted in produces or "*/*" in produces:
            return
    available = ", ".join(produces)
    if method in ("POST", "PUT", "PATCH") and not has_body:
        raise _refusal(
            415,
            "UnsupportedMediaType",
            f"415: Unsupported Media Type\n\nAvailable representations: {available}",
        )
    raise _refusal(406, "NotAcceptable", f"406: Not Acceptable\n\nAvailable representations: {available}")


def negotiate_output(accept: str, *, pretty: str = "", user_agent: str = "", protobuf: bool = True) -> Output:
    """The form of a single answer. pretty is the query parameter; browsers and curl get indented JSON without asking.

    protobuf says whether the kind has that form. Raises ApiError 406 when nothing in `accept` can be served.
    """
    human = pretty in _TRUE if pretty else user_agent.startswith(_HUMAN_CLIENTS)
    if not accept:
        return Output("json", human)
    for clause in _clauses(accept):
        for sub, media_type in _SPOKEN:
            if _matches(clause, sub):
                output = _with_options(clause, media_type, human, stream_ok=media_type != "yaml")
                if output is not None and (protobuf or media_type != "protobuf"):
                    return output
    raise _not_acceptable(MEDIA_TYPES)


def negotiate_watch(accept: str, *, protobuf: bool = True) -> Output:
    """The form of each event of a watch: JSON or protobuf, whole, as table rows or metadata only. Raises ApiError 406."""
    if not accept:
        return JSON
    for clause in _clauses(accept):
        for sub, media_type in _SPOKEN:
            if _matches(clause, sub):
                output = _with_options(clause, media_type, False, stream_ok=media_type != "yaml")
                if output is None or (media_type == "protobuf" and not protobuf):
                    continue
                if media_type != "yaml":
                    return output
                raise _not_acceptable(STREAM_MEDIA_TYPES)
    raise _not_acceptable(STREAM_MEDIA_TYPES)


def negotiate_discovery(accept: str) -> Output:
    """For /api and /apis: convert is APIGroupDiscoveryList when the aggregated form was asked for first."""
    for clause in _clauses(accept):
        p = clause.params
        aggregated = p.get("g") == "apidiscovery.k8s.io" and p.get("as") == "APIGroupDiscoveryList"
        for sub, media_type in _SPOKEN:
            if not _matches(clause, sub):
                continue
            if aggregated and p.get("v") in ("v2", "v2beta1") and media_type != "protobuf":
                return Output(media_type, convert="APIGroupDiscoveryList", version=p["v"])
            if not {"g", "v", "as"} & p.keys():
                return Output(media_type)
    return JSON


def _with_options(clause: _Clause, media_type: MediaType, human: bool, *, stream_ok: bool) -> Output | None:
    """None when the parameters of the clause rule it out."""
    p = clause.params
    if p.get("stream") and not (stream_ok and p["stream"] == "watch"):
        return None
    if p.get("sv") and p["sv"] != "v1":
        return None
    pretty = media_type == "json" and (human or p.get("pretty") == "1")
    if not {"as", "g", "v"} & p.keys():
        return Output(media_type, pretty)
    kind = p.get("as", "")
    if p.get("g") != "meta.k8s.io" or p.get("v") not in _META_VERSIONS or kind not in _CONVERSIONS:
        return None
    if kind == "Table" and media_type == "protobuf":
        return None
    return Output(media_type, pretty, kind, p["v"])  # type: ignore[arg-type]


def _matches(clause: _Clause, sub: str) -> bool:
    if clause.main == "*":
        return clause.sub == "*"
    return clause.main == "application" and clause.sub in (sub, "*")


def _clauses(accept: str) -> list[_Clause]:
    """The clauses of an Accept header, best first; unreadable ones are left out."""
    found = []
    for part in accept.split(","):
        head, *params = part.split(";")
        main, slash, sub = head.strip().partition("/")
        if not slash and main == "*":
            sub = "*"
        elif not slash or "/" in sub:
            continue
        options = dict(_pair(p) for p in params if "=" in p)
        quality = _quality(options.pop("q", "1"))
        found.append(_Clause(main.strip(), sub.strip(), options, quality))
    found.sort(key=lambda c: (-c.quality, c.main == "*", c.sub == "*"))
    return found


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(), value.strip(' "')


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0


def input_media_type(content_type: str) -> MediaType:
    """The form of a body (an empty header means JSON). Raises ApiError 415."""
    if not content_type:
        return "json"
    found = _CONTENT_TYPE.match(content_type.strip())
    name = found[1].lower() if found else ""
    if name == "application/json":
        return "json"
    if name == "application/yaml":
        return "yaml"
    if name == _PROTOBUF:
        return "protobuf"
    raise _refusal(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(MEDIA_TYPES),
        details=None,
    )


def patch_type(content_type: str) -> PatchType:
    """Which patch a PATCH request carries. Raises ApiError 415."""
    for part in (content_type or "application/octet-stream").split(","):
        found = PATCH_TYPES.get(part.partition(";")[0].strip())
        if found is not None:
            return found
    raise _refusal(415, "UnsupportedMediaType", "415: Unsupported Media Type")


def encode_object(obj: Object, output: Output = JSON) -> bytes:
    """An object, table or list as bytes in the negotiated form. Raises ApiError 406 for a kind that has not this form."""
    if output.media_type == "yaml":
        return to_yaml(obj)
    if output.media_type == "protobuf":
        try:
            return write_object(Schema.load(), obj)
        except ValueError as error:
            raise _refusal(406, "NotAcceptable", str(error), details=None) from None
    if output.pretty:
        return orjson.dumps(obj, option=orjson.OPT_INDENT_2)
    return orjson.dumps(obj, option=orjson.OPT_APPEND_NEWLINE)


def _not_acceptable(accepted: Sequence[str]) -> ApiError:
    return _refusal(
        406,
        "NotAcceptable",
        "only the following media types are accepted: " + ", ".join(accepted),
        details=None,
    )


_NO_DETAILS: Final[dict[str, str]] = {}


def _refusal(
    code: int, reason: str, message: str, *, details: dict[str, str] | None = _NO_DETAILS
) -> ApiError:
    """Refusals of the router come with empty details, those of the negotiation without any."""
    return ApiError(code, reason, message, details=details)
