"""A kubeconfig whose user is an exec plugin that counts its runs, made from one that names its credential."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import yaml

_PLUGIN = """#!{python} -S
import sys
with open({runs!r}, "a") as runs:
    runs.write("run\\n")
sys.stdout.write({answer!r})
"""


class CountingPlugin:
    """`kubeconfig` is the copy, `take()` the number of runs since the last call."""

    def __init__(self, kubeconfig: Path, directory: Path) -> None:
        self._runs = directory / "plugin-runs"
        content = yaml.safe_load(kubeconfig.read_text())
        user = content["users"][0]["user"]
        status = {"expirationTimestamp": "2099-01-01T00:00:00Z"}
        names = {"token": "token", "client-certificate-data": "clientCertificateData", "client-key-data": "clientKeyData"}  # fmt: skip
        for field, name in names.items():
            if field in user:
                status[name] = _plain(field, user[field])
        answer = json.dumps(
            {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
        )
        plugin = directory / "plugin"
        plugin.write_text(_PLUGIN.format(python=sys.executable, runs=str(self._runs), answer=answer))
        plugin.chmod(0o700)
        content["users"][0]["user"] = {
            "exec": {
                "apiVersion": "client.authentication.k8s.io/v1",
                "command": str(plugin),
                "interactiveMode": "Never",
            }
        }
        self.kubeconfig = directory / "plugin-kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(content))

    def take(self) -> int:
        count = len(self._runs.read_text().splitlines()) if self._runs.exists() else 0
        self._runs.unlink(missing_ok=True)
        return count


def _plain(field: str, value: str) -> str:
    """A plugin answers with PEM, a kubeconfig has it in base64."""
    return base64.b64decode(value).decode() if field.endswith("-data") else value
