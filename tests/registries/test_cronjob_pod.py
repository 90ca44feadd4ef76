"""The pod of the rendered CronJob, in a container: Podbay in an image renews an ECR login in the cluster, by its own rights."""

from __future__ import annotations

import base64
import gzip
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from patience import eventually
from podbay_image import podbay_image
from self_signed import Authority

import registries
from podbay.aio.clock import SystemClock
from podbay.deployment.apply import apply_plan
from podbay.deployment.observe import observe
from podbay.deployment.parts import SECRETS
from podbay.deployment.plan import make_plan
from podbay.deployment.reading import parse_deployment
from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.containers import runtime_available
from podbay.embedded.nodes import container_nodes
from podbay.kube.client import KubeClient
from podbay.kube.config import SecretText
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.objects.resource import GVR
from podbay.registries.cronjob import RefreshJob, refresh_objects
from podbay.registries.logins import KeyedLogin, Login
from podbay.registries.pull_secrets import PullSecret, labels_for, read_pull_secret, write_pull_secret
from podbay.testing import Environment
from podbay.testing.requests import Requests

HOST = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
OLD, NEW = "old-hidden-word", "new-hidden-word"
PODS = GVR("", "v1", "pods")
KINDS = {
    "Namespace": GVR("", "v1", "namespaces"),
    "ServiceAccount": GVR("", "v1", "serviceaccounts"),
    "Role": GVR("rbac.authorization.k8s.io", "v1", "roles"),
    "RoleBinding": GVR("rbac.authorization.k8s.io", "v1", "rolebindings"),
}

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(not registries.has_registry(), reason="needs docker-registry and htpasswd"),
    pytest.mark.skipif(not runtime_available(), reason="needs root, runc and conmon"),
]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its name at a registry of this machine."""
    directory = tmp_path_factory.mktemp("podbay-image")
    authority = Authority.make(directory, HOST)
    built = podbay_image(authority.certificate, authority.key)
    with registries.docker_registry(directory) as address:
        blobs = built.manifest(lambda data: gzip.compress(data, 1, mtime=0))
        registries.push(address, "tools/podbay", "1", *blobs)
        yield f"{address}/tools/podbay:1"


@pytest.fixture(scope="module")
def cluster(image: str) -> Iterator[Environment]:
    with Environment.start(ClusterOptions(nodes=container_nodes(runtime="runc"))) as environment:
        yield environment


def pod_of(cron: dict[str, Any]) -> dict[str, Any]:
    """The pod that a Job of it makes, as it is, and beside it a cloud on the loopback that they share."""
    template = cron["spec"]["jobTemplate"]["spec"]["template"]
    refresh = template["spec"]["containers"][0]
    cloud = {
        "name": "cloud",
        "image": refresh["image"],
        "command": ["cloud", NEW],
        "securityContext": refresh["securityContext"],
    }
    spec = {**template["spec"], "containers": [refresh, cloud]}
    metadata = {"name": "refresh", **template.get("metadata", {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


async def test_the_pod_of_the_cronjob(cluster: Environment, image: str) -> None:
    config = load_kubeconfig(cluster.kubeconfig)
    wanted = parse_deployment("version: 1\nname: etl\nnamespace: etl-cron\n")
    now = datetime.now(UTC)
    async with KubeClient(config, SystemClock(), rng=random.Random(1), agent="cronjob") as kube:
        await apply_plan(kube, make_plan(wanted, await observe(kube, wanted)))
        old = PullSecret(
            name="registry-x",
            logins=(KeyedLogin(HOST, "", Login("AWS", SecretText(OLD))),),
            source="ecr",
            expires=now + timedelta(hours=5),
        )
        renewed = now - timedelta(hours=7)
        await write_pull_secret(kube, "etl-cron", old, now=renewed, labels=labels_for(wanted))
        job = RefreshJob(namespace="etl-cron", secrets=["registry-x"], image=image, cloud_secret="aws")
        *made, cron = refresh_objects(job)
        for each in made:
            await kube.create(KINDS[each["kind"]], each, namespace=each["metadata"].get("namespace"))
        await kube.create(SECRETS, await cloud_secret(kube), namespace="podbay-registry")
        await kube.create(PODS, pod_of(cron), namespace="podbay-registry")
        with Requests(cluster.kubeconfig) as api:
            await finished(api)
            _, said = api.call("GET", "/api/v1/namespaces/podbay-registry/pods/refresh/log?container=refresh")
        assert "registry-x: renewed, ends " in str(said)
        assert NEW not in str(said)
        found = await read_pull_secret(kube, "etl-cron", "registry-x")
    assert found is not None
    assert [each.login.password.reveal() for each in found.logins] == [NEW]
    assert found.expires is not None
    assert found.expires > now + timedelta(hours=11)


async def cloud_secret(kube: KubeClient) -> dict[str, Any]:
    service = await kube.get(GVR("", "v1", "services"), "kubernetes", namespace="default")
    values = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:8001",
        "HTTPS_PROXY": "http://127.0.0.1:8002",
        "NO_PROXY": f"127.0.0.1,{service['spec']['clusterIP']}",
        "SSL_CERT_FILE": "/etc/cloud.crt",
    }
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "aws"}, "type": "Opaque", "data": data}


async def finished(api: Requests) -> dict[str, Any]:
    """How the container of the CronJob ended; before the cloud is up it may fail and be begun again."""
    path = "/api/v1/namespaces/podbay-registry/pods/refresh"

    def ended() -> dict[str, Any] | None:
        for each in api.call("GET", path)[1]["status"].get("containerStatuses") or ():
            how = each["state"].get("terminated") or {}
            if each["name"] == "refresh" and how.get("exitCode") == 0:
                return dict(how)
        return None

    def told() -> str:
        return f"{api.call('GET', path)[1]['status']}\n{api.call('GET', f'{path}/log?container=refresh')[1]}"

    return await eventually(ended, seconds=240, tell=told) or {}
