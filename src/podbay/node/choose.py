"""Which container runtime the node agent uses: an engine that answers, else runc and conmon.

The order is that of Docker's own command line (DOCKER_HOST, DOCKER_CONTEXT, the current context, the default socket),
then what other engines use; people's own images are in the engine they have. Only a runtime that was asked for by name
is an error when it does not answer. Source: docs.docker.com/engine/manage-resources/contexts.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import orjson

from podbay.errors import InvalidInputError, RuntimeUnavailableError
from podbay.node.engine.api import Engine
from podbay.node.engine.endpoint import Endpoint, TlsFiles, parse_endpoint
from podbay.node.engine.runtime import EngineRuntime
from podbay.node.runc.runtime import RuncRuntime
from podbay.node.runtime import Runtime

__all__ = ["RuntimeName", "choose_runtime", "comes_to_runc", "engine_endpoints"]

RuntimeName = Literal["auto", "docker", "runc"]

_PACKAGES = "apt-get install runc conmon"
_NEEDED = ("runc", "conmon")


async def choose_runtime(
    name: RuntimeName,
    *,
    node: str,
    directory: Path,
    environment: Mapping[str, str],
    home: Path,
) -> Runtime:
    """The runtime to open. node names what is ours on an engine, directory is where runc's state goes.

    environment and home are those of the person. RuntimeUnavailableError says in one sentence what to install or
    start; InvalidInputError when what names an engine cannot be read.
    """
    problems: list[str] = []
    if name in ("auto", "docker"):
        found = await _answering(engine_endpoints(environment, home), problems)
        if found is not None:
            return EngineRuntime(found, node=node)
    missing = _missing(environment)
    if name == "docker":
        raise RuntimeUnavailableError(
            f"no container engine answers ({_list(problems)}); start Docker or Podman, or apt-get install docker.io"
        )
    if not missing and (name == "runc" or os.geteuid() == 0):
        return RuncRuntime(directory)
    if name == "runc":
        raise RuntimeUnavailableError(f"{' and '.join(missing)} not found; {_PACKAGES}")
    if missing:
        advice = f"start Docker or Podman, or {_PACKAGES}"
    else:
        advice = (
            "start Docker or Podman, or run as root to use runc; without root, `podbay cluster start` uses runc where "
            "the kernel lets ordinary users have namespaces"
        )
    raise RuntimeUnavailableError(f"there is no container runtime here ({_list(problems)}); {advice}")


async def comes_to_runc(name: RuntimeName, *, environment: Mapping[str, str], home: Path) -> bool:
    """Whether choose_runtime gives runc to a process of root's. Raises for an engine that was asked for by name."""
    if name == "docker" or _missing(environment):
        return False
    return name == "runc" or await _answering(engine_endpoints(environment, home), []) is None


def engine_endpoints(
    environment: Mapping[str, str], home: Path, *, exists: Callable[[str], bool] = os.path.exists
) -> Sequence[tuple[Endpoint, bool]]:
    """Addresses to try, in order, and for each whether it was asked for. InvalidInputError. Reads files."""
    if address := environment.get("DOCKER_HOST"):
        return [(parse_endpoint(address, origin="DOCKER_HOST", tls=_host_tls(environment, home)), True)]
    directory = Path(environment.get("DOCKER_CONFIG") or home / ".docker")
    found: list[tuple[Endpoint, bool]] = []
    asked = environment.get("DOCKER_CONTEXT", "")
    context = asked or _current_context(directory / "config.json")
    if context and context != "default":
        found.append((_context(directory, context), bool(asked)))
    for path in _sockets(environment, home):
        if exists(path):
            found.append((Endpoint(origin=path, path=path), False))
    return found


async def _answering(endpoints: Sequence[tuple[Endpoint, bool]], problems: list[str]) -> Endpoint | None:
    for endpoint, asked in endpoints:
        try:
            async with Engine(endpoint) as engine:
                system = str(engine.version.get("Os", ""))
            if system == "linux":
                return endpoint
            problems.append(f"the engine at {endpoint} runs {system} containers")
        except RuntimeUnavailableError as error:
            if asked:
                raise
            problems.append(str(error))
    if not endpoints:
        problems.append("no socket of Docker or Podman")
    return None


def _sockets(environment: Mapping[str, str], home: Path) -> Sequence[str]:
    paths = ["/var/run/docker.sock"]
    if run := environment.get("XDG_RUNTIME_DIR"):
        paths += [f"{run}/docker.sock", f"{run}/podman/podman.sock"]
    # Docker Desktop's own, where its context was never made the current one.
    paths += [f"{home}/.docker/run/docker.sock", f"{home}/.docker/desktop/docker.sock"]
    return [*paths, "/run/podman/podman.sock"]


def _host_tls(environment: Mapping[str, str], home: Path) -> TlsFiles | None:
    wanted, path = environment.get("DOCKER_TLS_VERIFY"), environment.get("DOCKER_CERT_PATH")
    if not wanted and not environment.get("DOCKER_TLS"):
        return None
    return TlsFiles(Path(path or home / ".docker"), verify=bool(wanted))


def _current_context(path: Path) -> str:
    try:
        config = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return ""
    except (OSError, orjson.JSONDecodeError) as error:
        raise InvalidInputError(f"{path} cannot be read: {error}") from error
    return str(config.get("currentContext") or "") if isinstance(config, dict) else ""


def _context(directory: Path, name: str) -> Endpoint:
    """The engine of a context of Docker's command line."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    path = directory / "contexts" / "meta" / digest / "meta.json"
    try:
        docker = orjson.loads(path.read_bytes())["Endpoints"]["docker"]
        address, skip_verify = str(docker["Host"]), bool(docker.get("SkipTLSVerify"))
    except FileNotFoundError:
        raise InvalidInputError(f'docker context "{name}" does not exist; see docker context ls') from None
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(f"{path} cannot be read: {error!r}") from error
    files = directory / "contexts" / "tls" / digest / "docker"
    tls = TlsFiles(files, verify=not skip_verify) if files.is_dir() else None
    return parse_endpoint(address, origin=f'docker context "{name}"', tls=tls)


def _missing(environment: Mapping[str, str]) -> Sequence[str]:
    """Programs that runc's runtime needs and this machine does not have."""
    path = _search_path(environment)
    return [program for program in _NEEDED if shutil.which(program, path=path) is None]


def _search_path(environment: Mapping[str, str]) -> str:
    # Debian has runc in /usr/sbin, which is not on everybody's path.
    return f"{environment.get('PATH', os.defpath)}{os.pathsep}/usr/sbin{os.pathsep}/sbin"


def _list(problems: Sequence[str]) -> str:
    return "; ".join(problems)
