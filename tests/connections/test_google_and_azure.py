"""Clusters of Google by google-auth and by its plugin, and of Azure by kubelogin, as far as that goes without a cloud."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from external_cluster import LAUNCHER, NAMESPACE, External, counting_plugin
from google_stand_in import Google

from podbay.aio.clock import SystemClock
from podbay.airflow.connection import choose_cluster, cloud_place
from podbay.errors import CredentialError, InvalidInputError
from podbay.gke.cluster import gke_config
from podbay.gke.place import FIELD, GkePlace
from podbay.kube.client import KubeClient
from podbay.kube.places import read_place
from podbay.objects.resource import GVR

BIN = Path(sys.executable).parent
PODS = GVR("", "v1", "pods")
PLACE = GkePlace(cluster="gpu", location="europe-west1-b", project="my-project")
PATH = "/v1/projects/my-project/locations/europe-west1-b/clusters/gpu"
RULES = [
    *LAUNCHER,
    {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create", "get"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list", "watch"]},
]


@pytest.fixture
def google(east: External, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Google]:
    """Google, whose one cluster takes the tokens that it gives out."""
    with Google.started() as found:
        found.tokens = [east.account("google", RULES)]
        found.clusters[PATH] = {
            "endpoint": east.server.removeprefix("https://"),
            "masterAuth": {"clusterCaCertificate": east.cluster["certificate-authority-data"]},
            "status": "RUNNING",
        }
        for name, value in found.environment(tmp_path).items():
            monkeypatch.setenv(name, value)
        yield found


async def test_a_cluster_by_google_auth(google: Google) -> None:
    config = await gke_config(PLACE)
    assert config == await gke_config(PLACE), "equal places share one client and its tokens"
    assert config.context == "gke_my-project_europe-west1-b_gpu"
    google.counts.clear()
    async with KubeClient(config, SystemClock()) as client:
        for _ in range(5):
            await client.list(PODS, namespace=NAMESPACE)
    assert google.counts == {"tokens": 1}


async def test_a_token_that_is_refused_is_minted_anew(google: Google) -> None:
    config = await gke_config(PLACE)
    google.tokens.insert(0, "refused")
    async with KubeClient(config, SystemClock()) as client:
        await client.list(PODS, namespace=NAMESPACE)


async def test_a_connection_names_the_cluster(google: Google) -> None:
    extras = {FIELD: json.dumps(PLACE.to_extra())}
    assert cloud_place({}, extras, connection="k") == PLACE
    config = await gke_config(PLACE)
    choice = choose_cluster({"cluster_context": "gpu"}, extras, connection="k", cloud=config)
    assert choice.config.server == config.server


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (None, InvalidInputError, "there is no GKE cluster gpu in europe-west1-b, project my-project"),
        ({"endpoint": "", "status": "PROVISIONING"}, InvalidInputError, "its status is PROVISIONING"),
        ({"masterAuth": {}}, InvalidInputError, "no certificate authority that can be read"),
        (
            {"_status": 403, "error": {"message": "no"}},
            CredentialError,
            r"its address may not be read \(403\): no. Allow container.clusters.get",
        ),
    ],
)
async def test_what_google_says_instead(
    google: Google, change: dict[str, Any] | None, error: type[Exception], said: str
) -> None:
    if change is None:
        del google.clusters[PATH]
    else:
        google.clusters[PATH] |= change
    with pytest.raises(error, match=said):
        await gke_config(PLACE)


async def test_a_cluster_that_has_a_name_alone(google: Google) -> None:
    google.clusters[PATH] = {
        "controlPlaneEndpointsConfig": {
            "dnsEndpointConfig": {"endpoint": "gke-1.europe-west1.gke.goog"},
            "ipEndpointsConfig": {"enabled": False},
        }
    }
    config = await gke_config(PLACE)
    assert (config.server, config.ca_pem) == ("https://gke-1.europe-west1.gke.goog", "")


async def test_google_out_of_reach(google: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER", "http://127.0.0.1:1/")
    with pytest.raises(CredentialError, match="was not reached"):
        await gke_config(PLACE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"location": "moon"}, "connection k: podbay_gke.location: 'moon' is none"),
        ({"zone": "a"}, "zone is not known; there are cluster, location, project"),
        ({"project": "x"}, "podbay_gke.project: 'x' is none"),
    ],
)
def test_places_that_cannot_be(change: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_place(GkePlace, PLACE.to_extra() | change, field=FIELD, connection="k")
    assert said in str(caught.value)


# -- the command


def podbay(*words: str, code: int = 0, stdin: str = "", **more: str) -> tuple[str, str]:
    done = subprocess.run(
        [str(BIN / "podbay"), "connection", *words],
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, **more},
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


ADD = ("add", "gke", "gke", "--cluster", "gpu", "--location", "europe-west1-b", "--project", "my-project", "-n", NAMESPACE)  # fmt: skip


def test_a_connection_without_a_credential(google: Google) -> None:
    token = google.tokens[0]
    out, err = podbay(*ADD)
    assert "cluster: ok: GKE cluster gpu in europe-west1-b, project my-project is https://" in err
    assert "permissions: ok" in err
    assert token not in out + err
    name, _, value = out.strip().partition("=")
    assert json.loads(value.strip("'"))["extra"] == {FIELD: PLACE.to_extra(), "namespace": NAMESPACE}
    out, _ = podbay("test", "gke", **{name: value.strip("'")})
    assert "authentication: ok" in out


def test_googles_own_plugin(google: Google, east: External, tmp_path: Path) -> None:
    program, runs = counting_plugin(tmp_path, google.tokens[0])
    program.rename(tmp_path / "gke-gcloud-auth-plugin")
    out, err = podbay(*ADD, "--plugin", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert "permissions: ok" in err
    assert "need the program gke-gcloud-auth-plugin on the PATH" in err
    assert google.tokens[0] not in out
    assert runs.read_text().count("run") == 1
    _, err = podbay(*ADD, "--plugin", code=1, PATH=str(tmp_path / "empty"))
    assert "credential: FAILED" in err
    assert "Install gke-gcloud-auth-plugin" in err


def test_azures_kubelogin(east: External, tmp_path: Path) -> None:
    """As `kubelogin convert-kubeconfig -l workloadidentity` leaves a kubeconfig of AKS."""
    program, runs = counting_plugin(tmp_path, east.account("azure", RULES))
    program.rename(tmp_path / "kubelogin")
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "kubelogin",
        "args": [
            "get-token",
            "--login",
            "workloadidentity",
            "--server-id",
            "6dae42f8-4368-4678-94ff-3960e28e3630",
        ],
        "env": None,
        "provideClusterInfo": False,
    }
    text = json.dumps(east.kubeconfig({"exec": plugin}))
    words = ("add", "kubeconfig", "aks", "--kubeconfig", "-")
    _, err = podbay(*words, stdin=text, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert "permissions: ok" in err
    assert runs.read_text().count("run") == 1
    _, err = podbay(*words, stdin=text, code=1, PATH=str(tmp_path / "empty"))
    assert "credential plugin 'kubelogin' was not found" in err
