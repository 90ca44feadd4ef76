"""Images for containers: present, pulled, or the kubelet's reason why not.

Source: pkg/kubelet/images/image_manager.go. What a registry says is the runtime's business; credentials are
`credentials`, delays `restarts`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from podbay.aio.clock import Clock
from podbay.errors import PullError
from podbay.node.credential_providers import CredentialProviders
from podbay.node.credentials import matching_credentials
from podbay.node.images.reference import parse_reference
from podbay.node.observed import Image
from podbay.node.recorder import EventRecorder
from podbay.node.restarts import RestartBackoff
from podbay.node.runtime import Images
from podbay.node.specs import RegistryAuth
from podbay.objects.meta import Object, uid_of
from podbay.objects.quoting import go_quote

__all__ = ["ImagePuller"]


class ImagePuller:
    """Sees to images, one pull of the same image at a time."""

    def __init__(
        self,
        images: Images,
        clock: Clock,
        recorder: EventRecorder,
        providers: CredentialProviders | None = None,
    ) -> None:
        self._images, self._clock, self._recorder = images, clock, recorder
        self._providers = providers or CredentialProviders((), clock)
        self._backoff = RestartBackoff()
        self._last_error: dict[str, str] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def wait_seconds(self, pod: Object, image: str) -> float:
        """Seconds until the next pull may be tried."""
        return self._backoff.wait_since_update(self._key(pod, image), self._clock.monotonic())

    def forget(self, pod: Object) -> None:
        """The pod is gone."""
        for key in [k for k in self._last_error if k.startswith(uid_of(pod))]:
            del self._last_error[key]
            self._backoff.forget(key)

    async def is_present(self, container: Object) -> bool:
        """Whether the container's image is here and need not be asked for."""
        if container.get("imagePullPolicy") == "Always":
            return False
        try:
            return await self._images.find_image(container.get("image") or "") is not None
        except PullError:
            return False

    async def ensure(
        self, pod: Object, container: str, *, image: str, policy: str, secrets: Sequence[Object]
    ) -> Image:
        """The image, ready to run. PullError with the reason and message of the container's waiting state."""
        try:
            found = await self._images.find_image(image)
        except PullError as error:
            raise self._not_inspected(pod, container, image, error) from error
        if found is not None and policy != "Always":
            message = (
                f"Container image {go_quote(image)} already present on machine and can be accessed by the pod"
            )
            self._recorder.pod(pod, "Normal", "Pulled", message, container=container)
            return found
        if policy == "Never":
            message = f"Container image {go_quote(image)} is not present with pull policy of Never"
            self._recorder.pod(pod, "Warning", "ErrImageNeverPull", message, container=container)
            raise PullError("ErrImageNeverPull", message)
        return await self._pull(pod, container, image, secrets)

    def _not_inspected(self, pod: Object, container: str, image: str, error: PullError) -> PullError:
        invalid = error.reason == "InvalidImageName"
        what = "apply default image tag" if invalid else "inspect image"
        message = f"Failed to {what} {go_quote(image)}: {error}"
        self._recorder.pod(pod, "Warning", "InspectFailed", message, container=container)
        return PullError(error.reason if invalid else "ImageInspectError", message)

    async def _pull(self, pod: Object, container: str, image: str, secrets: Sequence[Object]) -> Image:
        key = self._key(pod, image)
        if self.wait_seconds(pod, image) > 0:
            message = f"Back-off pulling image {go_quote(image)}"
            self._recorder.pod(pod, "Normal", "BackOff", message, container=container)
            last = self._last_error.get(key)
            raise PullError("ImagePullBackOff", f"{message}: {last}" if last else message)
        self._recorder.pod(pod, "Normal", "Pulling", f"Pulling image {go_quote(image)}", container=container)
        asked = self._clock.monotonic()
        async with self._locks.setdefault(image, asyncio.Lock()):
            began = self._clock.monotonic()
            try:
                pulled = await self._try_credentials(image, secrets)
            except PullError as error:
                raise self._failed(pod, container, image, error) from error
        now = self._clock.monotonic()
        took, waited = _go_milliseconds(now - began), _go_milliseconds(now - asked)
        message = f"Successfully pulled image {go_quote(image)} in {took} ({waited} including waiting). "
        message += f"Image size: {pulled.size} bytes."
        self._recorder.pod(pod, "Normal", "Pulled", message, container=container)
        self._last_error.pop(key, None)
        self._backoff.forget(key)
        return pulled

    async def _try_credentials(self, image: str, secrets: Sequence[Object]) -> Image:
        repository = parse_reference(image).name
        fitting: list[RegistryAuth | None] = [*matching_credentials(repository, secrets)]
        # Asked anew for each pull, so that what has expired is replaced; they keep answers themselves.
        provided, complaints = await self._providers.logins(repository)
        fitting += provided
        for auth in fitting[:-1]:
            try:
                return await self._images.pull_image(image, auth)
            except PullError:
                continue
        try:
            return await self._images.pull_image(image, fitting[-1] if fitting else None)
        except PullError as error:
            if not complaints:
                raise
            # A kubelet says this in its own log only, where nobody looks.
            raise PullError(error.reason, f"{error} ({'; '.join(complaints)})") from error

    def _failed(self, pod: Object, container: str, image: str, error: PullError) -> PullError:
        key, now = self._key(pod, image), self._clock.monotonic()
        text = f"Failed to pull image {go_quote(image)}: {error}"
        self._recorder.pod(pod, "Warning", "Failed", text, container=container)
        self._backoff.next(key, now, now)
        message = str(error)
        if error.reason == "RegistryUnavailable":
            message = f"image pull failed for {image} because the registry is unavailable: {error}"
        self._last_error[key] = f"{error.reason}: {message}"
        return PullError(error.reason, message)

    @staticmethod
    def _key(pod: Object, image: str) -> str:
        return f"{uid_of(pod)}_{image}"


def _go_milliseconds(seconds: float) -> str:
    """A time.Duration cut to milliseconds: "215ms", "1.304s", "1m2.5s"."""
    millis = int(seconds * 1000)
    if millis < 1000:
        return f"{millis}ms" if millis else "0s"
    minutes, rest = divmod(millis, 60_000)
    shown = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{minutes}m{shown}" if minutes else shown
