"""AWS for these tests: moto's server, and in front of it what moto lacks.

In front: the signatures of presigned requests (iam_tokens.py), access entries (access_entries.py), address and authority
of the clusters that stand in for EKS's, and the webhook by which such a cluster judges tokens. Whatever else is asked goes
to moto unchanged. Each operation is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import boto3
import yaml
from access_entries import AccessEntries, AnswerError
from aiohttp import web
from iam_tokens import ACCOUNT, RefusedError, caller, role_of, url_of
from moto.server import ThreadedMotoServer
from yarl import URL

from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.nodes import NodeFactory, one_scripted_node
from podbay.testing import Environment
from podbay.testing.requests import Requests

REGION = "us-east-1"
_CREDENTIAL = re.compile(r"Credential=[^/]+/[^/]+/([^/]+)/([^/]+)/")
_CLUSTER = re.compile(r"/clusters/([^/]+)(/access-entries.*)?")


@dataclass(frozen=True)
class Keys:
    access_key: str
    secret_key: str

    def environment(self, address: str) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }


@dataclass
class EksCluster:
    """An embedded cluster that EKS says is its own."""

    name: str
    arn: str
    environment: Environment
    entries: AccessEntries
    document: dict[str, Any]
    described: dict[str, Any]
    """What DescribeCluster adds to moto's words, or has in their place."""

    @property
    def requests(self) -> Requests:
        return Requests(self.environment.kubeconfig)


