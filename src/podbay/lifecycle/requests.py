"""The requests of one pod's run: each answers with an event for the machine, whatever the cluster does.

A run costs one create, one log stream and its confirmation, one delete or one patch; one more read for a result of more
than 3 KiB; events and nodes only for a pod that has failed and for some of those that hang. Nothing is asked again
because time passes (P6).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from podbay.aio.backoff import Backoff
from podbay.aio.clock import Clock
from podbay.errors import ApiError, CredentialError, PodbayError, UnreachableError
from podbay.kube.client import PODS, KubeClient
from podbay.kube.looks import NODES, Looks
from podbay.kube.retry import in_doubt
from podbay.lifecycle import state as s
from podbay.lifecycle.diagnosis.diagnose import diagnose
from podbay.lifecycle.diagnosis.model import Facts
from podbay.lifecycle.hold import HELD_UNTIL, hold_annotations
from podbay.objects.meta import Object, name_of, namespace_of, uid_of
from podbay.objects.resource import GVR
from podbay.pods.identity import ALREADY_CHECKED_LABEL, identity_of
from podbay.pods.result import ResultReading, read_frame
from podbay.pods.sidecar import SIDECAR_NAME

__all__ = ["PodRequests"]

EVENTS = GVR("", "v1", "events")

CLEANUP_SECONDS = 300.0
"""How long a deletion is tried; after that the pod is the healer's."""
RESULT_SECONDS = 180.0
"""How long the sidecar's log is asked for; a control plane that is updated is away for a minute or two."""
FORBIDDEN_SECONDS = 60.0
BAD_RESULT_SECONDS = 10.0
"""How long a log without a whole result in it is asked for again."""
RESULT_BYTES = 64 << 20
"""More than any sidecar of ours prints."""
_DELAYS = Backoff(initial=0.2, maximum=5.0)
_RESULT_DELAYS = Backoff(initial=0.1, maximum=1.0)
"""Whoever removes the pod now takes its result away."""


