"""Raw TLS connections to a server, on which a test writes what it likes, and the answers that come back."""

from __future__ import annotations

import json
import socket
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import yaml
from patience import PATIENCE

from podbay.testing import Environment

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@dataclass(frozen=True)
class Answer:
    """A response as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """The sentence of a Status, which every error must be."""
        parsed = self.json()
        assert parsed["kind"] == "Status", parsed
        assert parsed["code"] == self.status
        text: str = parsed["message"]
        return text


class Wire:
    """A TLS connection on which a test writes what it likes."""

    def __init__(self, address: tuple[str, int], tls: ssl.SSLContext) -> None:
        self.socket = tls.wrap_socket(socket.create_connection(address, timeout=PATIENCE))
        self._buffer = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def close(self) -> None:
        self.socket.close()

    def read(self, *, head: bool = False) -> Answer | None:
        """One response; None when the server has closed the connection instead."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._more():
                return None
        start, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = start.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        status = int(first.split()[1])
        body = b"" if head or status in (204, 304) else self._body(headers)
        return Answer(status, headers, body)

    def closed(self) -> bool:
        """Whether the server ends the connection (waits up to the socket's time-out)."""
        return not self._more()

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            return b"".join(iter(self._chunk, b""))
        if "content-length" not in headers:
            while self._more():
                pass
            body, self._buffer = self._buffer, b""
            return body
        return self._exactly(int(headers["content-length"]))

    def _chunk(self) -> bytes:
        while b"\r\n" not in self._buffer:
            if not self._more():
                return b""
        size, _, self._buffer = self._buffer.partition(b"\r\n")
        return self._exactly(int(size, 16) + 2)[:-2]

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            if not self._more():
                break
        body, self._buffer = self._buffer[:size], self._buffer[size:]
        return body

    def _more(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except (ConnectionError, ssl.SSLEOFError):
            return False
        self._buffer += data
        return bool(data)


class Server:
    """The server under test, for raw requests as its administrator."""

    def __init__(self, environment: Environment) -> None:
        assert environment.embedded is not None
        self.environment = environment
        self.kubeconfig = environment.kubeconfig
        url = urlsplit(environment.embedded.url)
        self.address = (url.hostname or "", url.port or 0)
        self.token = environment.embedded.token
        config = yaml.safe_load(self.kubeconfig.read_text())
        self.ca = config["clusters"][0]["cluster"]["certificate-authority-data"]
        self._open: list[Wire] = []

    def tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    def wire(self) -> Wire:
        wire = Wire(self.address, self.tls())
        self._open.append(wire)
        return wire

    def close(self) -> None:
        for wire in self._open:
            wire.close()
        self._open.clear()

    def ask(
        self,
        method: str,
        target: str | bytes,
        body: bytes = b"",
        *,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own, as it is: nothing is quoted or corrected."""
        wire = self.wire()
        sent = {
            "Host": "x",
            "Authorization": f"Bearer {self.token}",
            "Connection": "close",
            **(headers or {}),
        }
        if body:
            sent.setdefault("Content-Type", content_type)
            sent.setdefault("Content-Length", str(len(body)))
        raw = target if isinstance(target, bytes) else target.encode()
        lines = [method.encode() + b" " + raw + b" HTTP/1.1"]
        lines += [f"{k}: {v}".encode() for k, v in sent.items() if v]
        wire.send(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        answer = wire.read(head=method == "HEAD")
        assert answer is not None, "the server closed the connection without an answer"
        return answer
