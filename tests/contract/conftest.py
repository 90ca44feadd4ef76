"""Contract tests: what any Kubernetes cluster does, seen through the clients that people use.

    pytest -m contract                          an embedded cluster, started for the session
    pytest -m contract --cluster=KUBECONFIG     any other cluster; needs an administrator's kubeconfig

Tests keep to namespaces of their own and remove what they make outside of them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kubectl_program import Kubectl, find_kubectl

from podbay.embedded.cluster import ClusterOptions
from podbay.embedded.scripted import Script, ScriptedNode, ScriptedNodes
from podbay.testing import Environment

HERE = Path(__file__).parent
FOREVER = Script.from_data({"rules": [{"containers": {"*": [{"run": "forever"}]}}]})
"""Pods run until they are deleted, unless their annotations say how they end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.contract)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Environment]:
    """The chosen cluster, else an embedded one with two nodes."""
    if request.config.getoption("--podbay-cluster") != "embedded":
        yield request.getfixturevalue("podbay_cluster")
        return
    nodes = (lambda: ScriptedNodes([ScriptedNode(name=f"contract-{i}") for i in range(2)], FOREVER),)
    with Environment.start(ClusterOptions(nodes=nodes)) as environment:
        yield environment


@pytest.fixture(scope="session")
def anywhere(cluster: Environment, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """kubectl without a namespace of its own."""
    program = find_kubectl()
    if program is None:
        pytest.skip("no kubectl: install the development dependencies (script/setup)")
    return Kubectl(program, cluster.kubeconfig, tmp_path_factory.mktemp("kubectl-home"))


@pytest.fixture
def namespace(cluster: Environment) -> Iterator[str]:
    """A fresh namespace with its default service account."""
    from podbay.testing.requests import Requests

    name = unique("contract")
    with Requests(cluster.kubeconfig) as api:
        api.create_namespace(name)
        yield name
        api.delete_namespace(name)


@pytest.fixture
def kubectl(anywhere: Kubectl, namespace: str) -> Kubectl:
    """kubectl in the namespace of the test."""
    return anywhere.within(namespace)


@pytest.fixture
def cluster_scoped(anywhere: Kubectl) -> Iterator[Callable[[str, str], str]]:
    """Gives names for cluster-wide objects and deletes what has been made under them."""
    made: list[tuple[str, str]] = []

    def name(resource: str, prefix: str) -> str:
        made.append((resource, unique(prefix)))
        return made[-1][1]

    yield name
    for resource, wanted in reversed(made):
        anywhere("delete", resource, wanted, "--ignore-not-found", "--wait=false")


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate and its key, PEM."""
    directory = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "contract.example.com")])
    now = datetime.now(UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    (directory / "tls.crt").write_bytes(cert.public_bytes(pem))
    (directory / "tls.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    )
    return directory / "tls.crt", directory / "tls.key"
