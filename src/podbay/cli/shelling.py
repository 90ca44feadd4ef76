"""What `podbay shell` does: make the container, wait until it runs, join the terminal to it, leave nothing behind."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from podbay.aio.race import to_the_end
from podbay.cli.progress import Progress
from podbay.cli.rows import main_container_name
from podbay.cli.target import connect, find_pod
from podbay.cli.terminal import join
from podbay.errors import ApiError, InvalidInputError, StateError
from podbay.healer import holding
from podbay.kube.attachment import Attachment
from podbay.kube.client import PODS, KubeClient
from podbay.kube.config import ClusterConfig
from podbay.lifecycle.hold import held_until, hold_annotations
from podbay.lifecycle.view import view_of
from podbay.objects.meta import Object, metadata_of, name_of, namespace_of, uid_of
from podbay.pods.shell import copy_of, ephemeral_container, find_container, shell_command

__all__ = ["Shelling"]

START_SECONDS: Final = 180.0
"""For the image and the container; a person waits."""
END_SECONDS: Final = 15.0
"""For the exit code, once the output has ended."""
_LOOK: Final = 0.25
_KILLED: Final = 128 + 9
_HOPELESS: Final = (
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "InvalidImageName",
    "RunContainerError",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelling:
    """One shell, as it was asked for."""

    config: ClusterConfig
    pod: str
    container: str | None
    image: str | None
    seconds: int
    """After which it ends by itself."""
    command: tuple[str, ...]
    tty: bool

    async def run(self) -> int:
        """Until the shell ends; its exit code. Raises PodbayError."""
        async with connect(self.config) as cluster:
            client = cluster.client
            pod = await find_pod(client, self.config.namespace, self.pod)
            name = self.container or main_container_name(pod)
            target = find_container(pod, name)
            if target is None:
                raise InvalidInputError(f"pod {self.pod} has no container {name!r}")
            if self._is_running(pod, name):
                async with self._held(client, pod):
                    shell = await self._beside(client, pod, target)
                    return await self._live(client, pod, shell)
            async with self._copied(client, pod, name) as made:
                return await self._live(client, made, name)

    def _is_running(self, pod: Object, name: str) -> bool:
        """Whether there is something to be beside of. Raises StateError for a pod that offers neither way."""
        view = view_of(pod, name)
        if view.phase in ("Succeeded", "Failed"):
            return False
        if view.deleted_at is not None:
            raise StateError(
                f"pod {self.pod} is being removed; keep the next one: podbay hold, or hold_on_failure"
            )
        if view.main is not None and view.main.state == "terminated":
            return False
        if view.main is None or view.main.state != "running":
            raise StateError(
                f"container {name} of pod {self.pod} has not started. Why: podbay explain {self.pod}"
            )
        return True

    @asynccontextmanager
    async def _held(self, client: KubeClient, pod: Object) -> AsyncIterator[None]:
        """The healer leaves the pod alone meanwhile; somebody else's hold stays as it is."""
        if held_until(pod):
            yield
            return
        await holding.hold(client, pod, datetime.now(UTC), self.seconds)
        try:
            yield
        finally:
            await to_the_end(_release(client, pod))

    async def _beside(self, client: KubeClient, pod: Object, target: Object) -> str:
        """Add an ephemeral container; its name."""
        name = f"shell-{secrets.token_hex(3)}"
        made = ephemeral_container(
            target,
            name=name,
            command=shell_command(self.command, self.seconds),
            tty=self.tty,
            image=self.image,
        )
        patch = {"metadata": {"uid": uid_of(pod)}, "spec": {"ephemeralContainers": [made]}}
        await client.patch(
            PODS,
            name_of(pod),
            patch,
            namespace=namespace_of(pod),
            subresource="ephemeralcontainers",
            patch_type="strategic",
        )
        return name

    @asynccontextmanager
    async def _copied(self, client: KubeClient, pod: Object, container: str) -> AsyncIterator[Object]:
        copied = copy_of(
            pod,
            container,
            suffix=secrets.token_hex(3),
            command=shell_command(self.command, self.seconds),
            tty=self.tty,
            seconds=self.seconds,
            annotations=hold_annotations(datetime.now(UTC), self.seconds),
            image=self.image,
        )
        made = await client.create(PODS, copied, namespace=namespace_of(pod))
        try:
            yield made
        finally:
            await to_the_end(_delete(client, made))

    async def _live(self, client: KubeClient, pod: Object, container: str) -> int:
        await self._wait_running(client, pod, container)
        began = asyncio.get_running_loop().time()
        opening = client.attach(namespace_of(pod), name_of(pod), container=container, tty=self.tty)
        async with opening as socket:
            await join(Attachment(socket), tty=self.tty)
        code = await self._exit_code(client, pod, container)
        lasted = asyncio.get_running_loop().time() - began
        # What kills it has begun to count a little earlier.
        if code == _KILLED and lasted > self.seconds - 2:
            raise self._time_over()
        return code

    def _time_over(self) -> StateError:
        return StateError(f"the shell's time was over after {self.seconds} s (--for)")

    async def _wait_running(self, client: KubeClient, pod: Object, container: str) -> None:
        progress = Progress(plain=False)
        try:
            async with asyncio.timeout(START_SECONDS):
                while True:
                    state = _state(await find_pod(client, namespace_of(pod), name_of(pod)), container)
                    if "running" in state:
                        return
                    _refuse(state, container)
                    waits = str((state.get("waiting") or {}).get("reason") or "it is scheduled")
                    progress.show(f"Waiting for container {container} ({waits})")
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            raise StateError(
                f"container {container} of pod {name_of(pod)} did not start within {START_SECONDS:.0f} s"
            ) from None
        finally:
            progress.clear()

    async def _exit_code(self, client: KubeClient, pod: Object, container: str) -> int:
        """Raises StateError when its time was over, or when it does not end."""
        try:
            async with asyncio.timeout(END_SECONDS):
                while True:
                    now = await find_pod(client, namespace_of(pod), name_of(pod))
                    ended = _state(now, container).get("terminated")
                    status = now.get("status") or {}
                    if status.get("reason") == "DeadlineExceeded":
                        raise self._time_over()
                    if ended is not None:
                        return int(ended.get("exitCode") or 0)
                    if "deletionTimestamp" in metadata_of(now):
                        raise StateError(f"pod {name_of(pod)} is being removed")
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            raise StateError(
                f"the shell in pod {name_of(pod)} was cut off and may go on for a while"
            ) from None


