"""The verbs of the Kubernetes API against any cluster: `objects.api.ClusterApi` over HTTP, and the logs of containers.

Every request carries a credential, waits for its turn (limits.py), is repeated when that is safe (retry.py) and comes
back as plain JSON or as one error of podbay.errors. A write whose answer was lost is recognised when it had taken
effect: create finds its own object, delete finds nothing, a patch or update by version finds its own change.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import orjson

from podbay.aio.clock import Clock
from podbay.errors import ApiError, PodbayError, UnreachableError
from podbay.kube import retry
from podbay.kube.attachment import PROTOCOLS
from podbay.kube.config import ClusterConfig
from podbay.kube.counter import RequestCounter
from podbay.kube.credentials import Credentials
from podbay.kube.limits import Gate
from podbay.kube.messages import HttpRequest, patch_content_type, url_path
from podbay.kube.retry import Patience
from podbay.kube.sending import ANSWER_SECONDS, Call, Sender
from podbay.kube.transport import HttpSocket, HttpStream
from podbay.objects.api import ClusterApi, ObjectList, PatchType, WatchEvent
from podbay.objects.meta import Object, name_of
from podbay.objects.resource import GVR

__all__ = ["KubeClient"]

PODS = GVR("", "v1", "pods")
PAGE = 500
"""Objects of one list answer (client-go: defaultPageSize); bounds the memory of both sides."""
METADATA = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
SILENCE_SECONDS = 75.0
"""A watch without a byte is dead then: bookmarks come about once a minute."""
WATCH_SECONDS = 900
"""A watch is asked to end after 1 to 2 times this, so that connections spread over the API servers again."""
LINE_LIMIT = 64 << 20
"""Bytes of one watch event; objects are limited to 1.5 MiB by etcd, so this is a broken stream."""


class KubeClient:
    """One cluster, one identity. Use with `async with`; shared by everything in a process (lease.py)."""

    def __init__(
        self,
        config: ClusterConfig,
        clock: Clock,
        *,
        rng: random.Random | None = None,
        agent: str = "podbay",
        patience: Patience | None = None,
    ) -> None:
        self.config = config
        # Jitter only; nothing secret or decisive comes of it.
        self._rng = rng or random.Random()
        self._sender = Sender(config, clock, self._rng, agent=agent, patience=patience or Patience())

    async def __aenter__(self) -> Self:
        await self._sender.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._sender.__aexit__(exc_type, exc, traceback)

    @property
    def counter(self) -> RequestCounter:
        """What every object has cost so far."""
        return self._sender.counter

    @property
    def credentials(self) -> Credentials:
        return self._sender.credentials

    @property
    def answered(self) -> bool:
        """The cluster has answered some request."""
        return self._sender.answered

    @property
    def gate(self) -> Gate:
        return self._sender.gate

    async def version(self) -> tuple[Object, str]:
        """What the server says of its version, and the `Date` that came with the answer ("" if none did)."""
        result = await self._sender.send(Call(verb="get", request=_request("GET", "/version")))
        body = _object(result.json())
        return body, result.answer.headers.get("date", "") if result.answer is not None else ""

    async def get(
        self, resource: GVR, name: str, *, namespace: str | None = None, subresource: str | None = None
    ) -> Object:
        path = url_path(resource, namespace=namespace, name=name, subresource=subresource)
        call = Call(verb="get", request=_request("GET", path), namespace=namespace, name=name)
        return _object((await self._sender.send(call)).json())

    async def list(
        self,
        resource: GVR,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
    ) -> ObjectList:
        """All pages; starts again when the cluster has forgotten where a page ended (410).

        metadata_only asks for nothing but `metadata` of each, as for Secrets whose values nobody needs.
        """
        selection = {"labelSelector": label_selector, "fieldSelector": field_selector}
        accept = METADATA if metadata_only else None
        restarts = 0
        while True:
            try:
                return await self._list_pages(
                    resource, namespace, selection, limit=PAGE if restarts < 2 else 0, accept=accept
                )
            except ApiError as err:
                if err.code != 410 or restarts >= 2:
                    raise
                restarts += 1

    async def _list_pages(
        self,
        resource: GVR,
        namespace: str | None,
        selection: Mapping[str, str],
        *,
        limit: int,
        accept: Mapping[str, str] | None,
    ) -> ObjectList:
        items: list[Object] = []
        token = ""
        while True:
            query = {**selection, "limit": str(limit) if limit else "", "continue": token}
            path = url_path(resource, namespace=namespace, query=query)
            call = Call(verb="list", request=_request("GET", path, headers=accept), namespace=namespace)
            page = _object((await self._sender.send(call)).json())
            items += _items(page)
            metadata = page.get("metadata") or {}
            token = metadata.get("continue") or ""
            if not token:
                return ObjectList(items, str(metadata.get("resourceVersion") or ""))

    async def create(
        self,
        resource: GVR,
        obj: Object,
        *,
        namespace: str | None = None,
        name: str | None = None,
        subresource: str | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Create; after a lost answer an object of the same name is given back only if it is the one sent."""
        query = {"dryRun": "All" if dry_run else ""}
        path = url_path(resource, namespace=namespace, name=name, subresource=subresource, query=query)
        call = Call(
            verb="create",
            request=_request("POST", path, obj),
            namespace=namespace,
            name=name or name_of(obj),
            # With generateName every attempt would make another object.
            repeatable=bool(name_of(obj)) and subresource is None,
            limited=subresource != "eviction",
        )
        result = await self._sender.send(call)
        if result.doubt and result.failed_with(409) and subresource is None:
            found = await self._look(resource, name_of(obj), namespace)
            if found is not None and retry.same_identity(obj, found):
                return found
        return _object(result.json())

    async def update(
        self, resource: GVR, obj: Object, *, namespace: str | None = None, subresource: str | None = None
    ) -> Object:
        name = name_of(obj)
        path = url_path(resource, namespace=namespace, name=name, subresource=subresource)
        call = Call(verb="update", request=_request("PUT", path, obj), namespace=namespace, name=name)
        result = await self._sender.send(call)
        if result.doubt and result.failed_with(409):
            found = await self._look(resource, name, namespace)
            if found is not None and retry.carries(found, retry.without_version(obj)):
                return found
        return _object(result.json())

    async def patch(
        self,
        resource: GVR,
        name: str,
        patch: Any,
        *,
        namespace: str | None = None,
        subresource: str | None = None,
        patch_type: PatchType = "merge",
        field_manager: str | None = None,
        force: bool = False,
    ) -> Object:
        """Patch; a JSON patch is repeated in doubt only when it tests /metadata/resourceVersion."""
        query = {"fieldManager": field_manager, "force": "true" if force else None}
        path = url_path(resource, namespace=namespace, name=name, subresource=subresource, query=query)
        headers = {"Content-Type": patch_content_type(patch_type)}
        call = Call(
            verb="patch",
            request=_request("PATCH", path, patch, headers),
            namespace=namespace,
            name=name,
            repeatable=retry.is_repeatable_patch(patch_type, patch),
        )
        result = await self._sender.send(call)
        if result.doubt and result.failed_with(409) and isinstance(patch, Mapping):
            found = await self._look(resource, name, namespace)
            if found is not None and retry.carries(found, retry.without_version(dict(patch))):
                return found
        return _object(result.json())

    async def delete(
        self,
        resource: GVR,
        name: str,
        *,
        namespace: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Object:
        """Delete; after a lost answer, "not there" and "another uid is there" mean that it is done."""
        path = url_path(resource, namespace=namespace, name=name)
        body = dict(options) if options else None
        call = Call(verb="delete", request=_request("DELETE", path, body), namespace=namespace, name=name)
        result = await self._sender.send(call)
        has_uid = bool(((options or {}).get("preconditions") or {}).get("uid"))
        if result.doubt and (result.failed_with(404) or (has_uid and result.failed_with(409))):
            return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return _object(result.json())

    async def _look(self, resource: GVR, name: str, namespace: str | None) -> Object | None:
        """What a request in doubt may have made; an error says that the doubt remains."""
        try:
            return await self.get(resource, name, namespace=namespace)
        except PodbayError as err:
            if isinstance(err, ApiError) and err.code == 404:
                return None
            err.after_doubt = True
            raise

    async def watch(
        self,
        resource: GVR,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str | None = None,
        initial_events: bool = False,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Changes until the server ends the stream. Raises UnreachableError when it breaks or falls silent.

        initial_events asks for the present state first (WatchList); a bookmark marks its end.
        """
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "resourceVersion": resource_version,
            "timeoutSeconds": str(int(WATCH_SECONDS * (1 + self._rng.random()))),
            "sendInitialEvents": "true" if initial_events else None,
            "resourceVersionMatch": "NotOlderThan" if initial_events else None,
        }
        request = _request("GET", url_path(resource, namespace=namespace, query=query))
        call = Call(verb="watch", request=request, namespace=namespace)
        async with (
            self._sender.open(call, answer_seconds=ANSWER_SECONDS, silence_seconds=SILENCE_SECONDS) as stream,
            aclosing(stream.chunks()) as chunks,
        ):
            rest = b""
            async for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield _event(line)
                if len(rest) > LINE_LIMIT:
                    raise UnreachableError(
                        "broken", "a watch event of more than 64 MiB: the stream is damaged"
                    )

    def logs(
        self,
        namespace: str,
        pod: str,
        *,
        container: str,
        follow: bool = False,
        previous: bool = False,
        timestamps: bool = True,
        since: datetime | None = None,
        tail_lines: int | None = None,
        limit_bytes: int | None = None,
    ) -> AbstractAsyncContextManager[HttpStream]:
        """The log of a container as a stream of bytes. since has whole seconds on the wire. Not repeated here."""
        query = {
            "container": container,
            "follow": "true" if follow else None,
            "previous": "true" if previous else None,
            "timestamps": "true" if timestamps else None,
            "sinceTime": since.strftime("%Y-%m-%dT%H:%M:%SZ") if since is not None else None,
            "tailLines": None if tail_lines is None else str(tail_lines),
            "limitBytes": None if limit_bytes is None else str(limit_bytes),
        }
        path = url_path(PODS, namespace=namespace, name=pod, subresource="log", query=query)
        # What is compressed arrives in blocks; a line must arrive when it was written.
        headers = {"Accept-Encoding": "identity", "Accept": "*/*"}
        call = Call(verb="log", request=_request("GET", path, headers=headers), namespace=namespace, name=pod)
        # A container may be silent for days; what is there already comes at once, or the connection is dead. While
        # the reader is behind, nothing is read and no silence counted.
        silence = None if follow else ANSWER_SECONDS
        return self._sender.open(call, answer_seconds=None, silence_seconds=silence)

    def attach(
        self, namespace: str, pod: str, *, container: str, tty: bool
    ) -> AbstractAsyncContextManager[HttpSocket]:
        """Input and output of a running container that has an open stdin, as channels (attachment.py)."""
        streams = ("stdin", "stdout") if tty else ("stdin", "stdout", "stderr")
        query = {"container": container, "tty": "true" if tty else None} | dict.fromkeys(streams, "true")
        path = url_path(PODS, namespace=namespace, name=pod, subresource="attach", query=query)
        call = Call(verb="attach", request=_request("GET", path), namespace=namespace, name=pod)
        return self._sender.connect(call, protocols=PROTOCOLS)


def _request(
    method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> HttpRequest:
    sent = {"Accept": "application/json", **(headers or {})}
    if body is None:
        return HttpRequest(method=method, path=path, headers=sent)
    sent.setdefault("Content-Type", "application/json")
    return HttpRequest(method=method, path=path, headers=sent, body=orjson.dumps(body))


def _object(data: Any) -> Object:
    if not isinstance(data, dict):
        raise ApiError(502, "BadGateway", "the answer is JSON but no Kubernetes object")
    return data


def _items(page: Object) -> list[Object]:
    """Items of a list leave out what the list says of all of them."""
    kind = str(page.get("kind") or "").removesuffix("List")
    version = page.get("apiVersion")
    items: list[Object] = page.get("items") or []
    for item in items:
        if kind and "kind" not in item:
            item["kind"] = kind
            item["apiVersion"] = version
    return items


def _event(line: bytes) -> WatchEvent:
    try:
        data = orjson.loads(line)
        return WatchEvent(str(data["type"]), data["object"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise UnreachableError("broken", "a watch event that is not JSON: the stream is damaged") from None


if TYPE_CHECKING:

    def _answers(client: KubeClient) -> ClusterApi:
        """Checked by mypy: the client can stand wherever the protocol is asked for."""
        return client
