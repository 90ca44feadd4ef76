"""kubeconfig files: write one for a cluster, add it to a person's own file, take it out again.

A person's file is changed in three named entries and nowhere else; one that is not a kubeconfig is left alone.
Not for reading a kubeconfig to connect by it (the client does). Source:
https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig, k8s.io/client-go/tools/clientcmd.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from podbay.embedded.pki import Pki
from podbay.embedded.private_files import write_private
from podbay.errors import ConflictError, InvalidInputError, StateError

__all__ = [
    "context_name",
    "default_kubeconfig_path",
    "merge_kubeconfig",
    "remove_from_kubeconfig",
    "render_kubeconfig",
    "write_kubeconfig",
]

_SECTIONS = ("clusters", "users", "contexts")
_Config = dict[str, Any]


def context_name(cluster: str) -> str:
    """The name of a cluster's entries; the default cluster's is just "podbay"."""
    return cluster if cluster == "podbay" else f"podbay-{cluster}"


def render_kubeconfig(name: str, url: str, pki: Pki, *, token: str = "") -> str:
    """A kubeconfig as YAML: by client certificate, or by token when one is given. It holds a secret."""
    entry = context_name(name)
    user: dict[str, str] = {"token": token}
    if not token:
        user = {
            "client-certificate-data": _base64(pki.admin_cert_pem),
            "client-key-data": _base64(pki.admin_key_pem),
        }
    cluster = {"certificate-authority-data": _base64(pki.ca_pem), "server": url}
    config: _Config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": entry, "cluster": cluster}],
        "users": [{"name": entry, "user": user}],
        "contexts": [{"name": entry, "context": {"cluster": entry, "user": entry}}],
        "current-context": entry,
    }
    return _dump(config)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def write_kubeconfig(path: Path, text: str) -> None:
    """Write a kubeconfig with mode 0600, whole or not at all. Raises StateError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, text.encode())
    except OSError as err:
        raise StateError(f"cannot write {path}: {err.strerror or err}. Make its directory writable.") from err


def default_kubeconfig_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where kubectl would write: the first existing file of $KUBECONFIG, else its last, else ~/.kube/config."""
    listed = [Path(part).expanduser() for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    if listed:
        return next((path for path in listed if path.exists()), listed[-1])
    return Path(environ.get("HOME") or "~").expanduser() / ".kube" / "config"


def merge_kubeconfig(source: Path, target: Path, *, use: bool = False) -> str:
    """Add the entries of one kubeconfig to another, replacing entries of the same names; gives the context's name.

    The target's current context changes when `use` is set or when it has none. Raises InvalidInputError for
    a target that is not a kubeconfig (and leaves it alone), ConflictError when somebody else is changing it.
    """
    added = _read(source)
    context = str(added.get("current-context") or "")

    def change(config: _Config) -> _Config:
        for section in _SECTIONS:
            entries = added.get(section) or []
            names = {entry["name"] for entry in entries}
            kept = [entry for entry in config.get(section) or [] if entry["name"] not in names]
            config[section] = [*kept, *entries]
        if use or not config.get("current-context"):
            config["current-context"] = context
        return config

    _edit(target, change)
    return context


def remove_from_kubeconfig(path: Path, cluster: str) -> bool:
    """Take a cluster's entries out of a kubeconfig; says whether there were any. A missing file is fine."""
    name = context_name(cluster)
    if not path.exists() or not _mentions(_read(path), name):
        return False

    def change(config: _Config) -> _Config:
        for section in _SECTIONS:
            config[section] = [entry for entry in config.get(section) or [] if entry["name"] != name]
        if config.get("current-context") == name:
            config["current-context"] = ""
        return config

    _edit(path, change)
    return True


def _mentions(config: _Config, name: str) -> bool:
    return any(entry["name"] == name for section in _SECTIONS for entry in config.get(section) or ())


def _edit(path: Path, change: Callable[[_Config], _Config]) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as err:
        raise StateError(f"cannot create {path.parent}: {err.strerror or err}") from err
    with _locked(path):
        config = _read(path) if path.exists() else {}
        write_kubeconfig(path, _dump(change({"apiVersion": "v1", "kind": "Config", **config})))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file that kubectl takes as well when it changes a kubeconfig."""
    lock = path.with_name(path.name + ".lock")
    try:
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError as err:
        raise ConflictError(
            f"{path} is being changed by another program, or one died doing so. "
            f"Try again; if that does not help, remove {lock}."
        ) from err
    except OSError as err:
        raise StateError(f"cannot write {path}: {err.strerror or err}. Make its directory writable.") from err
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


class _Loader(yaml.SafeLoader):
    """Reads times and fractions as the text they are, so that a rewrite gives the same text back."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":float"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _dump(config: _Config) -> str:
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=2**31)


def _read(path: Path) -> _Config:
    """The content of a kubeconfig whose shape is right; raises InvalidInputError naming file and line."""
    try:
        text = path.read_bytes()
    except OSError as err:
        raise InvalidInputError(f"cannot read {path}: {err.strerror or err}") from err
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            return {}
        _check_shape(path, root)
        return loader.construct_document(root)  # type: ignore[no-any-return]
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        raise _malformed(path, mark.line + 1 if mark else 1, err.problem or "not YAML") from err
    except yaml.reader.ReaderError as err:
        line = text[: err.position].count(b"\n") + 1
        raise _malformed(path, line, f"not text ({err.reason})") from err
    finally:
        if loader is not None:
            loader.dispose()


def _malformed(path: Path, line: int, problem: str) -> InvalidInputError:
    return InvalidInputError(f"{path}:{line}: not a kubeconfig: {problem}. Correct it; it was left as it is.")


def _check_shape(path: Path, root: yaml.Node) -> None:
    if not isinstance(root, yaml.MappingNode):
        raise _malformed(path, root.start_mark.line + 1, "expected `key: value` lines at the top")
    for key, value in root.value:
        if key.value == "kind" and value.value != "Config":
            raise _malformed(path, key.start_mark.line + 1, f"kind is {value.value!r} and not Config")
        if key.value in _SECTIONS:
            _check_section(path, key.value, value)


def _check_section(path: Path, section: str, node: yaml.Node) -> None:
    if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null":
        return
    if not isinstance(node, yaml.SequenceNode):
        raise _malformed(path, node.start_mark.line + 1, f"{section} is not a list")
    for entry in node.value:
        line = entry.start_mark.line + 1
        keys = entry.value if isinstance(entry, yaml.MappingNode) else ()
        names = [value for key, value in keys if key.value == "name"]
        if len(names) != 1 or not isinstance(names[0], yaml.ScalarNode):
            raise _malformed(path, line, f"an entry of {section} has no name")
