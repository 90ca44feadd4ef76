"""Starting one container: image, configuration, create, start, postStart; each step with its events and reasons.

Source: pkg/kubelet/kuberuntime/kuberuntime_container.go (startContainer).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from podbay.aio.finishing import finish
from podbay.errors import PullError, StartError
from podbay.node.container_spec import Ready, container_spec
from podbay.node.env import EnvSources
from podbay.node.handlers import Target
from podbay.node.observed import ContainerState, ContainerStatus, Image
from podbay.node.parts import NodeParts
from podbay.node.podspec import find_container, grace_period, kind_of, pod_text
from podbay.node.record import REASON_DELAY, PodRecord
from podbay.node.references import PodObjects, pull_secret_names, read_objects
from podbay.node.restarts import go_duration
from podbay.node.specs import ContainerSpec, ImageSource
from podbay.node.stopping import stop_container
from podbay.node.view import Reason
from podbay.node.volumes.keeper import Prepared
from podbay.objects.events import EventType
from podbay.objects.meta import Object, namespace_of, uid_of

__all__ = ["ContainerStarter"]

_RETRY_SECONDS = 10.0
"""When a start that failed is tried again (the kubelet's sync back-off)."""
_ERROR_SHOWN_SECONDS = 1.0
"""How long ErrImagePull shows before ImagePullBackOff takes its place."""


class ContainerStarter:
    """Starts containers of one pod."""

    def __init__(self, parts: NodeParts, record: PodRecord) -> None:
        self._parts, self._record = parts, record

    async def has_images(self, names: Sequence[str]) -> bool:
        """Whether these containers can be made at once, without asking a registry."""
        for name in names:
            container = find_container(self._record.pod["spec"], name)
            if container is not None and not await self._parts.puller.is_present(container):
                return False
        return True

    def is_due(self, name: str) -> bool:
        """Whether a start may be tried now. A container that crashed just now is given its delay here."""
        return self._record.may_start(name, self._parts.clock.monotonic()) and not self._crashed_just_now(
            name
        )

    async def start(self, name: str, prepared: Prepared) -> bool:
        """Start the container, or note in the record why not and when to try again; whether it was started."""
        record, clock = self._record, self._parts.clock
        container = find_container(record.pod["spec"], name)
        assert container is not None
        try:
            status = await self._create(container, prepared)
            await self._run(container, status)
        except PullError as error:
            self._not_pulled(container, error)
            return False
        except StartError as error:
            # What the hook or the process said may be secret; only the reason and the runtime's words are shown.
            record.fail(
                name, Reason(error.reason, str(error)), now=clock.monotonic(), retry_in=self._retry_in(error)
            )
            return False
        record.clear(name)
        return True

    def _retry_in(self, error: StartError) -> float:
        # A container that was made and did not run is subject to the crash back-off alone.
        return 0.0 if error.reason in ("RunContainerError", "PostStartHookError") else _RETRY_SECONDS

    def _not_pulled(self, container: Object, error: PullError) -> None:
        record, now = self._record, self._parts.clock.monotonic()
        self._event("Warning", "Failed", f"Error: {error.reason}", container)
        wait = self._parts.puller.wait_seconds(record.pod, container.get("image") or "")
        if error.reason not in ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull") and wait:
            wait = _ERROR_SHOWN_SECONDS
        record.fail(
            container["name"], Reason(error.reason, str(error)), now=now, retry_in=wait or _RETRY_SECONDS
        )

    def _crashed_just_now(self, name: str) -> bool:
        """Whether the crash back-off holds the container back; says so when it does."""
        record, parts = self._record, self._parts
        last = record.latest(name)
        if last is None or last.state != ContainerState.EXITED:
            return False
        now, ended = parts.clock.now().timestamp(), last.finished_ns / 1e9
        key = f"{uid_of(record.pod)}/{name}"
        wait = parts.backoff.wait_since(key, ended, now)
        if not wait:
            parts.backoff.next(key, ended, now)
            return False
        text = f"Back-off restarting failed container {name} in pod {pod_text(record.pod)}"
        parts.recorder.pod(record.pod, "Warning", "BackOff", text, container=name)
        delay = go_duration(parts.backoff.seconds(key))
        message = f"back-off {delay} restarting failed container={name} pod={pod_text(record.pod)}"
        record.fail(
            name,
            Reason("CrashLoopBackOff", message),
            now=parts.clock.monotonic(),
            retry_in=wait,
            shown_in=min(wait, REASON_DELAY),
        )
        return True

    async def _create(self, container: Object, prepared: Prepared) -> ContainerStatus:
        record, parts = self._record, self._parts
        objects = await read_objects(parts.api, record.pod)
        image = await self._image(container, objects)
        spec = await self._spec(container, image, objects, prepared)
        assert record.sandbox is not None
        try:
            status = await finish(self._made(record.sandbox.id, spec))
        except StartError as error:
            self._event("Warning", "Failed", f"Error: {error}", container)
            raise
        self._event("Normal", "Created", "Container created", container)
        return status

    async def _made(self, sandbox_id: str, spec: ContainerSpec) -> ContainerStatus:
        status = await self._parts.runtime.create_container(sandbox_id, spec)
        self._record.note(status)
        return status

    async def _started(self, container_id: str) -> ContainerStatus:
        status = await self._parts.runtime.start_container(container_id)
        self._record.note(status)
        return status

    async def _image(self, container: Object, objects: PodObjects) -> Image:
        pod = self._record.pod
        return await self._parts.puller.ensure(
            pod,
            container["name"],
            image=container.get("image") or "",
            policy=container.get("imagePullPolicy") or "IfNotPresent",
            secrets=pull_secrets(pod, objects),
        )

    async def _spec(
        self, container: Object, image: Image, objects: PodObjects, prepared: Prepared
    ) -> ContainerSpec:
        record, parts = self._record, self._parts
        sandbox = record.sandbox
        assert sandbox is not None
        ips = (parts.facts.ip,) if record.pod["spec"].get("hostNetwork") else tuple(sandbox.ips)
        sources = EnvSources(
            secret=objects.secret,
            config_map=objects.config_map,
            services=parts.services(),
            node=parts.facts,
            pod_ips=ips,
            # Pods on the machine's network reach the server where it is.
            api_address=parts.server if record.pod["spec"].get("hostNetwork") else None,
        )
        ready = Ready(
            target=self._target(container),
            image=image,
            image_name=shown_name(container.get("image") or "", image),
            sources=sources,
            volumes={**prepared.sources, **await self._image_volumes(container, objects, prepared)},
            read_only_volumes=frozenset(prepared.read_only),
            machine_memory=parts.machine_memory,
            read_profile=parts.read_profile,
            devices=prepared.devices,
        )
        kind = kind_of(record.pod["spec"], container["name"])
        assert kind is not None
        try:
            return container_spec(
                record.pod, kind, container, attempt=self._attempt(container["name"]), ready=ready
            )
        except StartError as error:
            self._event("Warning", "Failed", f"Error: {error}", container)
            raise

    def _target(self, container: Object) -> str:
        """The id of the container that an ephemeral one is for; empty when it names none."""
        name = container.get("targetContainerName")
        if not name:
            return ""
        status = self._record.latest(name)
        if status is None:
            message = f"unable to find target container {name}"
            self._event("Warning", "Failed", f"Error: {message}", container)
            raise StartError("CreateContainerConfigError", message)
        return status.id

    async def _image_volumes(
        self, container: Object, objects: PodObjects, prepared: Prepared
    ) -> dict[str, ImageSource]:
        found = {}
        for volume in prepared.images:
            image = await self._parts.puller.ensure(
                self._record.pod,
                container["name"],
                image=volume["image"].get("reference") or "",
                policy=volume["image"].get("pullPolicy") or "IfNotPresent",
                secrets=pull_secrets(self._record.pod, objects),
            )
            found[volume["name"]] = ImageSource(image.id)
        return found

    def _attempt(self, name: str) -> int:
        """The number of the next attempt; one that was made but never run is taken up again."""
        last = self._record.latest(name)
        if last is not None:
            return last.attempt if last.state == ContainerState.CREATED else last.attempt + 1
        status = self._record.pod.get("status") or {}
        for field in ("containerStatuses", "initContainerStatuses"):
            for one in status.get(field) or ():
                if one["name"] == name and one.get("containerID"):
                    # The runtime has forgotten it; its restarts still count.
                    return int(one.get("restartCount") or 0) + 1
        return 0

    async def _run(self, container: Object, created: ContainerStatus) -> None:
        record, parts = self._record, self._parts
        try:
            status = await finish(self._started(created.id))
        except StartError as error:
            self._event("Warning", "Failed", f"Error: {error}", container)
            ended = replace(
                created,
                state=ContainerState.EXITED,
                exit_code=error.exit_code,
                finished_ns=int(parts.clock.now().timestamp() * 1e9),
                reason="StartError",
                message=str(error),
            )
            record.note(ended)
            raise StartError("RunContainerError", str(error)) from error
        self._event("Normal", "Started", "Container started", container)
        hook = (container.get("lifecycle") or {}).get("postStart")
        if hook:
            await self._post_start(container, status, hook)

    async def _post_start(self, container: Object, status: ContainerStatus, hook: Object) -> None:
        record, parts = self._record, self._parts
        assert record.sandbox is not None
        target = Target(record.pod, container, status.id, record.sandbox, parts.facts.ip)
        answer = await parts.handlers.hook(target, hook)
        if answer.healthy:
            return
        # The hook's output is not shown: it may hold secrets.
        self._event("Warning", "FailedPostStartHook", "PostStartHook failed", container)
        await stop_container(
            parts,
            record,
            container,
            status.id,
            message="FailedPostStartHook",
            grace=grace_period(record.pod),
        )
        raise StartError("PostStartHookError", answer.text)

    def _event(self, type: EventType, reason: str, message: str, container: Object) -> None:  # noqa: A002
        self._parts.recorder.pod(self._record.pod, type, reason, message, container=container["name"])


def pull_secrets(pod: Object, objects: PodObjects) -> list[Object]:
    """The pod's imagePullSecrets that exist, in order."""
    found = (objects.secret(namespace_of(pod), name) for name in pull_secret_names(pod))
    return [secret for secret in found if secret is not None]


def shown_name(asked: str, image: Image) -> str:
    """The image's name in the status: as it is stored, if the pod's words are one of its names."""
    if asked in image.tags or not image.tags:
        return asked
    short = asked if ":" in asked.rpartition("/")[2] else f"{asked}:latest"
    return next((tag for tag in image.tags if tag.endswith(f"/{short}")), image.tags[0])
