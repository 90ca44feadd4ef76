"""Registries of the whole module: one set of images behind several doors."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import images
import pytest
from cloud_parts import REGION
from moto.server import ThreadedMotoServer
from registry_parts import ARM, FOREIGN, SMALL, Shelf
from self_signed import Authority

import registries
from podbay.registries.amazon.session import Aws


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """AWS as far as moto knows it, its managed policies too. All of moto's servers of a process share what there is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture
def aws(moto: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Aws:
    """An identity whose clients ask moto, and the environment that says so."""
    for name, value in {
        "AWS_ENDPOINT_URL": moto,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    return Aws()


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    if not registries.has_registry():
        pytest.skip("needs the packages docker-registry and apache2-utils")
    directory = tmp_path_factory.mktemp("shelf")
    with registries.docker_registry(directory) as address:
        manifest, blobs = SMALL.manifest()
        arm, more = ARM.manifest()
        digest = ""
        for path in ("team/small", "open/small", "closed/small"):
            digest = registries.push(address, path, "1.2", manifest, blobs)
        registries.push(address, "team/small", "1.3-rc", manifest, blobs)
        registries.push(address, "team/foreign", "1", *FOREIGN.manifest())
        registries.push(address, "team/both", "arm", arm, more)
        both = registries.index(
            (manifest, {"os": "linux", "architecture": images.ARCHITECTURE}),
            (arm, {"os": "linux", "architecture": "arm64", "variant": "v8"}),
        )
        index = registries.push(address, "team/both", "1", both, {**blobs, **_manifests(address, manifest)})
        yield Shelf(address, directory / "data", directory, digest, index)


def _manifests(address: str, manifest: bytes) -> dict[str, bytes]:
    registries.push(address, "team/both", "amd", manifest, SMALL.manifest()[1])
    return {}


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def locked(shelf: Shelf, authority: Authority) -> Iterator[str]:
    """The same images behind TLS and a password."""
    password = registries.htpasswd(shelf.directory)
    with registries.serve(shelf.directory, shelf.data, tls=authority.files, auth=password) as address:
        yield address
