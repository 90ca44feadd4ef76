"""Continue tokens: what goes in comes out, and what is wrong is said as Go says it."""

from __future__ import annotations

import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podbay.apiserver.storage.continuation import decode_continue, encode_continue
from podbay.errors import ApiError

NAME = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,20}[a-z0-9])?", fullmatch=True)


@given(NAME, NAME, st.integers(1, 2**62))
def test_round_trip(namespace: str, name: str, version: int) -> None:
    for start in (name + "\0", f"{namespace}/{name}\0"):
        token = encode_continue(start, version)
        assert "=" not in token
        assert decode_continue(token) == (start, version)


def test_the_form_is_that_of_kube_apiserver() -> None:
    token = encode_continue("a2\0", 1234)
    padded = token + "=" * (-len(token) % 4)
    assert base64.urlsafe_b64decode(padded) == b'{"v":"meta.k8s.io/v1","rv":1234,"start":"a2\\u0000"}'


def _token(data: object) -> str:
    raw = data if isinstance(data, bytes) else orjson.dumps(data)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        # Recorded.
        ("zzz", "continue key is not valid: invalid character 'Ï' looking for beginning of value"),
        ("a!b", "continue key is not valid: illegal base64 data at input byte 1"),
        ("abc=", "continue key is not valid: illegal base64 data at input byte 3"),
        ("abcde", "continue key is not valid: illegal base64 data at input byte 4"),
        (_token(b"  "), "continue key is not valid: unexpected end of JSON input"),
        (_token(b"'x'"), r"continue key is not valid: invalid character '\'' looking for beginning of value"),
        (
            _token("text"),
            "continue key is not valid: json: cannot unmarshal string into Go value of type storage.continueToken",
        ),
        (
            _token({"v": "meta.k8s.io/v1", "rv": "1", "start": "a"}),
            "continue key is not valid: json: cannot unmarshal string into Go struct field "
            "continueToken.rv of type int64",
        ),
        (
            _token({"v": 1}),
            "continue key is not valid: json: cannot unmarshal number into Go struct field "
            "continueToken.v of type string",
        ),
        (
            _token({"v": "v9", "rv": 1, "start": "a"}),
            "continue key is not valid: server does not recognize this encoded version v9",
        ),
        (_token(None), "continue key is not valid: server does not recognize this encoded version "),
        (
            _token({"v": "meta.k8s.io/v1", "start": "a"}),
            "continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
        ),
        (
            _token({"v": "meta.k8s.io/v1", "rv": 1}),
            "continue key is not valid: encoded start key empty (version meta.k8s.io/v1)",
        ),
        (
            _token({"v": "meta.k8s.io/v1", "rv": 1, "start": "../../secrets/a"}),
            "continue key is not valid: ../../secrets/a",
        ),
        (
            _token({"v": "meta.k8s.io/v1", "rv": 1, "start": "//a"}),
            "continue key is not valid: //a",
        ),
    ],
)
def test_bad_tokens(token: str, problem: str) -> None:
    with pytest.raises(ApiError) as caught:
        decode_continue(token)
    assert (caught.value.code, caught.value.reason) == (400, "BadRequest")
    assert caught.value.message == f"invalid continue token: {problem}"


@given(st.one_of(st.text(), st.binary().map(_token), st.from_regex(r"[A-Za-z0-9_=-]*", fullmatch=True)))
def test_any_text_is_a_token_or_a_bad_request(token: str) -> None:
    try:
        start, version = decode_continue(token)
    except ApiError as error:
        assert error.code == 400
    else:
        assert start
        assert version
