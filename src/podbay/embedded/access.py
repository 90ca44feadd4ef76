"""From the entries of a kubeconfig to a TLS context: how a plain HTTP client reaches a cluster as its user.

Certificates and keys only; tokens are a header and the caller's business.
"""

from __future__ import annotations

import base64
import ssl
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["client_tls"]


def client_tls(cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext | None:
    """The context for a `cluster` and a `user` entry; None when the server speaks plain HTTP."""
    if not cluster["server"].startswith("https"):
        return None
    context = ssl.create_default_context()
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif "certificate-authority-data" in cluster:
        context.load_verify_locations(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    elif "certificate-authority" in cluster:
        context.load_verify_locations(cluster["certificate-authority"])
    if "client-certificate-data" in user:
        with tempfile.TemporaryDirectory(prefix="podbay-") as directory:
            pair = []
            for key in ("client-certificate-data", "client-key-data"):
                path = Path(directory, key)
                path.touch(mode=0o600)
                path.write_bytes(base64.b64decode(user[key]))
                pair.append(str(path))
            context.load_cert_chain(*pair)
    elif "client-certificate" in user:
        context.load_cert_chain(user["client-certificate"], user["client-key"])
    return context
