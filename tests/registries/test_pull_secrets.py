"""Logins as Secrets in a cluster: made, replaced, refreshed, removed; and the old one stays when the new one fails."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from self_signed import Authority

from podbay.aio.clock import SystemClock
from podbay.aio.virtual import VirtualClock
from podbay.deployment.apply import apply_plan
from podbay.deployment.model import Deployment
from podbay.deployment.observe import observe
from podbay.deployment.parts import SECRETS
from podbay.deployment.plan import make_plan
from podbay.deployment.reading import parse_deployment
from podbay.errors import ConflictError, InvalidInputError, RegistryError, StateError
from podbay.kube.client import KubeClient
from podbay.kube.config import Impersonation, SecretText
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.objects.names import dns1123_label_errors
from podbay.objects.resource import GVR
from podbay.registries.client import ClientOptions, RegistryClient
from podbay.registries.cronjob import RefreshJob, refresh_objects, schedule_for
from podbay.registries.logins import KeyedLogin, Login
from podbay.registries.minting import Minted
from podbay.registries.pull_secrets import (
    PullSecret,
    labels_for,
    list_pull_secrets,
    logins_of,
    read_pull_secret,
    remove_pull_secret,
    write_pull_secret,
)
from podbay.registries.refresh import Refreshed, due, keep_fresh, proof_by, refresh
from podbay.testing import Environment
from registries import ScriptedRegistry

HOST = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
WORD = "hidden-word-4711"
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


@pytest_asyncio.fixture
async def kube(podbay_cluster: Environment) -> AsyncIterator[KubeClient]:
    config = load_kubeconfig(podbay_cluster.kubeconfig)
    async with KubeClient(config, SystemClock(), rng=random.Random(1), agent="registries") as client:
        yield client


@pytest_asyncio.fixture
async def deployment(kube: KubeClient) -> Deployment:
    namespace = f"etl-{random.randrange(10**9)}"
    text = f"version: 1\nname: etl\nnamespace: {namespace}\npods:\n  pull_secrets: [registry-x]\n"
    wanted = parse_deployment(text)
    await apply_plan(kube, make_plan(wanted, await observe(kube, wanted)))
    return wanted


def secret(source: str = "login", **more: object) -> PullSecret:
    login = Login("AWS", SecretText(WORD))
    made = PullSecret(name="registry-x", logins=(KeyedLogin(HOST, "", login),), source=source)
    return replace(made, **more)  # type: ignore[arg-type]


async def test_a_login_in_the_cluster(kube: KubeClient, deployment: Deployment) -> None:
    await write_pull_secret(kube, deployment.namespace, secret(), now=NOW, labels=labels_for(deployment))
    found = await kube.get(SECRETS, "registry-x", namespace=deployment.namespace)
    assert found["type"] == "kubernetes.io/dockerconfigjson"
    assert found["metadata"]["labels"]["podbay.dev/deployment"] == "etl"
    auths = json.loads(base64.b64decode(found["data"][".dockerconfigjson"]))["auths"]
    assert auths[HOST]["username"] == "AWS"
    (listed,) = await list_pull_secrets(kube, deployment.namespace, ["nowhere"])
    assert (listed.name, listed.renewed, listed.places) == ("registry-x", NOW, HOST)
    assert WORD not in repr(listed)
    (keyed,) = await logins_of(kube, deployment)
    assert keyed.login.password.reveal() == WORD
    # Applying the file again leaves it alone, and finds nothing to do.
    assert not make_plan(deployment, await observe(kube, deployment)).work
    with pytest.raises(ConflictError):
        await write_pull_secret(kube, deployment.namespace, replace(listed, version="1"), now=NOW)
    with pytest.raises(StateError, match="podbay apply"):
        await write_pull_secret(kube, "not-there", secret(), now=NOW)
    assert await remove_pull_secret(kube, deployment, "registry-x")
    assert not await remove_pull_secret(kube, deployment, "registry-x")


async def test_somebody_elses_secret_stays(kube: KubeClient, deployment: Deployment) -> None:
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry-x"}, "type": "Opaque"}
    await kube.create(SECRETS, body, namespace=deployment.namespace)
    with pytest.raises(InvalidInputError, match="of type Opaque"):
        await read_pull_secret(kube, deployment.namespace, "registry-x")
    with pytest.raises(StateError, match="not made by"):
        await remove_pull_secret(kube, deployment, "registry-x")


def test_when_a_login_is_renewed() -> None:
    assert due(secret()) is None
    fresh = secret("ecr", renewed=NOW, expires=NOW + timedelta(hours=12))
    assert due(fresh) == NOW + timedelta(hours=6)
    assert due(secret("google", renewed=NOW)) == NOW + timedelta(minutes=30)
    # Clocks that differ: a token that seems to have ended before it was made is not believed for long.
    assert due(secret("ecr", renewed=NOW, expires=NOW - timedelta(hours=1))) == NOW + timedelta(minutes=30)


class Cloud:
    """Mints numbered tokens; the registry takes them unless told otherwise."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock, self.minted, self.refuses = clock, 0, False

    async def mint(self, source: str, registry: str) -> Minted:
        assert (source, registry) == ("ecr", HOST)
        self.minted += 1
        login = Login("AWS", SecretText(f"token-{self.minted}"))
        return Minted(login, self.clock.now() + timedelta(hours=12))

    async def prove(self, keyed: KeyedLogin) -> None:
        if self.refuses:
            raise RegistryError("denied", f"{keyed.registry} refuses")