class PodRequests:
    """Of one pod name. Never raises what the cluster says; the machine decides what it means."""

    def __init__(self, client: KubeClient, clock: Clock, container: str, looks: Looks) -> None:
        self._client = client
        self._looks = looks
        self._clock = clock
        self._container = container

    async def create(self, manifest: Object) -> s.Event:
        namespace, name = namespace_of(manifest), name_of(manifest)
        now = self._clock.monotonic
        try:
            return s.Created(now(), await self._client.create(PODS, manifest, namespace=namespace))
        except (ApiError, UnreachableError, CredentialError) as err:
            error: PodbayError = err
        taken = isinstance(error, ApiError) and error.reason == "AlreadyExists"
        if taken:
            try:
                there = await self._client.get(PODS, name, namespace=namespace)
                return s.Taken(now(), there, ours=_is_same_try(manifest, there))
            except (ApiError, UnreachableError, CredentialError) as err:
                # Gone again, or nobody can say; the next create will tell.
                error, taken = err, not (isinstance(err, ApiError) and err.code == 404)
        doubt = taken or in_doubt(error) or error.after_doubt
        found = diagnose(Facts(pod=manifest, container=self._container, error=error))
        return s.Refused(now(), error, found, doubt=doubt)

    async def look(self, namespace: str, name: str) -> Object | None:
        """The pod of that name, None when there is none; waits as long as nobody can say.

        None as well when we may not look for a minute: what nobody lets us see, nobody lets us end.
        """
        started, failures = self._clock.monotonic(), 0
        while True:
            try:
                return await self._client.get(PODS, name, namespace=namespace)
            except ApiError as err:
                forbidden = err.code == 403 and self._clock.monotonic() - started > FORBIDDEN_SECONDS
                if err.code == 404 or forbidden:
                    return None
            except (UnreachableError, CredentialError):
                pass
            failures += 1
            await self._clock.sleep(_DELAYS.delay(failures - 1))

    async def delete(self, namespace: str, name: str, uid: str, *, grace: float | None = None) -> s.Event:
        """Accepted, or not there (any more), or refused for good."""
        options: dict[str, object] = {"preconditions": {"uid": uid}}
        if grace is not None:
            options["gracePeriodSeconds"] = int(grace)
        started, failures = self._clock.monotonic(), 0
        while True:
            try:
                await self._client.delete(PODS, name, namespace=namespace, options=options)
                return s.Cleaned(self._clock.monotonic())
            except (ApiError, UnreachableError, CredentialError) as err:
                error: PodbayError = err
            if isinstance(error, ApiError) and error.code in (404, 409):
                return s.Cleaned(self._clock.monotonic())
            failures += 1
            if self._clock.monotonic() - started > CLEANUP_SECONDS or _is_refused(error):
                return s.Cleaned(self._clock.monotonic(), error)
            await self._clock.sleep(_DELAYS.delay(failures - 1))

    async def withdraw(self, namespace: str, name: str, uid: str, version: str) -> s.Event:
        """Delete it if it is still as it was; whoever has changed it meanwhile, as the scheduler does, wins."""
        options = {"preconditions": {"uid": uid, "resourceVersion": version}}
        started, failures, doubt = self._clock.monotonic(), 0, False
        while True:
            try:
                await self._client.delete(PODS, name, namespace=namespace, options=options)
                return s.Withdrawn(self._clock.monotonic(), True)
            except (ApiError, UnreachableError, CredentialError) as err:
                error: PodbayError = err
            doubt = doubt or error.after_doubt
            if isinstance(error, ApiError) and error.code == 404:
                # Not there any more: by an earlier try of this very request, if one may have arrived.
                return s.Withdrawn(self._clock.monotonic(), doubt)
            if isinstance(error, ApiError) and error.code == 409:
                return s.Withdrawn(self._clock.monotonic(), False)
            doubt = doubt or in_doubt(error)
            failures += 1
            if self._clock.monotonic() - started > CLEANUP_SECONDS or _is_refused(error):
                return s.Withdrawn(self._clock.monotonic(), False)
            await self._clock.sleep(_DELAYS.delay(failures - 1))

    async def mark(self, namespace: str, name: str, uid: str, hold: float | None) -> s.Event:
        """Label a kept pod as processed (spec 20), and say until when it is held."""
        patch: dict[str, Any] = {"uid": uid, "labels": {ALREADY_CHECKED_LABEL: "True"}}
        marks = {} if hold is None else hold_annotations(self._clock.now(), hold)
        if marks:
            patch["annotations"] = marks
        try:
            await self._client.patch(PODS, name, {"metadata": patch}, namespace=namespace)
        except (ApiError, UnreachableError, CredentialError) as err:
            return s.Cleaned(self._clock.monotonic(), err)
        return s.Cleaned(self._clock.monotonic(), held_until=marks.get(HELD_UNTIL, ""))

    async def explain(self, pod: Object, *, needed: bool = True) -> s.Event:
        """Events about the pod, and its node or, for one without a node, all nodes. What cannot be read is left out.

        What nobody needs is asked for by few pods at a time (kube/looks.py).
        """
        node = (pod.get("spec") or {}).get("nodeName")
        wanted = needed or self._looks.take()
        events: Sequence[Object] | None = ()
        nodes: Sequence[Object] = ()
        if wanted:
            events = await self._list(EVENTS, namespace_of(pod), f"involvedObject.uid={uid_of(pod)}")
        if wanted and node:
            nodes = await self._list(NODES, None, f"metadata.name={node}") or ()
        elif not node:
            with contextlib.suppress(ApiError, UnreachableError, CredentialError):
                nodes = await self._looks.nodes()
        now = self._clock.monotonic()
        return s.Explained(now, events or (), nodes, skipped=not wanted, unread=events is None)

    async def _list(self, resource: GVR, namespace: str | None, selector: str) -> Sequence[Object] | None:
        try:
            return (await self._client.list(resource, namespace=namespace, field_selector=selector)).items
        except (ApiError, UnreachableError, CredentialError):
            return None

    async def result(self, namespace: str, name: str, *, patient: bool = True) -> s.Event:
        """The result as the sidecar's log has it."""
        started, failures = self._clock.monotonic(), 0
        while True:
            reading = await self._read_result(namespace, name)
            waited = self._clock.monotonic() - started
            # A stream that ends properly in the middle of a frame may have lost its node; the next one tells.
            whole = reading is not None and reading.state not in ("missing", "damaged")
            silent = reading is not None and reading.state == "missing" and not patient
            if reading is not None and (whole or silent or waited > BAD_RESULT_SECONDS):
                return s.ResultRead(self._clock.monotonic(), reading)
            if waited > RESULT_SECONDS:
                return s.ResultRead(self._clock.monotonic(), ResultReading("missing"))
            failures += 1
            await self._clock.sleep(_RESULT_DELAYS.delay(failures - 1))

    async def _read_result(self, namespace: str, name: str) -> ResultReading | None:
        """None: it could not be read now."""
        content = bytearray()
        try:
            async with (
                self._client.logs(namespace, name, container=SIDECAR_NAME, timestamps=False) as stream,
                aclosing(stream.chunks()) as chunks,
            ):
                async for chunk in chunks:
                    content += chunk
                    if len(content) > RESULT_BYTES:
                        return ResultReading("too_large", size=len(content), limit=RESULT_BYTES)
        except ApiError as err:
            return ResultReading("missing") if err.code in (403, 404) else None
        except (UnreachableError, CredentialError):
            return None
        return read_frame(bytes(content))


def _is_same_try(sent: Object, there: Object) -> bool:
    """The pod that has our name was made for the same task try, the same incarnation of it."""
    wanted = identity_of(sent)
    return wanted is not None and wanted == identity_of(there)


def _is_refused(error: PodbayError) -> bool:
    return isinstance(error, ApiError) and error.code in (400, 403, 405, 422)
