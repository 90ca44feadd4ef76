"""Registries of the whole module: one set of images behind several doors."""

from __future__ import annotations

from collections.abc import Iterator

import images
import pytest
from registry_parts import ARM, FOREIGN, SMALL, Authority, Shelf, htpasswd, serve, tls

import registries


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
    with serve(shelf.directory, shelf.data, tls=tls(authority), auth=htpasswd(shelf.directory)) as address:
        yield address
