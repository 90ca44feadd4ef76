"""One call to a cluster: with a credential, in its turn, repeated while that is safe and patience lasts.

Ends as an answer or an error, and says whether an earlier attempt may have taken effect; what that means for a verb
is client.py's business.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from podbay.aio.clock import Clock
from podbay.errors import ApiError, CredentialError, PodbayError, UnreachableError
from podbay.kube import retry
from podbay.kube.auth import Issued
from podbay.kube.config import ClusterConfig
from podbay.kube.counter import RequestCounter
from podbay.kube.credentials import Credentials
from podbay.kube.limits import Gate
from podbay.kube.messages import HttpAnswer, HttpRequest, api_error
from podbay.kube.retry import Patience, Verb
from podbay.kube.transport import HttpSocket, HttpStream, Transport

__all__ = ["ANSWER_SECONDS", "Call", "Result", "Sender"]

ANSWER_SECONDS = 65.0
"""kube-apiserver ends requests after 60 s itself; admission webhooks may take 30 of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request and what may be done with it."""

    verb: Verb
    request: HttpRequest
    namespace: str | None = None
    name: str | None = None
    repeatable: bool = True
    limited: bool = True
    """429 is the cluster's plea for mercy; for an eviction it is the answer."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a call ended, and whether an earlier attempt of it may have taken effect."""

    answer: HttpAnswer | None
    error: PodbayError | None
    doubt: bool

    def json(self) -> Any:
        if self.error is not None:
            self.error.after_doubt = self.doubt
            raise self.error
        assert self.answer is not None
        return self.answer.json()

    def failed_with(self, code: int) -> bool:
        return isinstance(self.error, ApiError) and self.error.code == code


class Sender:
    """Use with `async with`."""

    def __init__(
        self, config: ClusterConfig, clock: Clock, rng: random.Random, *, agent: str, patience: Patience
    ) -> None:
        self.counter = RequestCounter()
        self.credentials = Credentials(config, clock)
        self.gate = Gate(clock, rng)
        self._clock = clock
        self._rng = rng
        self._transport = Transport(config, agent=agent)
        self._patience = patience
        self.answered = False

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._transport.__aexit__(exc_type, exc, traceback)

    @asynccontextmanager
    async def open(
        self, call: Call, *, answer_seconds: float | None, silence_seconds: float | None
    ) -> AsyncIterator[HttpStream]:
        """A stream whose status is a success. Tried twice when the credential had become stale, else once."""
        retried = False
        while True:
            issued = await self.credentials.current()
            await self.gate.wait_out_pause()
            self.counter.count(call.verb, call.namespace, call.name)
            async with self._transport.stream(
                call.request, issued, answer_seconds=answer_seconds, silence_seconds=silence_seconds
            ) as stream:
                self.answered = True
                if stream.status < 300:
                    self._succeeded(issued)
                    yield stream
                    return
                error = api_error(stream.status, stream.headers, await stream.body())
            if error.code == 401 and not retried and self.credentials.refused(issued):
                retried = True
                continue
            self._note_overload(call, error)
            raise error

    @asynccontextmanager
    async def connect(self, call: Call, *, protocols: tuple[str, ...]) -> AsyncIterator[HttpSocket]:
        """A WebSocket. Tried twice when the credential had become stale, else once."""
        retried = False
        while True:
            issued = await self.credentials.current()
            await self.gate.wait_out_pause()
            self.counter.count(call.verb, call.namespace, call.name)
            async with AsyncExitStack() as stack:
                opening = self._transport.websocket(call.request.path, issued, protocols=protocols)
                try:
                    socket = await stack.enter_async_context(opening)
                except ApiError as error:
                    self.answered = True
                    if error.code == 401 and not retried and self.credentials.refused(issued):
                        retried = True
                        continue
                    raise
                self._succeeded(issued)
                yield socket
                return

    async def send(self, call: Call) -> Result:
        """Until it succeeds, cannot succeed, or patience ends."""
        started = self._clock.monotonic()
        failures = 0
        doubt = renewed = False
        while True:
            try:
                issued = await self.credentials.current()
            except CredentialError as err:
                return Result(None, err, doubt)
            try:
                answer = await self._attempt(call, issued)
                return Result(answer, None, doubt)
            except CredentialError as err:
                # A certificate that cannot be read; nothing was sent this time.
                return Result(None, err, doubt)
            except (ApiError, UnreachableError) as err:
                error: ApiError | UnreachableError = err
            if isinstance(error, ApiError) and error.code == 401 and not renewed:
                renewed = True
                if self.credentials.refused(issued):
                    continue
            failures += 1
            delay = retry.delay_before_retry(
                error,
                repeatable=call.repeatable,
                failures=failures,
                elapsed=self._clock.monotonic() - started,
                patience=self._patience,
                answered_before=self.answered,
                jitter=self._rng.random(),
            )
            if delay is None or (not call.limited and retry.is_overload(error)):
                return Result(None, error, doubt)
            doubt = doubt or retry.in_doubt(error)
            await self._clock.sleep(delay)

    async def _attempt(self, call: Call, issued: Issued) -> HttpAnswer:
        async with self.gate.turn():
            self.counter.count(call.verb, call.namespace, call.name)
            answer = await self._transport.exchange(call.request, issued, seconds=ANSWER_SECONDS)
        self.answered = True
        if answer.status < 300:
            self._succeeded(issued)
            return answer
        error = api_error(answer.status, answer.headers, answer.body)
        self._note_overload(call, error)
        raise error

    def _succeeded(self, issued: Issued) -> None:
        self.gate.succeeded()
        self.credentials.accepted(issued)

    def _note_overload(self, call: Call, error: ApiError) -> None:
        if call.limited and retry.is_overload(error):
            self.gate.overloaded(error.retry_after_seconds)
