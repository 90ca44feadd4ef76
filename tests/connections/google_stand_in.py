"""Google for these tests: a token server and the one operation of the Kubernetes Engine API that is asked."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


class Google:
    """`tokens` are given out in turn, the last one again and again; `clusters` by their path."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.clusters: dict[str, dict[str, Any]] = {}
        self.counts: Counter[str] = Counter()
        self.address = ""

    def environment(self, directory: Path) -> dict[str, str]:
        """That of a service account."""
        key = rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        account = {
            "type": "service_account",
            "project_id": "my-project",
            "private_key_id": "1",
            "private_key": key.decode(),
            "client_email": "airflow@my-project.iam.gserviceaccount.com",
            "token_uri": f"{self.address}/token",
        }
        path = directory / "account.json"
        path.write_text(json.dumps(account))
        return {
            "GOOGLE_APPLICATION_CREDENTIALS": str(path),
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINER": f"{self.address}/",
        }

    def answer(self, path: str, authorization: str) -> tuple[int, Any]:
        self.counts["clusters"] += 1
        if not authorization.startswith("Bearer "):
            return 401, {"error": {"message": "no token"}}
        found = self.clusters.get(path)
        if found is None:
            return 404, {"error": {"message": "Not found"}}
        return found.get("_status", 200), found

    def token(self) -> dict[str, Any]:
        self.counts["tokens"] += 1
        found = self.tokens[0] if len(self.tokens) == 1 else self.tokens.pop(0)
        return {"access_token": found, "expires_in": 3600, "token_type": "Bearer"}

    @classmethod
    @contextmanager
    def started(cls) -> Iterator[Google]:
        google = cls()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._say(*google.answer(self.path, self.headers.get("Authorization", "")))

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self._say(200, google.token())

            def _say(self, status: int, body: Any) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        google.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield google
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
