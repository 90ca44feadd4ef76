"""Asks docker's credential helpers, the programs docker-credential-NAME, for the login of a registry.

Source: github.com/docker/docker-credential-helpers (client/client.go): the key on stdin, JSON on stdout. What a helper
prints on stdout is a secret and never quoted.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import orjson

from podbay.aio.programs import ask_program
from podbay.errors import CredentialError, InvalidInputError
from podbay.kube.config import SecretText
from podbay.registries.image_name import registry_host
from podbay.registries.logins import DockerConfig, KeyedLogin, Login, parse_docker_config

__all__ = ["ask_helper", "login_of", "read_docker_config"]

_SECONDS: Final = 30.0
_WORDS_MAX: Final = 300
_NOT_FOUND: Final = "credentials not found"


def read_docker_config(path: Path) -> DockerConfig:
    """A config.json. Blocks. Raises InvalidInputError."""
    file = path.expanduser()
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        raise InvalidInputError(f"{file} does not exist; `docker login` makes it") from None
    except OSError as err:
        raise InvalidInputError(f"{file} cannot be read: {err.strerror}") from err
    return parse_docker_config(text, str(file))


async def login_of(
    config: DockerConfig, registry: str, environ: Mapping[str, str] = os.environ
) -> list[KeyedLogin]:
    """What docker would log in to the registry with; empty when it has nothing. Raises CredentialError."""
    own = [each for each in config.logins if each.registry == registry]
    if own:
        return own
    helper = config.helper_of(registry)
    if helper is None:
        return []
    login = await ask_helper(*helper, environ=environ)
    return [] if login is None else [KeyedLogin(registry, registry_host(helper[1])[1], login)]


async def ask_helper(
    name: str, key: str, *, environ: Mapping[str, str] = os.environ, seconds: float = _SECONDS
) -> Login | None:
    """What docker-credential-`name` says of `key`; None when it knows nothing. Raises CredentialError."""
    program = f"docker-credential-{name}"
    path = shutil.which(program, path=environ.get("PATH"))
    if path is None:
        raise CredentialError(
            f"{program} is not on PATH; docker's configuration wants it for {key}. Install it."
        )
    try:
        code, output, complaint = await ask_program(
            [path, "get"], env=environ, seconds=seconds, asked=key.encode()
        )
    except TimeoutError:
        message = f"{program} gave no answer for {key} within {seconds:.0f} s and was ended; run it by hand: "
        raise CredentialError(message + f"echo {key} | {program} get") from None
    except OSError as err:
        raise CredentialError(f"{program} cannot be run: {err.strerror}") from err
    if code != 0:
        said = (complaint + b" " + output).decode("utf-8", "replace").strip()
        if _NOT_FOUND in said:
            return None
        # On failure helpers say why on stdout; only a known shape of it is shown.
        shown = _plain(complaint) or ("" if output.lstrip().startswith(b"{") else _plain(output))
        raise CredentialError(
            f"{program} exited with {code} when asked for {key}" + (f": {shown}" if shown else "")
        )
    return _answer(program, key, output)


def _answer(program: str, key: str, output: bytes) -> Login:
    try:
        read = orjson.loads(output)
        username, secret = str(read["Username"]), str(read["Secret"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise CredentialError(
            f"{program} printed {len(output)} bytes for {key} that are not {{Username, Secret}}; is it the right program?"
        ) from None
    if not secret:
        raise CredentialError(f"{program} has an empty secret for {key}; log in again: docker login {key}")
    if username == "<token>":
        return Login(identity_token=SecretText(secret))
    return Login(username, SecretText(secret))


def _plain(text: bytes) -> str:
    """A program's words without what looks like a secret."""
    words = text.decode("utf-8", "replace").strip()
    return re.sub(r"[A-Za-z0-9+/=_-]{24,}", "***", words)[:_WORDS_MAX]
