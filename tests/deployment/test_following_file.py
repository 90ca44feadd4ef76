"""The podbay.yaml that `podbay up` and `podbay run` follow: found, looked for in the cluster, told to Airflow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from deployment_parts import applied, deployment, gone

from podbay.cli.airflow_file import follow, to_follow
from podbay.deployment.handover import airflow_environment
from podbay.errors import InvalidInputError, StateError
from podbay.kube.client import KubeClient
from podbay.kube.config import ClusterConfig
from podbay.kube.kubeconfig import load_kubeconfig
from podbay.testing import Environment

TEXT = "version: 1\nname: {name}\nnamespace: {name}\nairflow: {{usage_every: 15s}}\n"


@pytest.fixture
def config(podbay_cluster: Environment) -> ClusterConfig:
    return load_kubeconfig(podbay_cluster.kubeconfig)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory; what is told is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    for name in airflow_environment(deployment("airflow: {usage_every: 1s}"), "", in_cluster=False):
        monkeypatch.setenv(name, "before")
    return tmp_path


async def test_what_is_applied_is_followed(kube: KubeClient, config: ClusterConfig, here: Path) -> None:
    wanted = deployment("airflow: {usage_every: 15s}")
    (here / "podbay.yaml").write_text(TEXT.format(name=wanted.name))
    said: list[str] = []
    async with applied(kube, wanted):
        found = await follow(config, to_follow(None), said.append)
    assert found.namespace == wanted.namespace
    assert said == [f"Airflow follows podbay.yaml: {wanted.name}, namespace {wanted.namespace}"]
    assert os.environ["AIRFLOW__KUBERNETES__NAMESPACE"] == wanted.namespace
    assert os.environ["AIRFLOW__PODBAY__USAGE_SECONDS"] == "15"
    assert os.environ["PODBAY_FILE"] == str(here / "podbay.yaml")
    # Its connection, and the name by which it knows its own pods, are such an Airflow's own.
    assert os.environ["AIRFLOW_CONN_KUBERNETES_DEFAULT"] == "before"
    assert os.environ["AIRFLOW__PODBAY__DEPLOYMENT"] == "before"


async def test_what_is_not_applied_is_mentioned_or_refused(config: ClusterConfig, here: Path) -> None:
    file = here / "podbay.yaml"
    file.write_text(TEXT.format(name=deployment().name))
    said: list[str] = []
    assert await follow(config, to_follow(None), said.append) == config
    assert said[0].startswith("note: Airflow does not follow it: ")
    assert said[0].endswith("podbay apply")
    assert os.environ["PODBAY_FILE"] == "before"
    with pytest.raises(StateError, match="is not in this cluster yet"):
        await follow(config, to_follow(file), said.append)


async def test_a_namespace_of_somebody_else_is_not_ours(
    kube: KubeClient, config: ClusterConfig, here: Path
) -> None:
    theirs = deployment(name="theirs")
    (here / "podbay.yaml").write_text(TEXT.format(name=theirs.namespace))
    async with applied(kube, theirs):
        with pytest.raises(StateError, match="is not in this cluster yet"):
            await follow(config, to_follow(here / "podbay.yaml"), print)
    await gone(kube, theirs)


def test_a_file_that_lies_there_does_not_choose_the_cluster(here: Path) -> None:
    (here / "podbay.yaml").write_text("name: a\nnamespace: a-1\ncluster: production\n")
    found, asked = to_follow(None), to_follow(here / "podbay.yaml")
    assert found is not None
    assert asked is not None
    assert (found.cluster, asked.cluster) == (None, "production")


async def test_without_a_file_nothing_changes(config: ClusterConfig, here: Path) -> None:
    assert to_follow(None) is None
    assert await follow(config, None, print) is config
    with pytest.raises(InvalidInputError, match="does not exist"):
        to_follow(here / "elsewhere.yaml")
