"""Who a request is from: tokens good and bad, certificates, and nobody at all."""

from __future__ import annotations

import base64

import orjson
import pytest
from auth_parts import ADMIN, KEY, NOW, HandClock, Server, account, binding_for, thing
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from podbay.apiserver.auth.authenticate import fold_headers
from podbay.apiserver.auth.certificates import CertificateSubject
from podbay.apiserver.auth.jwt import SigningKey, verify
from podbay.apiserver.auth.oidc import jwks, openid_configuration
from podbay.apiserver.auth.tokens import ISSUER, ObjectRef, TokenIssuer
from podbay.apiserver.request import ANONYMOUS
from podbay.errors import ApiError

POD, NODE = ObjectRef("p", "pod-1"), ObjectRef("n", "node-1")


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def _refusal(server: Server, token: str) -> ApiError:
    with pytest.raises(ApiError) as caught:
        server.authenticator.authenticate(_bearer(token))
    return caught.value


def _forge(
    token: str, *, header: dict[str, object] | None = None, claims: dict[str, object] | None = None
) -> str:
    """The token with header or claims replaced and the old signature kept."""
    parts = token.split(".")
    for i, change in enumerate((header, claims)):
        if change is not None:
            old = orjson.loads(base64.urlsafe_b64decode(parts[i] + "=" * (-len(parts[i]) % 4)))
            parts[i] = base64.urlsafe_b64encode(orjson.dumps({**old, **change})).rstrip(b"=").decode()
    return ".".join(parts)


def test_service_account_token_makes_its_user() -> None:
    server = Server(account(), thing("Pod", "p", "pod-1", "x"))
    token = server.token(binding_for(pod=POD, node=NODE))
    user = server.authenticator.authenticate(_bearer(token))
    assert user.name == "system:serviceaccount:x:default"
    assert user.uid == "sa-1"
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:x", "system:authenticated")
    extra = {key.removeprefix("authentication.kubernetes.io/"): value for key, value in user.extra.items()}
    assert extra.pop("credential-id")[0].startswith("JTI=")
    assert extra == {"pod-name": ("p",), "pod-uid": ("pod-1",), "node-name": ("n",), "node-uid": ("node-1",)}


@pytest.mark.parametrize(
    "header", ["", "   ", "Basic YTpi", "Bearer", "Bearer  spaced", "Token abc", "bearer "]
)
def test_without_a_bearer_token_the_client_is_anonymous(header: str) -> None:
    assert Server().authenticator.authenticate({"authorization": header}) == ANONYMOUS


def test_scheme_may_be_written_in_any_case_and_static_tokens_are_known() -> None:
    user = Server().authenticator.authenticate({"authorization": "bEARER admin-token-1"})
    assert user == ADMIN


@pytest.mark.parametrize(
    "token", ["admin-token-", "admin-token-12", "x", "a.b.c", "...", "é.é.é", "{}.{}.{}"]
)
def test_unknown_token_is_refused_in_one_word(token: str) -> None:
    error = _refusal(Server(), token)
    assert error.status() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "Unauthorized",
        "reason": "Unauthorized",
        "code": 401,
    }


def test_token_dies_a_minute_after_its_end() -> None:
    server = Server(account())
    token = server.token(binding_for(), seconds=600)
    server.clock.forward(659)
    assert server.authenticator.authenticate(_bearer(token)).name == "system:serviceaccount:x:default"
    server.clock.forward(2)
    assert _refusal(server, token).code == 401
    assert server.tokens.check(token).error == "service account token has expired"


def test_token_from_the_future_is_not_valid_yet() -> None:
    server = Server(account())
    token = server.token(binding_for())
    server.clock.forward(-61)
    assert server.tokens.check(token).error == "service account token is not valid yet"


def test_tokens_that_were_tampered_with_are_refused() -> None:
    server = Server(account())
    good = server.token(binding_for())
    head, body, signature = good.split(".")
    flipped = ("A" if signature[0] != "A" else "B") + signature[1:]
    for bad in (
        f"{head}.{body}.{flipped}",
        f"{head}.{body}.",
        f"{head}.{body}.{signature[:-4]}",
        _forge(good, claims={"exp": 9999999999}),
        _forge(good, claims={"sub": "system:serviceaccount:kube-system:admin"}),
        _forge(good, header={"alg": "none"}),
        _forge(good, header={"alg": "none"}).rpartition(".")[0] + ".",
        _forge(good, header={"alg": "HS256"}),
        _forge(good, header={"alg": "RS256"}),
        _forge(good, header={"kid": "other"}),
        _forge(good, header={"crit": ["exp"]}),
        good + "=",
        good + ".",
    ):
        assert _refusal(server, bad).code == 401, bad
    assert server.authenticator.authenticate(_bearer(good))


