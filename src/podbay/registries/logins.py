"""Registry logins, and docker's config.json as a way to write them down. Pure.

Source: docker's cli/config/configfile; pkg/credentialprovider of Kubernetes for what kubelets read of it: user name and
password, nothing else.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from podbay.errors import InvalidInputError
from podbay.kube.config import SecretText
from podbay.registries.image_name import HUB, HUB_KEY, ImageName, registry_host

__all__ = [
    "ACR_USER",
    "ANONYMOUS",
    "DockerConfig",
    "KeyedLogin",
    "Login",
    "fitting",
    "parse_docker_config",
    "to_docker_config",
]

ACR_USER: Final = "00000000-0000-0000-0000-000000000000"
"""Azure takes a refresh token as the password of this user."""
_NOTHING: Final = SecretText("")
_TOKEN_USER: Final = "<token>"
"""By this name credential helpers say that the secret is an OAuth refresh token."""


@dataclass(frozen=True, slots=True)
class Login:
    """User and password, or an OAuth refresh token instead of them; all empty: nobody."""

    username: str = ""
    password: SecretText = _NOTHING
    identity_token: SecretText = _NOTHING

    @property
    def is_anonymous(self) -> bool:
        return not self.username and not self.identity_token


ANONYMOUS: Final = Login()


@dataclass(frozen=True, slots=True)
class KeyedLogin:
    """A login and what it is for: a registry, or a pattern of some, perhaps only repositories that begin with `path`."""

    registry: str
    path: str
    login: Login

    @property
    def place(self) -> str:
        return f"{self.registry}/{self.path}" if self.path else self.registry

    @property
    def is_pattern(self) -> bool:
        """For many hosts, as in *.example.com: nobody to log in to."""
        return "*" in self.registry


@dataclass(frozen=True, slots=True)
class DockerConfig:
    """What a config.json says: logins it has itself, and helpers that know others."""

    logins: tuple[KeyedLogin, ...]
    helpers: Mapping[str, str]
    """Registry key, as written, to the name of its helper."""
    store: str = ""
    """The helper of everything else."""
    stored: tuple[str, ...] = ()
    """Keys that the file names without a login: `store` knows it."""

    def helper_of(self, registry: str) -> tuple[str, str] | None:
        """(helper, key to ask it for) of a registry that has no login in the file."""
        for key, helper in self.helpers.items():
            if registry_host(key)[0] == registry:
                return helper, key
        if not self.store:
            return None
        known = [each for each in self.stored if registry_host(each)[0] == registry]
        return self.store, known[0] if known else HUB_KEY if registry == HUB else registry


def parse_docker_config(text: bytes | str, source: str) -> DockerConfig:
    """Read a config.json. Raises InvalidInputError that names the entry and never a value."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise InvalidInputError(f"{source} is not JSON; docker's own file is ~/.docker/config.json") from None
    if not isinstance(document, dict):
        raise InvalidInputError(f"{source}: not a docker configuration: an object is expected")
    auths = _map(document, "auths", source)
    logins, stored = [], []
    for key, entry in auths.items():
        login = _login(entry, f"{source}: auths.{key}")
        if login.is_anonymous:
            stored.append(key)
            continue
        registry, path = registry_host(key, patterns=True)
        logins.append(KeyedLogin(registry, path, login))
    helpers = {str(key): str(value) for key, value in _map(document, "credHelpers", source).items()}
    for name in (*helpers.values(), str(document.get("credsStore") or "")):
        if name and not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise InvalidInputError(f"{source}: {name!r} is not the name of a credential helper")
    return DockerConfig(tuple(logins), helpers, str(document.get("credsStore") or ""), tuple(stored))


def _map(document: Mapping[str, Any], name: str, source: str) -> dict[str, Any]:
    value = document.get(name) or {}
    if not isinstance(value, dict):
        raise InvalidInputError(f"{source}: {name}: an object is expected")
    return value


def _login(entry: Any, where: str) -> Login:
    if not isinstance(entry, dict):
        raise InvalidInputError(f"{where}: an object is expected")
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            text = base64.b64decode(str(entry["auth"]), validate=True).decode().rstrip("\0")
        except (binascii.Error, UnicodeDecodeError):
            raise InvalidInputError(f"{where}.auth: not base64 of user:password") from None
        username, colon, password = text.partition(":")
        if not colon:
            raise InvalidInputError(f"{where}.auth: not base64 of user:password")
    identity = SecretText(str(entry.get("identitytoken") or ""))
    if username == _TOKEN_USER:
        username, identity, password = "", SecretText(password), ""
    return Login(username, SecretText(password), identity)


def to_docker_config(logins: Sequence[KeyedLogin]) -> bytes:
    """The JSON of a kubernetes.io/dockerconfigjson Secret. A secret itself.

    Raises InvalidInputError for a login that kubelets cannot use, and without any: it would take the place of a good one.
    """
    if not logins:
        raise InvalidInputError("there is no login to write down; give one with podbay registry add")
    auths = {}
    for each in logins:
        login = for_kubelets(each)
        key = HUB_KEY if each.registry == HUB and not each.path else each.place
        pair = _utf8(each, f"{login.username}:{login.password.reveal()}")
        auths[key] = {
            "username": login.username,
            "password": login.password.reveal(),
            "auth": base64.b64encode(pair).decode(),
        }
    return orjson.dumps({"auths": auths}, option=orjson.OPT_SORT_KEYS)


def _utf8(keyed: KeyedLogin, pair: str) -> bytes:
    try:
        return pair.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(
            f"{keyed.place}: user name or password is no UTF-8 text; nodes read no other"
        ) from None


def for_kubelets(keyed: KeyedLogin) -> Login:
    """The login as user and password."""
    login = keyed.login
    if not login.identity_token:
        return login
    if keyed.registry.endswith((".azurecr.io", ".azurecr.cn", ".azurecr.us")):
        return Login(ACR_USER, login.identity_token)
    raise InvalidInputError(
        f"{keyed.registry}: this login is an OAuth refresh token, which nodes cannot use. "
        "Make an access token or a robot account there, and add it by user name and password."
    )


def fitting(logins: Sequence[KeyedLogin], image: ImageName) -> list[Login]:
    """The logins for an image, the most specific first, as a kubelet tries them."""
    found = [each for each in logins if _fits(each, image)]
    found.sort(key=lambda each: (len(each.path), each.place), reverse=True)
    return [each.login for each in found]


def _fits(keyed: KeyedLogin, image: ImageName) -> bool:
    (name, port), (host, at) = _split_port(keyed.registry), _split_port(image.registry)
    pattern, parts = name.split("."), host.split(".")
    if port != at or len(pattern) != len(parts):
        return False
    same = all(fnmatch.fnmatchcase(part, each) for part, each in zip(parts, pattern, strict=True))
    return same and (not keyed.path or image.path.startswith(keyed.path))


def _split_port(host: str) -> tuple[str, str]:
    name, _, port = host.rpartition(":")
    return (name, port) if port.isdigit() else (host, "")
