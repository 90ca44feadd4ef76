"""Does what an AuthFlow asks for: reads token files, runs plugins, mints tokens. One at a time for all who wait."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from pathlib import Path

from podbay.aio.clock import Clock
from podbay.aio.programs import ask_program
from podbay.errors import CredentialError
from podbay.kube import exec_plugin
from podbay.kube.auth import (
    AuthFlow,
    Fetch,
    Issued,
    Mint,
    ReadTokenFile,
    RunPlugin,
    Use,
    bearer,
    read_token_file,
)
from podbay.kube.config import ClusterConfig, ExecPlugin

__all__ = ["Credentials"]

log = logging.getLogger(__name__)

PLUGIN_SECONDS = 60.0
"""How long a plugin may take: cold starts of cloud CLIs take ten seconds, a login page that nobody sees for ever."""


class Credentials:
    """The current credential of one cluster. `current` waits for a renewal when one is due."""

    def __init__(
        self, config: ClusterConfig, clock: Clock, *, plugin_seconds: float = PLUGIN_SECONDS
    ) -> None:
        self._config = config
        self._clock = clock
        self._flow = AuthFlow(config)
        self._lock = asyncio.Lock()
        self._plugin_seconds = plugin_seconds
        self.fetches = 0
        """Files read, plugins run and tokens minted so far."""

    async def current(self) -> Issued:
        """What the next request carries. Raises CredentialError; no request may be sent then."""
        step = self._flow.begin(self._clock.now())
        if isinstance(step, Use):
            return step.issued
        async with self._lock:
            # Whoever waited for the lock finds the work done.
            while not isinstance(step := self._flow.begin(self._clock.now()), Use):
                await self._renew(step)
        return step.issued

    def refused(self, issued: Issued) -> bool:
        """The server answered 401 to issued; says whether `current` may give something better."""
        return self._flow.refused(issued, self._clock.now())

    def accepted(self, issued: Issued) -> None:
        """The server answered to issued."""
        self._flow.accepted(issued)

    async def _renew(self, step: Fetch) -> None:
        self.fetches += 1
        try:
            issued = await self._fetch(step)
        except CredentialError as err:
            self._flow.failed(err, self._clock.now())
            log.warning("renewing credentials failed, the old ones are still good: %s", err)
            return
        self._flow.supply(issued, self._clock.now())

    async def _fetch(self, step: Fetch) -> Issued:
        if isinstance(step, ReadTokenFile):
            return await asyncio.to_thread(_read_file, step.path)
        if isinstance(step, RunPlugin):
            output = await self._run(step.plugin)
            return exec_plugin.read_exec_credential(output, step.plugin, self._config.origin)
        return await self._mint(step)

    async def _mint(self, step: Mint) -> Issued:
        try:
            async with asyncio.timeout(self._plugin_seconds):
                minted = await step.source.mint()
        except TimeoutError:
            raise CredentialError(
                f"{self._config.origin}: {step.source.name} gave no token within {self._plugin_seconds:.0f} s"
            ) from None
        return Issued(bearer(minted.token.reveal()), expires=minted.expires)

    async def _run(self, plugin: ExecPlugin) -> bytes:
        origin = self._config.origin
        environment = {
            **os.environ,
            **{name: value.reveal() for name, value in plugin.env},
            "KUBERNETES_EXEC_INFO": exec_plugin.exec_info(plugin, self._config),
        }
        command = _locate(plugin, environment)
        if command is None:
            raise exec_plugin.missing(plugin, origin)
        try:
            code, stdout, stderr = await ask_program(
                [command, *plugin.args], env=environment, seconds=self._plugin_seconds
            )
        except FileNotFoundError:
            raise exec_plugin.missing(plugin, origin) from None
        except TimeoutError:
            raise exec_plugin.hung(plugin, origin, self._plugin_seconds) from None
        except OSError as err:
            raise CredentialError(
                f"{origin}: credential plugin {plugin.command!r} cannot be run: {err.strerror}"
            ) from err
        if code != 0:
            raise exec_plugin.failed(plugin, origin, code, stderr)
        return stdout


def _read_file(path: Path) -> Issued:
    try:
        text = path.read_text()
    except OSError as err:
        raise CredentialError(f"token file {path} cannot be read: {err.strerror}") from err
    return read_token_file(text, path)


def _locate(plugin: ExecPlugin, environment: dict[str, str]) -> str | None:
    if "/" in plugin.command:
        # client-go: a relative path with a slash counts from the kubeconfig's directory.
        path = Path(plugin.command)
        return str(path if path.is_absolute() or plugin.directory is None else plugin.directory / path)
    return shutil.which(plugin.command, path=environment.get("PATH"))
