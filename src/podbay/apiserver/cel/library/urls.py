"""url() and its parts. Source: k8s.io/apiserver/pkg/cel/library/urls.go (Go: url.ParseRequestURI)."""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

from podbay.apiserver.cel.library.declare import Function, Overload, opaque, payload

__all__ = ["FUNCTIONS"]

_PATH_SAFE = "/%:@!$&'()*+,;=-._~"


def _split(text: str) -> SplitResult:
    """Raises ValueError unless the text is an absolute URI or an absolute path."""
    refusal = f'URL parse error during conversion from string: parse "{text}": invalid URI for request'
    try:
        parts = urlsplit(text)
        # The port is checked where it is read.
        _ = parts.port
    except ValueError:
        raise ValueError(refusal) from None
    if not (parts.scheme or text.startswith("/")) or any(c.isspace() for c in text):
        raise ValueError(refusal)
    return parts


def _parse(text: str) -> dict[str, Any]:
    _split(text)
    return opaque("url", text)


def _is_url(text: str) -> bool:
    try:
        _split(text)
    except ValueError:
        return False
    return True


def _parts(value: Any) -> SplitResult:
    return urlsplit(str(payload(value, "url")))


def _host(value: Any) -> str:
    return _parts(value).netloc.rpartition("@")[2]


def _host_name(value: Any) -> str:
    host = _host(value)
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _port(value: Any) -> str:
    return _host(value).rpartition("]")[2].partition(":")[2]


def _query(value: Any) -> dict[str, list[str]]:
    return parse_qs(_parts(value).query, keep_blank_values=True)


def _reader(name: str, run: Any, overload: str, result: str = "string") -> Function:
    return Function(name, run, (Overload(overload, ("url",), result),))


FUNCTIONS = (
    Function("url", _parse, (Overload("string_to_url", ("string",), "url"),), member=False),
    Function("isURL", _is_url, (Overload("is_url_string", ("string",), "bool"),), member=False),
    _reader("getScheme", lambda value: _parts(value).scheme, "url_get_scheme"),
    _reader("getHost", _host, "url_get_host"),
    _reader("getHostname", _host_name, "url_get_hostname"),
    _reader("getPort", _port, "url_get_port"),
    _reader(
        "getEscapedPath", lambda value: quote(_parts(value).path, safe=_PATH_SAFE), "url_get_escaped_path"
    ),
    _reader("getQuery", _query, "url_get_query", "map<string, list<string>>"),
)
