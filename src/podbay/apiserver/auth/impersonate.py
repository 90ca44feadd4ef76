"""Acting as somebody else: the Impersonate-* headers, each value of them authorized.

Kubernetes 1.36 knows five modes, tried in this order: a service account's own node, any node, a service
account, another user (each "constrained": a verb for whom and a verb for what), then the unconstrained old one.
Source: k8s.io/apiserver/pkg/endpoints/filters/impersonation (KEP 5284).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import unquote

from podbay.apiserver import status
from podbay.apiserver.auth.authenticate import AUTHENTICATED, UNAUTHENTICATED
from podbay.apiserver.auth.authorize import PRIVILEGED_GROUP, Authorizer, forbidden
from podbay.apiserver.field import FieldError, Path, aggregate, go_quote, invalid
from podbay.apiserver.request import ANONYMOUS, RequestInfo, User
from podbay.errors import ApiError
from podbay.objects.names import dns1123_label_errors, dns1123_subdomain_errors, regex_error

__all__ = ["impersonate"]

_EXTRA_PREFIX = "impersonate-extra-"
_AUTHENTICATION_GROUP = "authentication.k8s.io"
_NODE_NAME_KEY = "authentication.kubernetes.io/node-name"
_HTTP_PATH = re.compile(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+")
_ASK_FOR_ALL = 4
"""From this many groups or extras on, a constrained mode first asks whether all are allowed at once."""


@dataclass(frozen=True, slots=True)
class _Mode:
    name: str
    applies: Callable[[User, User], bool]
    """(wanted user, requestor) -> may this mode be tried."""


def impersonate(user: User, headers: Mapping[str, str], info: RequestInfo, authorizer: Authorizer) -> User:
    """The user to carry on with: `user` itself unless the headers ask for another one.

    headers are those of `fold_headers`. Raises 400 when a group, uid or extra comes without a user, and the
    403 of the first mode that applies when none allows it.
    """
    wanted = _wanted_user(headers)
    if wanted is None:
        return user
    first: ApiError | None = None
    for attempt in (*_MODES, None):
        try:
            if attempt is None:
                return _Attempt(user, wanted, authorizer, "").run()
            if not attempt.applies(wanted, user):
                continue
            verb = f"impersonate-on:{attempt.name}:{info.verb}"
            authorizer.require(user, replace(info, verb=verb))
            return _Attempt(user, wanted, authorizer, attempt.name).run()
        except ApiError as error:
            first = first or error
    assert first is not None  # the last mode either returned or raised
    raise first


def _wanted_user(headers: Mapping[str, str]) -> User | None:
    name, uid = headers.get("impersonate-user", ""), headers.get("impersonate-uid", "")
    listed = headers.get("impersonate-group")
    groups = () if listed is None else tuple(listed.split("\n"))
    extra = {
        unquote(key.removeprefix(_EXTRA_PREFIX)): tuple(value.split("\n"))
        for key, value in headers.items()
        if key.startswith(_EXTRA_PREFIX)
    }
    if name:
        return User(name, uid, groups, extra)
    if uid or groups or extra:
        raise status.bad_request(
            f"requested {_printed(uid, groups, extra)} without impersonating a user name"
        )
    return None


def _printed(uid: str, groups: tuple[str, ...], extra: Mapping[str, tuple[str, ...]]) -> str:
    """Go's %#v of the user that was asked for."""
    shown = "{" + ", ".join(map(go_quote, groups)) + "}" if groups else "(nil)"
    pairs = (f"{go_quote(k)}:[]string{{{', '.join(map(go_quote, extra[k]))}}}" for k in sorted(extra))
    extras = "{" + ", ".join(pairs) + "}" if extra else "(nil)"
    return (
        f'&user.DefaultInfo{{Name:"", UID:{go_quote(uid)}, Groups:[]string{shown}, '
        f"Extra:map[string][]string{extras}}}"
    )


def _node_name(user_name: str) -> str:
    prefix = "system:node:"
    name = user_name.removeprefix(prefix) if user_name.startswith(prefix) else ""
    return name if name and not dns1123_subdomain_errors(name) else ""


def _service_account(user_name: str) -> tuple[str, str] | None:
    parts = user_name.split(":")
    if len(parts) != 4 or parts[:2] != ["system", "serviceaccount"]:
        return None
    namespace, name = parts[2:]
    if dns1123_label_errors(namespace) or dns1123_subdomain_errors(name):
        return None
    return namespace, name


def _only_name(wanted: User) -> bool:
    return not (wanted.uid or wanted.groups or wanted.extra)


def _own_node(wanted: User, requestor: User) -> bool:
    name = _node_name(wanted.name)
    return (
        bool(name)
        and _only_name(wanted)
        and _service_account(requestor.name) is not None
        and requestor.extra.get(_NODE_NAME_KEY) == (name,)
    )