def test_foreign_issuer_and_foreign_key_are_told_apart_only_in_a_review() -> None:
    server = Server(account())
    stranger = SigningKey.of(ec.generate_private_key(ec.SECP256R1()))
    clock = HandClock()
    foreign_key = TokenIssuer(stranger, clock, lambda: "1").issue(
        binding_for(), audiences=[ISSUER], lifetime_seconds=600
    )
    foreign_issuer = TokenIssuer(KEY, clock, lambda: "1", issuer="https://elsewhere").issue(
        binding_for(), audiences=[ISSUER], lifetime_seconds=600
    )
    assert _refusal(server, foreign_key).message == _refusal(server, foreign_issuer).message == "Unauthorized"
    check = server.authenticator.check_token
    assert check(foreign_issuer).error == "invalid bearer token"
    assert check(foreign_key).error == "[invalid bearer token, invalid signature, no keys found]"


def test_token_is_good_for_its_audiences_only() -> None:
    server = Server(account())
    vault = server.token(binding_for(), audiences=["vault", "other"])
    assert server.tokens.check(vault).error == (
        f'token audiences ["vault" "other"] is invalid for the target audiences ["{ISSUER}"]'
    )
    assert _refusal(server, vault).code == 401
    check = server.tokens.check(vault, ["vault", "unasked"])
    assert check.user is not None
    assert check.audiences == ("vault",)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("pods", "service account token has been invalidated"),
        ("secrets", "service account token has been invalidated"),
        ("nodes", "service account token has been invalidated"),
        ("serviceaccounts", 'serviceaccounts "default" not found'),
    ],
)
def test_token_dies_with_what_it_is_bound_to(kind: str, error: str) -> None:
    bound = {
        "pods": {"pod": POD},
        "secrets": {"secret": ObjectRef("s", "secret-1")},
        "nodes": {"node": NODE},
        "serviceaccounts": {},
    }[kind]
    server = Server(
        account(),
        thing("Pod", "p", "pod-1", "x"),
        thing("Secret", "s", "secret-1", "x"),
        thing("Node", "n", "node-1"),
    )
    token = server.token(binding_for(**bound))
    assert server.authenticator.authenticate(_bearer(token))
    name = {"pods": "p", "secrets": "s", "nodes": "n", "serviceaccounts": "default"}[kind]
    server.reader.drop(kind, "" if kind == "nodes" else "x", name)
    assert server.tokens.check(token).error == error


@pytest.mark.parametrize(
    ("again", "error"),
    [
        (account(uid="sa-2"), "service account UID (sa-2) does not match claim (sa-1)"),
        (
            thing("Pod", "p", "pod-2", "x"),
            "pod UID (pod-2) does not match service account pod ref claim (pod-1)",
        ),
    ],
)
def test_token_is_not_good_for_a_namesake(again: dict[str, object], error: str) -> None:
    server = Server(account(), thing("Pod", "p", "pod-1", "x"))
    token = server.token(binding_for(pod=POD))
    server.reader.put(again)
    assert server.tokens.check(token).error == error


@pytest.mark.parametrize(
    ("obj", "error"),
    [
        (thing("Pod", "p", "pod-1", "x"), "service account token has been invalidated"),
        (account(), "service account x/default has been deleted"),
    ],
)
def test_token_outlives_the_deletion_mark_by_a_minute(obj: dict[str, dict[str, str]], error: str) -> None:
    server = Server(account(), thing("Pod", "p", "pod-1", "x"))
    token = server.token(binding_for(pod=POD))
    obj["metadata"]["deletionTimestamp"] = NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
    server.reader.put(obj)
    server.clock.forward(60)
    assert server.tokens.check(token).user is not None
    server.clock.forward(1)
    assert server.tokens.check(token).error == error


def test_node_of_a_pod_bound_token_may_be_gone() -> None:
    server = Server(account(), thing("Pod", "p", "pod-1", "x"))
    assert server.tokens.check(server.token(binding_for(pod=POD, node=NODE))).user is not None