class AwsStandIn:
    """Use `AwsStandIn.started()`."""

    def __init__(self, moto: str) -> None:
        self.moto = moto
        self.address = ""
        self.counts: Counter[str] = Counter()
        """By operation, as sts:AssumeRole."""
        self.clusters: dict[str, EksCluster] = {}
        self.pod_identity: dict[str, str] = {}
        """Answers of the container credentials' endpoint by its token; see `container_credentials`."""
        self._keys: dict[str, Keys] = {}
        self.revoked: set[str] = set()
        """Tokens that no cluster takes any more."""
        self.seen: set[str] = set()
        self.down = False
        """Whether connections are cut without an answer."""

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[AwsStandIn]:
        moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        moto.start()
        host, port = moto.get_host_and_port()
        found = cls(f"http://{host}:{port}")
        started, holder = threading.Event(), {}

        async def live() -> None:
            stop = holder["stop"] = asyncio.Event()
            holder["loop"] = asyncio.get_running_loop()
            async with found._listening():
                started.set()
                await stop.wait()

        thread = threading.Thread(target=lambda: asyncio.run(live()), name="aws", daemon=True)
        thread.start()
        assert started.wait(60)
        try:
            yield found
        finally:
            holder["loop"].call_soon_threadsafe(holder["stop"].set)
            thread.join()
            moto.stop()

    # -- what tests make

    def client(self, service: str) -> Any:
        """As the account's owner, straight to moto."""
        return boto3.client(
            service,
            endpoint_url=self.moto,
            region_name=REGION,
            aws_access_key_id="owner",
            aws_secret_access_key="owner",
        )

    def user(self, name: str, *actions: str) -> Keys:
        """A user who may do these things, and his keys."""
        iam = self.client("iam")
        with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
            iam.create_user(UserName=name)
        policy = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": list(actions) or ["*"], "Resource": "*"}],
        }
        iam.put_user_policy(UserName=name, PolicyName="may", PolicyDocument=json.dumps(policy))
        if name not in self._keys:
            made = iam.create_access_key(UserName=name)["AccessKey"]
            self._keys[name] = Keys(made["AccessKeyId"], made["SecretAccessKey"])
        return self._keys[name]

    def role(self, name: str, trust: dict[str, Any] | None = None) -> str:
        """A role's ARN; without `trust` everybody of the account may assume it."""
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
            "Action": "sts:AssumeRole",
        }
        policy = trust or {"Version": "2012-10-17", "Statement": [statement]}
        iam = self.client("iam")
        with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
            iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(policy))
        return f"arn:aws:iam::{ACCOUNT}:role/{name}"

    @contextmanager
    def authorising(self) -> Iterator[None]:
        """moto checks signatures and policies meanwhile, as AWS does."""
        import requests

        requests.post(f"{self.moto}/moto-api/reset-auth", data=b"0", timeout=30)
        try:
            yield
        finally:
            requests.post(f"{self.moto}/moto-api/reset-auth", data=b"inf", timeout=30)

    @contextmanager
    def cluster(
        self,
        name: str,
        directory: Path,
        *,
        namespaces: tuple[str, ...] = ("airflow-kpo",),
        nodes: tuple[NodeFactory, ...] | None = None,
        forgetful: bool = False,
    ) -> Iterator[EksCluster]:
        """A cluster of this name in EKS; it judges tokens as EKS does."""
        hook = directory / f"{name}-webhook.yaml"
        kubeconfig = {
            "clusters": [{"name": "w", "cluster": {"server": f"{self.address}/authenticate/{name}"}}],
            "contexts": [{"name": "w", "context": {"cluster": "w"}}],
            "current-context": "w",
        }
        hook.write_text(yaml.safe_dump(kubeconfig))
        made = self.client("eks").create_cluster(
            name=name, roleArn=self.role("eks-cluster"), resourcesVpcConfig={"subnetIds": ["subnet-a"]}
        )["cluster"]
        options = ClusterOptions(
            name=name,
            nodes=nodes if nodes is not None else one_scripted_node(),
            token_webhook=hook,
            # Entries of these tests come and go.
            token_webhook_seconds=0.0 if forgetful else 120.0,
        )
        with (
            Environment.start(options) as environment,
            Requests(environment.kubeconfig) as api,
            Requests(environment.kubeconfig) as owner,
        ):
            document = yaml.safe_load(environment.kubeconfig.read_text())
            place = document["clusters"][0]["cluster"]
            for namespace in namespaces:
                api.create_namespace(namespace)
            described = {
                "endpoint": place["server"],
                "certificateAuthority": {"data": place["certificate-authority-data"]},
            }
            entries = AccessEntries(name, owner)
            self.clusters[name] = found = EksCluster(
                name, made["arn"], environment, entries, document, described
            )
            try:
                yield found
            finally:
                del self.clusters[name]
                eks = self.client("eks")
                with contextlib.suppress(eks.exceptions.ResourceNotFoundException):
                    eks.delete_cluster(name=name)

    # -- what is served

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        app = web.Application(client_max_size=16 << 20)
        app.router.add_get("/counts", self._tell)
        app.router.add_get("/container-credentials", self._container_credentials)
        app.router.add_post("/authenticate/{cluster}", self._authenticate)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        # Compressed answers are passed on as they are.
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            try:
                yield
            finally:
                await runner.cleanup()

    async def _tell(self, _: web.Request) -> web.Response:
        return web.json_response(self.counts)

    async def _container_credentials(self, request: web.Request) -> web.Response:
        """What the agent of EKS Pod Identity serves."""
        self.counts["pod-identity"] += 1
        role = self.pod_identity.get(request.headers.get("Authorization", ""))
        if role is None:
            return web.Response(status=403, text="AccessDeniedException")
        sts = self.client("sts")
        answer = await asyncio.to_thread(sts.assume_role, RoleArn=role, RoleSessionName="pod")
        given = answer["Credentials"]
        return web.json_response(
            {
                "AccessKeyId": given["AccessKeyId"],
                "SecretAccessKey": given["SecretAccessKey"],
                "Token": given["SessionToken"],
                "Expiration": given["Expiration"].strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )

    async def _authenticate(self, request: web.Request) -> web.Response:
        self.counts["webhook"] += 1
        cluster = self.clusters[request.match_info["cluster"]]
        review = await request.json()
        host = self.address.removeprefix("http://")
        status: dict[str, Any] = {"authenticated": False}
        try:
            self.seen.add(review["spec"]["token"])
            if review["spec"]["token"] in self.revoked:
                raise RefusedError("revoked")
            url = url_of(review["spec"]["token"], host=host)
            async with self._session.get(
                URL(url, encoded=True), headers={"x-k8s-aws-id": cluster.name}
            ) as answer:
                told = await answer.text()
            if answer.status != 200:
                raise RefusedError(f"STS says {answer.status}: {told}")
            arn = told.removeprefix("<Arn>").removesuffix("</Arn>")
            user = cluster.entries.user(role_of(arn), arn)
            if user is None:
                raise RefusedError(f"no access entry for {role_of(arn)}")
            status = {"authenticated": True, "user": user}
        except RefusedError as err:
            status["error"] = str(err)
        return web.json_response({**review, "status": status})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self.down:
            assert request.transport is not None
            request.transport.abort()
            raise ConnectionResetError
        body = await request.read()
        service, operation = _named(request, body)
        self.counts[f"{service}:{operation}"] += 1
        path, _, _ = request.raw_path.partition("?")
        about = _CLUSTER.fullmatch(path)
        if service == "sts" and "X-Amz-Signature" in request.query:
            return await self._presigned(request)
        if service == "eks" and about is not None and about[2] is not None:
            return await self._entries(request, about, body)
        return await self._forward(request, body, about if service == "eks" else None)

    async def _presigned(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        url = f"http://{request.host}{request.raw_path}"
        try:
            arn = await asyncio.to_thread(caller, url, headers, self.moto)
        except RefusedError as err:
            return web.Response(status=403, text=str(err))
        return web.Response(text=f"<Arn>{arn}</Arn>", content_type="text/xml")

    async def _entries(self, request: web.Request, about: re.Match[str], body: bytes) -> web.Response:
        cluster = self.clusters.get(about[1])
        try:
            if cluster is None:
                raise AnswerError(404, "ResourceNotFoundException", f"No cluster found for name: {about[1]}.")
            path = about[2].removeprefix("/access-entries")
            return web.json_response(
                await asyncio.to_thread(cluster.entries.answer, request.method, path, body)
            )
        except AnswerError as err:
            return web.json_response(
                {"message": err.message}, status=err.status, headers={"x-amzn-ErrorType": err.code}
            )

    async def _forward(self, request: web.Request, body: bytes, about: re.Match[str] | None) -> web.Response:
        # With its Host, which is signed.
        async with self._session.request(
            request.method,
            URL(self.moto + request.raw_path, encoded=True),
            data=body,
            headers=request.headers,
            skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
        ) as answer:
            data = await answer.read()
            headers = {
                name: value
                for name, value in answer.headers.items()
                if name.lower() not in ("transfer-encoding", "content-length", "connection", "date", "server")
            }
            cluster = self.clusters.get(about[1]) if about is not None else None
            if cluster is not None and request.method == "GET" and answer.status == 200:
                told = json.loads(data)
                told["cluster"] |= cluster.described
                data = json.dumps(told).encode()
            return web.Response(status=answer.status, body=data, headers=headers)


def _named(request: web.Request, body: bytes) -> tuple[str, str]:
    """Service and operation."""
    scope = _CREDENTIAL.search(request.headers.get("Authorization", ""))
    service = scope[2] if scope else "sts"
    asked = parse_qs(body.decode("utf-8", "replace")) if not request.query.get("Action") else request.query
    action = asked.get("Action", "")
    if isinstance(action, list):
        action = action[0]
    if not action:
        action = f"{request.method} {request.path}"
    return service, action
