"""Connections to two embedded clusters as external ones: the check step by step, and tasks on both by one plugin run."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from external_cluster import LAUNCHER, NAMESPACE, External, counting_plugin, run_task

from podbay.aio.clock import SystemClock
from podbay.airflow.connection import choose_cluster
from podbay.connections.probing import probe
from podbay.connections.reading import read_files
from podbay.connections.steps import PERMISSIONS, Step
from podbay.kube.config import ClusterConfig
from podbay.kube.kubeconfig import parse_kubeconfig
from podbay.kube.kubeconfig_text import kubeconfig_of
from podbay.kube.lease import DeskOptions, LeaseDesk

FULL = [
    *LAUNCHER,
    {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create", "get"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list", "watch"]},
]


async def steps(config: ClusterConfig, namespace: str = "") -> list[Step]:
    return [step async for step in probe(config, SystemClock(), namespace=namespace)]


async def last(document: dict[str, Any], namespace: str = "") -> Step:
    found = await steps(parse_kubeconfig(document), namespace)
    assert all(step.verdict != "failed" for step in found[:-1])
    return found[-1]


async def test_a_good_one(east: External) -> None:
    token = east.account("full", FULL)
    found = await steps(parse_kubeconfig(east.kubeconfig({"token": token})))
    assert [(step.name, step.verdict) for step in found] == [
        (name, "ok")
        for name in ("address", "tls", "credential", "authentication", "namespace", "permissions")
    ]
    assert found[3].message == f"as system:serviceaccount:{NAMESPACE}:full"
    assert found[5].message == f"all {len(PERMISSIONS)} verbs in {NAMESPACE}"


async def test_what_pods_need_is_asked_for_verb_by_verb(east: External) -> None:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    step = await last(east.kubeconfig({"token": east.account("reader", rules)}))
    assert (step.name, step.verdict) == ("permissions", "failed")
    assert (
        f"may not create pods, patch pods, delete pods, get pods/log in namespace {NAMESPACE}" in step.message
    )
    assert "bind a Role" in step.fix
    step = await last(east.kubeconfig({"token": east.account("launcher", LAUNCHER)}))
    assert (step.name, step.verdict) == ("permissions", "warning")
    assert "upstream's KubernetesPodOperator" in step.message


async def test_an_address_where_nobody_listens(east: External) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        server = f"https://127.0.0.1:{taken.getsockname()[1]}"
        (step,) = await steps(parse_kubeconfig(east.kubeconfig(server=server)))
    assert (step.name, step.verdict) == ("address", "failed")
    assert "no connection" in step.message
    assert "VPN" in step.fix


async def test_the_authority_of_another_cluster(east: External, west: External) -> None:
    other = west.cluster["certificate-authority-data"]
    step = await last(east.kubeconfig(**{"certificate-authority-data": other}))
    assert (step.name, step.verdict) == ("tls", "failed")
    assert "certificate cannot be verified" in step.message
    assert "certificate-authority-data" in step.fix


async def test_a_token_of_another_cluster(east: External, west: External) -> None:
    step = await last(east.kubeconfig({"token": west.account("stranger", FULL)}))
    assert (step.name, step.verdict) == ("authentication", "failed")
    assert "nobody's (401)" in step.message


async def test_a_namespace_that_is_not_there(east: External) -> None:
    step = await last(east.kubeconfig(), namespace="absent")
    assert (step.name, step.verdict) == ("namespace", "failed")
    assert "kubectl create namespace absent" in step.fix


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 3", "exited with 3"),
        ("echo nonsense", "not JSON"),
        ("", "not JSON"),
        (None, "was not found"),
    ],
)
async def test_a_plugin_that_gives_nothing(
    east: External, tmp_path: Path, script: str | None, said: str
) -> None:
    program = tmp_path / "plugin"
    if script is not None:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(program)}
    step = await last(east.kubeconfig({"exec": plugin}))
    assert (step.name, step.verdict) == ("credential", "failed")
    assert said in step.message


async def test_a_hundred_tasks_on_two_clusters_are_one_plugin_run_each(
    east: External, west: External, tmp_path: Path
) -> None:
    life = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    written, counts = [], []
    for name, external in (("east", east), ("west", west)):
        directory = tmp_path / name
        directory.mkdir()
        program, runs = counting_plugin(directory, external.account("many", FULL), life=life)
        plugin = {"apiVersion": "client.authentication.k8s.io/v1alpha1", "command": str(program)}
        found = read_files(parse_kubeconfig(external.kubeconfig({"exec": plugin})))
        written.append({"kube_config": kubeconfig_of(found.config, name=name), "namespace": NAMESPACE})
        counts.append(runs)
    desk = LeaseDesk(DeskOptions(agent="external"))

    async def task(number: int) -> str:
        # Each reads its connection anew, as each trigger does.
        extras = written[number % 2]
        choice = choose_cluster({"in_cluster": False}, extras, connection="k")
        async with desk.lease(choice.config) as cluster:
            outcome = await run_task(cluster, f"task-{number}")
        return outcome.kind

    try:
        ended = await asyncio.gather(*(task(number) for number in range(100)))
    finally:
        await desk.aclose()
    assert set(ended) == {"succeeded"}
    assert [each.read_text().count("run") for each in counts] == [1, 1]


# -- the command


def podbay(home: Path, *words: str, code: int = 0, stdin: str = "", **more: str) -> tuple[str, str]:
    environment = {"HOME": str(home), "PODBAY_HOME": str(home / "podbay"), "PATH": "/usr/bin:/bin", **more}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("podbay")), "connection", *words],
        input=stdin,
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def test_add_and_test(east: External, tmp_path: Path) -> None:
    token = east.account("people", FULL)
    text = json.dumps(east.kubeconfig({"token": token}))
    out, err = podbay(tmp_path, "add", "kubeconfig", "east", "--kubeconfig", "-", "-o", "json", stdin=text)
    assert "permissions: ok" in err
    assert token not in err
    file = tmp_path / "connections.json"
    file.write_text(out)
    out, _ = podbay(tmp_path, "test", str(file))
    assert out.splitlines()[0] == "connection east"
    line, _ = podbay(tmp_path, "add", "kubeconfig", "east", "--kubeconfig", "-", stdin=text)
    name, _, value = line.strip().partition("=")
    out, _ = podbay(tmp_path, "test", "east", "-o", "json", **{name: value.strip("'")})
    (found,) = json.loads(out)
    assert {step["verdict"] for step in found["steps"]} == {"ok"}


def test_nothing_is_written_for_a_cluster_that_lets_no_pods_in(east: External, tmp_path: Path) -> None:
    words = ("add", "kubeconfig", "east", "--kubeconfig", "-")
    text = json.dumps(east.kubeconfig({"token": east.account("nobody", [])}))
    out, err = podbay(tmp_path, *words, stdin=text, code=1)
    assert out == ""
    assert "permissions: FAILED: may not create pods" in err
    out, err = podbay(tmp_path, *words, "--unproven", stdin=text)
    assert out.startswith("AIRFLOW_CONN_EAST=")


def test_in_cluster_outside_of_one(tmp_path: Path) -> None:
    _, err = podbay(tmp_path, "add", "in-cluster", "home", code=1)
    assert "does not run in a pod" in err
    out, _ = podbay(tmp_path, "add", "in-cluster", "home", "--unproven", "-n", "team")
    assert (
        out
        == 'AIRFLOW_CONN_HOME=\'{"conn_type":"kubernetes","extra":{"in_cluster":true,"namespace":"team"}}\'\n'
    )


def test_a_connection_that_nobody_has(tmp_path: Path) -> None:
    _, err = podbay(tmp_path, "test", "absent", code=1)
    assert "AIRFLOW_CONN_ABSENT is not set" in err