def test_claims_of_a_token_are_those_of_kubernetes() -> None:
    server = Server(account())
    token = server.token(binding_for(pod=POD, node=ObjectRef("n")), seconds=600)
    claims = verify(token, {KEY.public.kid: KEY.public})
    assert claims is not None
    assert claims.pop("jti")
    start = int(NOW.timestamp())
    assert claims == {
        "aud": [ISSUER],
        "exp": start + 600,
        "iat": start,
        "iss": "https://kubernetes.default.svc.cluster.local",
        "kubernetes.io": {
            "namespace": "x",
            "node": {"name": "n"},
            "pod": {"name": "p", "uid": "pod-1"},
            "serviceaccount": {"name": "default", "uid": "sa-1"},
        },
        "nbf": start,
        "sub": "system:serviceaccount:x:default",
    }


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1(), None])
def test_every_supported_key_signs_and_publishes_itself(curve: ec.EllipticCurve | None) -> None:
    private = ec.generate_private_key(curve) if curve else rsa.generate_private_key(65537, 2048)
    key = SigningKey.of(private)
    token = key.sign({"a": 1})
    assert verify(token, {key.public.kid: key.public}) == {"a": 1}
    assert verify(token, {KEY.public.kid: KEY.public}) is None
    entry = jwks([key.public])["keys"][0]
    assert entry["kid"] == key.public.kid
    assert entry["use"] == "sig"
    assert set(entry) == {"use", "kid", "alg", "kty", *(("crv", "x", "y") if curve else ("n", "e"))}


def test_discovery_document_names_issuer_keys_and_algorithms() -> None:
    assert openid_configuration(ISSUER, "https://127.0.0.1:6443/openid/v1/jwks", [KEY.public]) == {
        "issuer": ISSUER,
        "jwks_uri": "https://127.0.0.1:6443/openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }


def test_certificate_comes_before_a_token_and_adds_the_authenticated_group() -> None:
    certificate = CertificateSubject("jane", ("dev", "ops"), "7", "ab12")
    user = Server().authenticator.authenticate(_bearer("wrong"), certificate)
    assert (user.name, user.uid, user.groups) == ("jane", "7", ("dev", "ops", "system:authenticated"))
    assert user.extra == {"authentication.kubernetes.io/credential-id": ("X509SHA256=ab12",)}


def test_certificate_without_a_common_name_is_nobody() -> None:
    assert Server().authenticator.authenticate({}, CertificateSubject("")) == ANONYMOUS


def test_certificate_that_says_anonymous_gains_no_group() -> None:
    user = Server().authenticator.authenticate({}, CertificateSubject("system:anonymous"))
    assert user.groups == ()


def _websocket(protocols: str) -> dict[str, str]:
    return {"upgrade": "WebSocket", "sec-websocket-protocol": protocols}


def _offer(token: str) -> str:
    encoded = base64.urlsafe_b64encode(token.encode()).rstrip(b"=").decode()
    return f"base64url.bearer.authorization.k8s.io.{encoded}"


def test_websocket_may_offer_the_token_as_a_protocol() -> None:
    authenticator = Server().authenticator
    assert authenticator.authenticate(_websocket(f"v4.channel.k8s.io, {_offer('admin-token-1')}")) == ADMIN
    assert authenticator.authenticate(_websocket("v4.channel.k8s.io")) == ANONYMOUS
    plain = {"sec-websocket-protocol": f"v4.channel.k8s.io, {_offer('admin-token-1')}"}
    assert authenticator.authenticate(plain) == ANONYMOUS


@pytest.mark.parametrize(
    "protocols",
    [
        _offer("admin-token-1"),
        f"v4.channel.k8s.io, {_offer('admin-token-1')}, {_offer('admin-token-1')}",
        "v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.!!!",
        f"v4.channel.k8s.io, {_offer('wrong')}",
    ],
)
def test_websocket_token_that_is_offered_wrongly_is_refused(protocols: str) -> None:
    with pytest.raises(ApiError) as caught:
        Server().authenticator.authenticate(_websocket(protocols))
    assert caught.value.code == 401


def test_no_secret_in_any_repr() -> None:
    server = Server(account())
    token = server.token(binding_for())
    server.tokens.check(token)
    private = KEY.key
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    secret = str(private.private_numbers().private_value)
    for part in (server.authenticator, server.tokens, server.token_issuer, KEY, vars(server.authenticator)):
        shown = repr(part)
        assert "admin-token-1" not in shown
        assert token not in shown
        assert secret not in shown
        assert "PrivateKey" not in shown


def test_verified_tokens_are_remembered_within_bounds() -> None:
    server = Server(account())
    for _ in range(1100):
        assert server.tokens.check(server.token(binding_for())).user is not None
    assert len(server.tokens._cache) == 1024


def test_repeated_headers_are_folded_without_losing_commas_of_groups() -> None:
    raw = [("Accept", "a"), ("accept", "b"), ("Impersonate-Group", "x,y"), ("Impersonate-Group", "z")]
    assert fold_headers(raw) == {"accept": "a, b", "impersonate-group": "x,y\nz"}
