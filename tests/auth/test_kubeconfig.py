"""kubeconfig files: read by kubectl, merged into a person's own, never damaged."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from auth_parts import HandClock

from podbay.embedded.kubeconfig import (
    context_name,
    default_kubeconfig_path,
    merge_kubeconfig,
    remove_from_kubeconfig,
    render_kubeconfig,
    write_kubeconfig,
)
from podbay.embedded.pki import Pki
from podbay.errors import ConflictError, InvalidInputError, StateError

OWN = """\
apiVersion: v1
kind: Config
preferences: {colors: true}
clusters:
- name: prod
  cluster:
    server: https://prod.example
    insecure-skip-tls-verify: true
    extensions:
    - name: minikube
      extension: {last-update: 2024-05-06T07:08:09Z, version: 1.30}
users:
- name: prod
  user:
    exec: {command: aws, args: [eks, get-token], env: null, apiVersion: client.authentication.k8s.io/v1}
- name: old
  user: {token: "0123", expiry: 2024-01-01T00:00:00Z}
contexts:
- name: prod
  context: {cluster: prod, user: prod, namespace: "on"}
current-context: prod
"""


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki.load_or_create(tmp_path / "pki", clock=HandClock())


@pytest.fixture
def source(tmp_path: Path, pki: Pki) -> Path:
    path = tmp_path / "cluster" / "kubeconfig"
    write_kubeconfig(path, render_kubeconfig("demo", "https://127.0.0.1:6443", pki))
    return path


def _kubectl(*arguments: str, config: Path) -> str:
    program = Path(sys.executable).with_name("kubectl")
    if not program.exists():
        pytest.skip("kubectl is not installed")
    command = [str(program), "config", *arguments, f"--kubeconfig={config}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_rendered_file_is_what_kubectl_expects(source: Path) -> None:
    assert stat.S_IMODE(source.stat().st_mode) == 0o600
    assert _kubectl("current-context", config=source) == "podbay-demo"
    assert (
        _kubectl("view", "--minify", "-o=jsonpath={.clusters[0].cluster.server}", config=source)
        == "https://127.0.0.1:6443"
    )
    key = _kubectl("view", "--raw", "-o=jsonpath={.users[0].user.client-key-data}", config=source)
    assert len(key) > 100


def test_token_instead_of_a_certificate(pki: Pki) -> None:
    config = yaml.safe_load(render_kubeconfig("podbay", "https://h:1", pki, token="t-1"))
    assert config["users"] == [{"name": "podbay", "user": {"token": "t-1"}}]


def test_names_of_contexts() -> None:
    assert [context_name(n) for n in ("podbay", "demo", "podbay-demo")] == [
        "podbay",
        "podbay-demo",
        "podbay-podbay-demo",
    ]


def test_merge_into_a_file_that_is_not_there_yet(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "home" / ".kube" / "config"
    assert merge_kubeconfig(source, target) == "podbay-demo"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert _kubectl("current-context", config=target) == "podbay-demo"
    assert not target.with_name("config.lock").exists()


def test_merge_and_remove_leave_everything_else_as_it_was(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "config"
    target.write_text(OWN)
    target.chmod(0o644)
    before = yaml.load(OWN, yaml.BaseLoader)
    merge_kubeconfig(source, target)
    merge_kubeconfig(source, target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    merged = yaml.load(target.read_text(), yaml.BaseLoader)
    for section in ("clusters", "users", "contexts"):
        assert [e["name"] for e in merged[section]] == [*(e["name"] for e in before[section]), "podbay-demo"]
    assert merged["current-context"] == "prod"
    assert _kubectl("get-contexts", "-o=name", config=target).split() == ["podbay-demo", "prod"]
    assert remove_from_kubeconfig(target, "demo") is True
    # BaseLoader reads every scalar as written, so times, octal-looking tokens and booleans are compared as text.
    assert yaml.load(target.read_text(), yaml.BaseLoader) == before
    text = target.read_text()
    assert remove_from_kubeconfig(target, "demo") is False
    assert target.read_text() == text


def test_merge_may_switch_the_context_and_remove_takes_it_back(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "config"
    target.write_text(OWN)
    merge_kubeconfig(source, target, use=True)
    assert _kubectl("current-context", config=target) == "podbay-demo"
    remove_from_kubeconfig(target, "demo")
    assert yaml.safe_load(target.read_text())["current-context"] == ""
    assert remove_from_kubeconfig(tmp_path / "none", "demo") is False


def test_symbolic_link_stays_a_link(tmp_path: Path, source: Path) -> None:
    real = tmp_path / "dotfiles" / "kube"
    real.parent.mkdir()
    real.write_text(OWN)
    link = tmp_path / "config"
    link.symlink_to(real)
    merge_kubeconfig(source, link)
    assert link.is_symlink()
    assert "podbay-demo" in real.read_text()


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("clusters: [\n", 2, "expected"),
        ("a: b\n\tc: d\n", 2, "cannot start any token"),
        ("- a\n", 1, "expected `key: value` lines at the top"),
        ("just words\n", 1, "expected `key: value` lines at the top"),
        ("kind: Config\nclusters: {}\n", 2, "clusters is not a list"),
        ("clusters: []\nusers:\n- name: a\n- user: {}\n", 4, "an entry of users has no name"),
        ("contexts:\n- one\n", 2, "an entry of contexts has no name"),
        ("a: 1\nkind: Pod\n", 2, "kind is 'Pod' and not Config"),
        ("a: !!python/object:os.system x\n", 1, "could not determine a constructor"),
        ("a: 1\n---\nb: 2\n", 2, "but found another document"),
    ],
)
def test_malformed_file_is_named_by_line_and_left_alone(
    tmp_path: Path, source: Path, text: str, line: int, words: str
) -> None:
    target = tmp_path / "config"
    target.write_text(text)
    for act in (lambda: merge_kubeconfig(source, target), lambda: remove_from_kubeconfig(target, "demo")):
        with pytest.raises(InvalidInputError) as caught:
            act()
        assert str(caught.value).startswith(f"{target}:{line}: not a kubeconfig: ")
        assert words in str(caught.value)
    assert target.read_text() == text
    assert not target.with_name("config.lock").exists()


def test_binary_file_is_refused(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "config"
    target.write_bytes(b"a: b\n\x00\xff\xfe")
    with pytest.raises(InvalidInputError, match="not a kubeconfig: not text"):
        merge_kubeconfig(source, target)
    assert target.read_bytes() == b"a: b\n\x00\xff\xfe"


def test_directory_in_place_of_the_file(tmp_path: Path, source: Path) -> None:
    (tmp_path / "config").mkdir()
    with pytest.raises(InvalidInputError, match="cannot read"):
        merge_kubeconfig(source, tmp_path / "config")


def test_place_that_cannot_be_written(tmp_path: Path, source: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot create"):
        merge_kubeconfig(source, tmp_path / "file" / "config")
    with pytest.raises(StateError, match="cannot write"):
        write_kubeconfig(tmp_path / "file" / "config", "")


def test_file_that_kubectl_is_changing(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "config"
    target.write_text(OWN)
    lock = target.with_name("config.lock")
    lock.write_text("")
    with pytest.raises(ConflictError, match="being changed by another program"):
        merge_kubeconfig(source, target)
    assert target.read_text() == OWN
    assert lock.exists()


def test_empty_file_counts_as_new(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "config"
    target.write_text("# nothing yet\n")
    merge_kubeconfig(source, target)
    assert _kubectl("current-context", config=target) == "podbay-demo"


def test_where_kubectl_would_write(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert default_kubeconfig_path(home) == tmp_path / ".kube" / "config"
    one, two, three = (tmp_path / n for n in ("one", "two", "three"))
    listed = {**home, "KUBECONFIG": f"{one}:{two}::{three}"}
    assert default_kubeconfig_path(listed) == three
    two.write_text("")
    assert default_kubeconfig_path(listed) == two
    assert default_kubeconfig_path({**home, "KUBECONFIG": ""}) == tmp_path / ".kube" / "config"
    shutil.rmtree(tmp_path / ".kube", ignore_errors=True)