def _state(pod: Object, container: str) -> dict[str, Any]:
    status = pod.get("status") or {}
    every = [
        *(status.get("containerStatuses") or ()),
        *(status.get("ephemeralContainerStatuses") or ()),
    ]
    return next((each.get("state") or {} for each in every if each.get("name") == container), {})


def _refuse(state: dict[str, Any], container: str) -> None:
    waiting, ended = state.get("waiting") or {}, state.get("terminated")
    said = ""
    if ended is not None:
        said = f"{ended.get('reason') or ''} {ended.get('message') or ''}".strip()
    elif waiting.get("reason") in _HOPELESS:
        said = f"{waiting['reason']} {waiting.get('message') or ''}".strip()
    else:
        return
    raise StateError(
        f"container {container} does not start a shell: {said or 'it ended at once'}. "
        "Is there an `sh` in its image? --image names another one"
    )


async def _delete(client: KubeClient, pod: Object) -> None:
    options: dict[str, Any] = {"preconditions": {"uid": uid_of(pod)}, "gracePeriodSeconds": 1}
    try:
        await client.delete(PODS, name_of(pod), namespace=namespace_of(pod), options=options)
    except ApiError as error:
        if error.code not in (404, 409):
            raise


async def _release(client: KubeClient, pod: Object) -> None:
    try:
        await holding.release(client, pod)
    except ApiError as error:
        if error.code not in (404, 409):
            raise
