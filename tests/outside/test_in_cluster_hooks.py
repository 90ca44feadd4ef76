"""Upstream's hooks in a private Airflow: what `in_cluster=True` means there, and that nothing else changes."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.cncf.kubernetes.hooks import kubernetes as original
from kubernetes.client import Configuration

from podbay.airflow.running import in_cluster
from podbay.airflow.running.in_cluster import HOOKS, lead_hooks_to_the_run

SERVER = "https://127.0.0.1:7443"


def kubeconfig(server: str) -> dict[str, Any]:
    return {
        "current-context": "podbay",
        "contexts": [{"name": "podbay", "context": {"cluster": "podbay", "user": "podbay"}}],
        "clusters": [{"name": "podbay", "cluster": {"server": server}}],
        "users": [{"name": "podbay", "user": {"token": "t"}}],
    }


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kubeconfig of a private Airflow in which nobody has imported the hooks yet."""
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(kubeconfig(SERVER)))
    monkeypatch.setenv("PODBAY_RUN_KUBECONFIG", str(path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.delitem(sys.modules, HOOKS)
    # An import sets this as well, and it would stay.
    monkeypatch.setattr(sys.modules[HOOKS.rpartition(".")[0]], "kubernetes", original)
    lead_hooks_to_the_run()
    assert HOOKS not in sys.modules, "importing them is left to whoever uses them"
    return path


def hooks() -> Any:
    return importlib.import_module(HOOKS)


def connection(monkeypatch: pytest.MonkeyPatch, **extra: Any) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_K", json.dumps({"conn_type": "kubernetes", "extra": extra}))


def reached(module: Any, **parameters: Any) -> tuple[str, bool]:
    """The server that the hook has found, and what it says of being in the cluster."""
    hook = module.KubernetesHook(**{"conn_id": "k", "client_configuration": Configuration(), **parameters})
    return hook.api_client.configuration.host, hook.is_in_cluster


async def reached_later(module: Any, *, extra: dict[str, Any], **parameters: Any) -> str:
    """The same of a triggerer's hook."""
    hook = module.AsyncKubernetesHook(**{"conn_id": "k", "connection_extras": extra, **parameters})
    for _ in range(2):
        async with hook.get_conn() as client:
            found: str = client.configuration.host
    return found


async def test_in_cluster_is_the_cluster_of_the_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extras: list[dict[str, Any]] = [
        {"kube_config_path": str(run), "namespace": "team"},
        {"cluster_context": "absent"},
        {"extra__kubernetes__kube_config_path": str(run)},
        {},
    ]
    for extra in extras:
        connection(monkeypatch, **extra)
        assert reached(hooks(), in_cluster=True) == (SERVER, True)
        assert await reached_later(hooks(), extra=extra, in_cluster=True) == SERVER
    connection(monkeypatch, in_cluster=True)
    assert reached(hooks()) == (SERVER, True)
    assert await reached_later(hooks(), extra={"in_cluster": True}) == SERVER
    assert reached(hooks(), conn_id=None, in_cluster=True) == (SERVER, True)


async def test_what_is_named_otherwise_stays(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.write_text(json.dumps(kubeconfig("https://127.0.0.1:7444")))
    refused: list[dict[str, Any]] = [
        {"kube_config_path": str(other)},
        {"kube_config": json.dumps(kubeconfig(SERVER))},
    ]
    for extra in refused:
        connection(monkeypatch, **extra)
        with pytest.raises(Exception, match="mutually exclusive"):
            reached(hooks(), in_cluster=True)
        with pytest.raises(Exception, match="mutually exclusive"):
            await reached_later(hooks(), extra=extra, in_cluster=True)
    connection(monkeypatch, kube_config_path=str(other))
    assert reached(hooks()) == ("https://127.0.0.1:7444", False)
    connection(monkeypatch, kube_config_path=str(run))
    assert reached(hooks(), in_cluster=False) == (SERVER, False)


def test_elsewhere_nothing_changes(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PODBAY_RUN_KUBECONFIG")
    connection(monkeypatch, kube_config_path=str(run))
    with pytest.raises(Exception, match="mutually exclusive"):
        reached(hooks(), in_cluster=True)
    connection(monkeypatch)
    with pytest.raises(Exception, match="Service host/port is not set"):
        reached(hooks(), in_cluster=True)


def test_hooks_that_are_imported_already(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, HOOKS, original)
    for each, name in ((original.KubernetesHook, "get_conn"), (original.AsyncKubernetesHook, "_load_config")):
        monkeypatch.setattr(each, name, getattr(each, name))
    lead_hooks_to_the_run()
    connection(monkeypatch)
    assert reached(original, in_cluster=True) == (SERVER, True)


def test_hooks_of_another_form_are_left_as_they_are(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = hooks()
    before = module.KubernetesHook.get_conn
    monkeypatch.delattr(module, "AsyncKubernetesHook")
    assert not in_cluster._change_hooks()
    assert module.KubernetesHook.get_conn is before
