"""One API server, assembled: store, kinds, admission, identities, dispatcher, HTTP.

The only place where the parts are chosen and put together; each part knows its neighbours by contract only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from aiohttp import web

from podbay.aio.clock import Clock, SystemClock
from podbay.apiserver.admission.chain import AdmissionChain, default_plugins
from podbay.apiserver.admission.policies import ValidatingAdmissionPolicy
from podbay.apiserver.auth.authenticate import Authenticator
from podbay.apiserver.auth.authorize import Authorizer
from podbay.apiserver.auth.jwt import SigningKey, VerificationKey
from podbay.apiserver.auth.tokens import TokenIssuer, TokenVerifier, bound_object_reader
from podbay.apiserver.core import Core, StoreReader, name_suffix, new_uid
from podbay.apiserver.dispatch import Dispatcher
from podbay.apiserver.faults.api import EXPIRE_TOKENS_PATH, FAULTS_PATH, FaultApi
from podbay.apiserver.faults.gate import FaultGate
from podbay.apiserver.http import Extension, HttpServer, read_body
from podbay.apiserver.kinds import all_resource_types
from podbay.apiserver.local import LocalApi
from podbay.apiserver.metrics import Metrics
from podbay.apiserver.openapi import OpenApi
from podbay.apiserver.ownership import Ownership
from podbay.apiserver.plain import PlainPaths
from podbay.apiserver.registry import Registry
from podbay.apiserver.request import Request, User
from podbay.apiserver.result import PlainResult
from podbay.apiserver.schema.types import Schema
from podbay.apiserver.storage import Store
from podbay.apiserver.token_webhook import TokenWebhook, WebhookTokens
from podbay.apiserver.wire import serve_stream
from podbay.errors import StateError

__all__ = ["ApiServer", "ServerOptions", "serve"]

logger = logging.getLogger(__name__)

COMPACT_SECONDS = 60.0
"""How often history that has passed its age is forgotten."""
SYSTEM = User("system:apiserver", groups=("system:masters", "system:authenticated"))


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """What a server needs from outside. Secrets stay out of its repr.

    state None keeps everything in memory; tls None serves plain HTTP (tests and benchmarks only).
    static_tokens maps bearer tokens to users; token_webhook judges tokens of others.
    """

    state: Path | None
    host: str = "127.0.0.1"
    port: int = 0
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    signing_key: SigningKey = field(repr=False)
    verification_keys: Mapping[str, VerificationKey] = field(repr=False)
    static_tokens: Mapping[str, User] = field(default_factory=dict, repr=False)
    token_webhook: TokenWebhook | None = None
    clock: Clock = field(default_factory=SystemClock)


class ApiServer:
    """A running server: its address, and in-process clients of it."""

    def __init__(self, core: Core, dispatcher: Dispatcher) -> None:
        self.core = core
        self.dispatcher = dispatcher
        self.host = ""
        self.port = 0
        self.secure = True
        self.ready = False
        """Set by the cluster once controllers and nodes are up; /readyz reports it."""
        self.faults = FaultGate()
        self.extensions: list[Extension] = []
        """More paths under /podbay.dev/, added by whoever runs the server (image archives, node faults)."""

    async def extend(self, raw: web.BaseRequest, request: Request) -> web.StreamResponse | PlainResult | None:
        """Ask the added extensions in turn."""
        for extension in self.extensions:
            answer = await extension(raw, request)
            if answer is not None:
                return answer
        return None

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}"

    def api(self, user: User = SYSTEM, *, agent: str = "podbay") -> LocalApi:
        """The API as `user`, without a socket. agent becomes the field manager of what it writes."""
        return LocalApi(self.core, self.dispatcher, user, agent=agent)


def build_core(store: Store, options: ServerOptions) -> Core:
    """All parts around an open store."""
    schema = Schema.load()
    registry = Registry(all_resource_types())
    reader = StoreReader(store, registry)
    verifier = TokenVerifier(
        keys=options.verification_keys, clock=options.clock, read=bound_object_reader(reader)
    )
    authorizer = Authorizer(reader)
    policies = ValidatingAdmissionPolicy(registry, authorizer)
    webhook = WebhookTokens(options.token_webhook, options.clock) if options.token_webhook else None
    return Core(
        store=store,
        registry=registry,
        schema=schema,
        clock=options.clock,
        reader=reader,
        admission=AdmissionChain(default_plugins(suffix=name_suffix, before_quota=(policies,))),
        field_manager=Ownership(schema),
        authorizer=authorizer,
        authenticator=Authenticator(
            tokens=verifier,
            static_tokens=options.static_tokens,
            elsewhere=webhook.check if webhook is not None else None,
        ),
        token_issuer=TokenIssuer(options.signing_key, options.clock, new_uid),
    )


@asynccontextmanager
async def serve(options: ServerOptions) -> AsyncIterator[ApiServer]:
    """Open the store, listen, and yield the server; everything is closed at the end of the block."""
    with Store.open(options.state, clock=options.clock) as store:
        core = build_core(store, options)
        metrics = Metrics()
        server = ApiServer(core, Dispatcher(core, lambda _request: None))
        plain = PlainPaths(
            core,
            openapi=OpenApi(core.schema, core.registry),
            metrics=metrics,
            keys=options.verification_keys,
            ready=lambda: server.ready,
        )
        server.dispatcher = Dispatcher(core, plain)
        http = HttpServer(
            core,
            server.dispatcher,
            host=options.host,
            port=options.port,
            tls=options.tls,
            streams=partial(serve_stream, core),
            metrics=metrics,
            faults=server.faults,
            extensions=(_fault_extension(core, server.faults), server.extend),
        )
        async with http:
            server.host, server.port, server.secure = options.host, http.port, options.tls is not None
            compaction = asyncio.create_task(_compact(store, options.clock), name="apiserver/compaction")
            try:
                yield server
            finally:
                compaction.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await compaction


def _fault_extension(core: Core, gate: FaultGate) -> Extension:
    api = FaultApi(gate)

    async def serve_faults(raw: web.BaseRequest, request: Request) -> PlainResult | None:
        if not request.path.startswith(FAULTS_PATH):
            return None
        request.body = await read_body(raw)
        if request.method == "POST" and request.path == EXPIRE_TOKENS_PATH:
            now = core.now().timestamp()
            core.authenticator.expire_tokens(now)
            # Issue times are whole seconds; whoever asks for a token after this answer gets a good one.
            await core.clock.sleep(int(now) + 1 - now)
            return PlainResult(b"{}\n", content_type="application/json")
        return api(request)

    return serve_faults


async def _compact(store: Store, clock: Clock) -> None:
    while True:
        await clock.sleep(COMPACT_SECONDS)
        try:
            store.compact()
        except StateError as err:
            # A disk that is full now has room later: history waits for the next time.
            logger.warning("history is kept for now: %s", err)