_OWN_NODE = _Mode("associated-node", _own_node)
_MODES = (
    _OWN_NODE,
    _Mode("arbitrary-node", lambda wanted, _: _only_name(wanted) and bool(_node_name(wanted.name))),
    _Mode(
        "serviceaccount", lambda wanted, _: _only_name(wanted) and _service_account(wanted.name) is not None
    ),
    _Mode(
        "user-info", lambda wanted, _: not _node_name(wanted.name) and _service_account(wanted.name) is None
    ),
)


def _extra_error(key: str, values: tuple[str, ...]) -> str:
    """What a constrained mode has against an extra; "" when nothing."""
    if not key:
        return "impersonating the empty string key in extra is not allowed"
    wrong = _domain_prefixed_path_errors(Path("extra").child("key"), key)
    if wrong:
        return f"impersonating an invalid key in extra is not allowed: {aggregate(wrong)}"
    if key != key.lower():
        return f"impersonating a non-lowercase key in extra is not allowed: {go_quote(key)}"
    return "impersonating the empty string value in extra is not allowed" if "" in values else ""


def _domain_prefixed_path_errors(path: Path, value: str) -> list[FieldError]:
    host, _, rest = value.partition("/")
    if not host or not rest:
        return [invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    errors = [invalid(path, host, message) for message in dns1123_subdomain_errors(host)]
    if not _HTTP_PATH.fullmatch(rest):
        errors.append(invalid(path, rest, regex_error("Invalid path", _HTTP_PATH.pattern, "/healthz")))
    return errors


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One mode's checks of whom is impersonated; mode "" is the unconstrained one."""

    requestor: User
    wanted: User
    authorizer: Authorizer
    mode: str

    def run(self) -> User:
        """The impersonated user; raises 403."""
        wanted = self.wanted
        groups = self._authorize_name()
        if wanted.uid:
            self._require(self._info("uids", wanted.uid, _AUTHENTICATION_GROUP))
        self._authorize_groups()
        self._authorize_extra()
        if wanted.name == ANONYMOUS.name:
            groups = groups if UNAUTHENTICATED in groups else (*groups, UNAUTHENTICATED)
        elif UNAUTHENTICATED not in groups and AUTHENTICATED not in groups:
            groups = (*groups, AUTHENTICATED)
        return replace(wanted, groups=groups)

    def _info(self, resource: str, name: str, group: str | None = None) -> RequestInfo:
        own = _AUTHENTICATION_GROUP if self.mode else ""
        verb = f"impersonate:{self.mode}" if self.mode else "impersonate"
        return RequestInfo(
            True, "", verb, group=own if group is None else group, version="v1", resource=resource, name=name
        )

    def _require(self, info: RequestInfo) -> None:
        self.authorizer.require(self.requestor, info)

    def _authorize_name(self) -> tuple[str, ...]:
        """Check the user name; gives the groups that the impersonated user has."""
        wanted, groups = self.wanted, self.wanted.groups
        info = self._info("users", wanted.name)
        node, account = _node_name(wanted.name), _service_account(wanted.name)
        if self.mode and node:
            shown = "*" if self.mode == _OWN_NODE.name else node
            info, groups = self._info("nodes", shown), ("system:nodes",)
        elif account is not None:
            info = replace(self._info("serviceaccounts", account[1]), namespace=account[0])
            groups = groups or ("system:serviceaccounts", f"system:serviceaccounts:{account[0]}")
        self._require(info)
        return groups

    def _authorize_groups(self) -> None:
        groups = self.wanted.groups
        info = self._info("groups", "")
        if self.mode and "" in groups:
            raise forbidden(self.requestor, info, "impersonating the empty string group is not allowed")
        if self.mode and PRIVILEGED_GROUP in groups:
            masters = replace(info, name=PRIVILEGED_GROUP)
            raise forbidden(self.requestor, masters, "impersonating the system:masters group is not allowed")
        if len(groups) >= _ASK_FOR_ALL and self._allowed_at_once(replace(info, name="*")):
            return
        for group in groups:
            self._require(replace(info, name=group))

    def _authorize_extra(self) -> None:
        extra = self.wanted.extra
        info = self._info("userextras", "", _AUTHENTICATION_GROUP)
        error = next(filter(None, (_extra_error(*item) for item in extra.items())), "") if self.mode else ""
        if error:
            raise forbidden(self.requestor, info, error)
        many = len(extra) >= _ASK_FOR_ALL or sum(map(len, extra.values())) >= _ASK_FOR_ALL
        if many and self._allowed_at_once(replace(info, subresource="*", name="*")):
            return
        for key, values in extra.items():
            for value in values:
                self._require(replace(info, subresource=key, name=value))

    def _allowed_at_once(self, info: RequestInfo) -> bool:
        return bool(self.mode) and self.authorizer.authorize(self.requestor, info).allowed