async def test_refreshing_keeps_the_old_one_until_the_new_one_is_proven(
    kube: KubeClient, deployment: Deployment
) -> None:
    clock = VirtualClock()
    cloud = Cloud(clock)
    start = secret("ecr", expires=clock.now() + timedelta(hours=12))
    await write_pull_secret(kube, deployment.namespace, start, now=clock.now())

    async def look(*, force: bool = False) -> Refreshed:
        (found,) = await refresh(
            kube, deployment.namespace, [], mint=cloud.mint, prove=cloud.prove, clock=clock, force=force
        )
        return found

    async def password() -> str:
        (keyed,) = await logins_of(kube, deployment)
        return keyed.login.password.reveal()

    assert (await look()).state == "fresh"
    assert cloud.minted == 0
    await clock.advance(6 * 3600)
    cloud.refuses = True
    failed = await look()
    assert (failed.state, failed.message) == ("failed", f"{HOST} refuses")
    assert await password() == WORD
    cloud.refuses = False
    renewed = await look()
    assert (renewed.state, renewed.expires) == (
        "renewed",
        (clock.now() + timedelta(hours=12)).replace(microsecond=0),
    )
    assert await password() == "token-2"
    assert (await look()).state == "fresh"
    assert (await look(force=True)).state == "renewed"
    names = ["other", "registry-x"]
    found = await refresh(kube, deployment.namespace, names, mint=cloud.mint, prove=cloud.prove, clock=clock)
    assert [each.state for each in found] == ["failed", "fresh"]
    assert "has no Secret other" in found[0].message


async def test_a_login_of_a_clock_that_is_ahead_is_renewed(kube: KubeClient, deployment: Deployment) -> None:
    """A laptop a day ahead has written it: by its account there would be time left after the token's real end."""
    clock = VirtualClock()
    cloud = Cloud(clock)
    wrong = clock.now() + timedelta(days=1)
    ends = clock.now() + timedelta(hours=12)
    await write_pull_secret(kube, deployment.namespace, secret("ecr", expires=ends), now=wrong)

    async def look() -> str:
        (found,) = await refresh(
            kube, deployment.namespace, [], mint=cloud.mint, prove=cloud.prove, clock=clock
        )
        return found.state

    assert [await look(), await look()] == ["renewed", "fresh"]


class Pointing(AbstractResolver):
    """Every name is one port of this machine."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=self._port, family=2, proto=0, flags=0)]

    async def close(self) -> None:
        return


async def test_a_new_token_is_proven_by_the_registry(
    kube: KubeClient, deployment: Deployment, tmp_path: Path
) -> None:
    """ECR's own name, over TLS: the registry takes the second token and no other."""
    authority = Authority.make(tmp_path, HOST)
    wanted = "Basic " + base64.b64encode(b"AWS:token-2").decode()

    def answer(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") == wanted:
            return web.json_response({})
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="ecr"'})

    clock = VirtualClock()
    cloud = Cloud(clock)
    await write_pull_secret(kube, deployment.namespace, secret("ecr"), now=clock.now())
    async with ScriptedRegistry(fault=answer).serve(authority.server()) as registry:
        pointing = Pointing(int(registry.address.rpartition(":")[2]))
        options = ClientOptions(ca_file=authority.certificate, resolver=pointing)
        async with RegistryClient(options) as client:
            states = []
            for _ in range(3):
                (found,) = await refresh(
                    kube,
                    deployment.namespace,
                    [],
                    mint=cloud.mint,
                    prove=proof_by(client),
                    clock=clock,
                    force=True,
                )
                states.append(found.state)
                assert "token-" not in found.message
    assert states == ["failed", "renewed", "failed"]
    (keyed,) = await logins_of(kube, deployment)
    assert keyed.login.password.reveal() == "token-2"


def test_the_cronjob() -> None:
    job = RefreshJob(
        namespace="n-1",
        secrets=["registry-x"],
        image="podbay:1",
        cloud_secret="aws",
        role_arn="arn:aws:iam::1:role/r",
    )
    namespace, account, role, binding, cron = refresh_objects(job)
    assert namespace["metadata"]["name"] == binding["subjects"][0]["namespace"] == "podbay-registry"
    assert account["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/r"}
    assert role["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": ["registry-x"],
            "verbs": ["get", "patch"],
        }
    ]
    pod = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    words = pod["containers"][0]["args"]
    assert words == [
        "registry",
        "refresh",
        "--once",
        "--cluster",
        "in-cluster",
        "--namespace",
        "n-1",
        "registry-x",
    ]
    assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "aws"}}]
    assert cron["spec"]["schedule"] == schedule_for(["ecr"]) == "17 */2 * * *"
    # Google's tokens live for an hour, and one CronJob may see to several clouds.
    assert schedule_for(["google"]) == schedule_for(["ecr", "google", "azure"]) == "*/4 * * * *"
    assert schedule_for(["azure"]) == schedule_for(["ecr", "azure"]) == "*/10 * * * *"
    _, account, _, _, cron = refresh_objects(replace(job, azure_client="c-1", role_arn=""))
    assert account["metadata"]["annotations"] == {"azure.workload.identity/client-id": "c-1"}
    template = cron["spec"]["jobTemplate"]["spec"]["template"]
    assert template["metadata"]["labels"] == {"azure.workload.identity/use": "true"}
    for wrong in (
        replace(job, own_namespace="n-1"),
        replace(job, secrets=[]),
        replace(job, schedule="daily"),
    ):
        with pytest.raises(InvalidInputError):
            refresh_objects(wrong)


