"""Logins from the kubelet's exec credential providers (ecr-credential-provider and the like), kept as long as they say.

Source: pkg/credentialprovider/plugin/plugin.go: the request on stdin, the answer on stdout, caches by image, registry or
all, one run at a time for each key. What a provider prints on stdout is a secret and never quoted.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from podbay.aio.clock import Clock
from podbay.aio.programs import ask_program
from podbay.errors import CredentialError, InvalidInputError
from podbay.node.credentials import matches, read_auth
from podbay.node.provider_config import Provider, parse_duration, parse_provider_config
from podbay.node.specs import RegistryAuth

__all__ = ["CredentialProviders", "load_providers"]

_SECONDS: Final = 60.0
"""As in the kubelet."""
_CACHE_KEYS: Final = ("Image", "Registry", "Global")
_WORDS_MAX: Final = 300


@dataclass(slots=True)
class _Answer:
    auth: Mapping[str, RegistryAuth] = field(repr=False)
    until: float = 0.0
    """On the monotonic clock."""


@dataclass(slots=True)
class _Asked:
    """What one provider has said so far."""

    provider: Provider
    program: Path
    answers: dict[str, _Answer] = field(default_factory=dict, repr=False)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


def load_providers(config: Path, directory: Path) -> list[tuple[Provider, Path]]:
    """Read the file and find the programs. Blocks. Raises InvalidInputError."""
    try:
        providers = parse_provider_config(config.read_text(), str(config))
    except (OSError, UnicodeDecodeError) as err:
        raise InvalidInputError(f"--image-credential-provider-config {config} cannot be read: {err}") from err
    found = [(each, directory / each.name) for each in providers]
    for provider, program in found:
        if not os.access(program, os.X_OK) or program.is_dir():
            raise InvalidInputError(
                f"{config}: plugin binary executable {program} did not exist; put {provider.name} into "
                f"{directory} (--image-credential-provider-bin-dir) and make it executable"
            )
    return found


class CredentialProviders:
    """All providers of a node. Nobody is asked for an image that none is responsible for."""

    def __init__(
        self, providers: Sequence[tuple[Provider, Path]], clock: Clock, *, seconds: float = _SECONDS
    ) -> None:
        self._asked = [_Asked(provider, program) for provider, program in providers]
        self._clock = clock
        self._seconds = seconds

    async def logins(self, repository: str) -> tuple[list[RegistryAuth], list[str]]:
        """Logins for "registry/path", the most specific first, and why providers gave none, one sentence each."""
        found: list[tuple[str, RegistryAuth]] = []
        complaints = []
        for asked in self._asked:
            if not any(matches(pattern, repository) for pattern in asked.provider.match_images):
                continue
            try:
                found += (await self._ask(asked, repository)).items()
            except CredentialError as err:
                complaints.append(str(err))
        fitting = [(key, auth) for key, auth in found if matches(key, repository)]
        fitting.sort(key=lambda pair: pair[0], reverse=True)
        return [auth for _, auth in fitting], complaints

    async def _ask(self, asked: _Asked, repository: str) -> Mapping[str, RegistryAuth]:
        async with asked.turn:
            now = self._clock.monotonic()
            asked.answers = {key: each for key, each in asked.answers.items() if each.until > now}
            for key in (f"Image {repository}", f"Registry {repository.partition('/')[0]}", "Global"):
                if key in asked.answers:
                    return asked.answers[key].auth
            output = await self._run(asked, repository)
            kind, seconds, auth = _read(asked.provider, output)
            if seconds > 0:
                scope = {
                    "Image": f" {repository}",
                    "Registry": f" {repository.partition('/')[0]}",
                    "Global": "",
                }[kind]
                asked.answers[kind + scope] = _Answer(auth, now + seconds)
            return auth

    async def _run(self, asked: _Asked, repository: str) -> bytes:
        provider, program = asked.provider, asked.program
        request = {"kind": "CredentialProviderRequest", "apiVersion": provider.protocol, "image": repository}
        try:
            code, output, complaint = await ask_program(
                [str(program), *provider.args],
                env={**os.environ, **dict(provider.env)},
                seconds=self._seconds,
                asked=json.dumps(request).encode(),
            )
        except TimeoutError:
            raise CredentialError(
                f"credential provider {provider.name} gave no answer within {self._seconds:.0f} s and was ended"
            ) from None
        except OSError as err:
            raise CredentialError(
                f"credential provider {provider.name} cannot be run: {err.strerror}"
            ) from err
        if code != 0:
            said = complaint.decode("utf-8", "replace").strip()[-_WORDS_MAX:]
            raise CredentialError(
                f"credential provider {provider.name} exited with {code}" + (f": {said}" if said else "")
            )
        return output


def _read(provider: Provider, output: bytes) -> tuple[str, float, dict[str, RegistryAuth]]:
    """(cache key type, seconds to keep, logins by pattern)."""
    who = f"credential provider {provider.name}"
    try:
        answer: Any = json.loads(output)
    except ValueError:
        raise CredentialError(f"{who} printed {len(output)} bytes that are not JSON") from None
    if not isinstance(answer, dict) or answer.get("kind") != "CredentialProviderResponse":
        raise CredentialError(f"{who} printed JSON that is not a CredentialProviderResponse")
    if answer.get("apiVersion") != provider.protocol:
        raise CredentialError(
            f"{who} does not answer with apiVersion {provider.protocol}, by which it was asked"
        )
    kind = answer.get("cacheKeyType")
    if kind not in _CACHE_KEYS:
        raise CredentialError(f"{who} gives a cacheKeyType that is none of {', '.join(_CACHE_KEYS)}")
    try:
        told = answer.get("cacheDuration")
        seconds = provider.default_seconds if told is None else parse_duration(told)
    except ValueError:
        raise CredentialError(f"{who} gives a cacheDuration that is no duration") from None
    auth = answer.get("auth") or {}
    if not isinstance(auth, dict):
        raise CredentialError(f"{who} gives no object as auth")
    logins = {str(key): read_auth(entry) for key, entry in auth.items() if isinstance(entry, dict)}
    return str(kind), seconds, {key: login for key, login in logins.items() if login is not None}