def test_deployments_share_no_account_and_no_cronjob() -> None:
    """Their identities are annotations of the account, and its rights are to Secrets."""
    namespaces = ("n-1", "analytics-platform-production-eu", "analytics-platform-production-us", "x" * 63)
    names = []
    for namespace in namespaces:
        _, account, _, binding, cron = refresh_objects(
            RefreshJob(namespace=namespace, secrets=["registry-x"], image="podbay:1")
        )
        name = account["metadata"]["name"]
        pod = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        assert [pod["serviceAccountName"], cron["metadata"]["name"]] == [name, name]
        assert [each["name"] for each in binding["subjects"]] == [name]
        assert len(name) <= 52
        assert not dns1123_label_errors(name)
        names.append(name)
    assert names[0] == "podbay-registry-refresh-n-1"
    assert len(set(names)) == len(namespaces)


async def test_the_rights_of_the_cronjob_are_enough_and_no_more(
    kube: KubeClient, deployment: Deployment
) -> None:
    await write_pull_secret(kube, deployment.namespace, secret("ecr"), now=NOW)
    job = RefreshJob(
        namespace=deployment.namespace,
        secrets=["registry-x"],
        image="podbay:1",
        own_namespace=f"{deployment.namespace}-r",
    )
    namespace, account, role, binding, cron = refresh_objects(job)
    await kube.create(GVR("", "v1", "namespaces"), namespace)
    await kube.create(GVR("", "v1", "serviceaccounts"), account, namespace=job.own_namespace)
    rbac = "rbac.authorization.k8s.io"
    await kube.create(GVR(rbac, "v1", "roles"), role, namespace=deployment.namespace)
    await kube.create(GVR(rbac, "v1", "rolebindings"), binding, namespace=deployment.namespace)
    # The pod of the CronJob itself, which this cluster does not make: restricted pod security lets it in.
    template = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "refresh"}, "spec": template}
    made = await kube.create(GVR("", "v1", "pods"), body, namespace=job.own_namespace)
    assert made["spec"]["serviceAccountName"] == account["metadata"]["name"]
    clock = VirtualClock()
    cloud = Cloud(clock)
    user = f"system:serviceaccount:{job.own_namespace}:{account['metadata']['name']}"
    config = replace(kube.config, impersonation=Impersonation(user, groups=("system:serviceaccounts",)))
    async with KubeClient(config, SystemClock(), rng=random.Random(1), agent="cronjob") as narrow:
        (found,) = await refresh(
            narrow,
            deployment.namespace,
            ["registry-x"],
            mint=cloud.mint,
            prove=cloud.prove,
            clock=clock,
            force=True,
        )
        assert found.state == "renewed", found.message
        with pytest.raises(Exception, match="forbidden"):
            await narrow.get(SECRETS, "env-secrets", namespace=deployment.namespace)


async def test_the_loop_goes_on_after_failures() -> None:
    clock, told = VirtualClock(), []
    rounds = iter(
        [
            [Refreshed("a", "failed", None, "no")],
            RegistryError("odd", "the cloud is away"),
            [Refreshed("a", "renewed")],
            KeyError(),
        ]
    )

    async def look() -> list[Refreshed]:
        answer = next(rounds)
        if isinstance(answer, Exception):
            raise answer
        return answer

    task = asyncio.ensure_future(keep_fresh(look, every=600, clock=clock, told=told.append))
    while not task.done():
        await asyncio.sleep(0)
        await clock.advance(600)
    assert isinstance(task.exception(), KeyError)
    assert [(each.name, each.state) for each in told] == [
        ("a", "failed"),
        ("cluster", "failed"),
        ("a", "renewed"),
    ]
