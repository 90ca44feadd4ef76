"""How a task's result is written into a log or a termination message, and how it is read back without doubt.

The task writes /airflow/xcom/return.json (spec 100). The sidecar (sidecar.py) prints it between two lines, the second of
which tells length and digest, so that what was cut, rotated away or mangled is noticed and never taken for the result:

    podbay-result/1 begin
    {"rows": 12}
    podbay-result/1 end bytes=12 sha256=…

or one line alone: `podbay-result/1 none` (no file, or an empty one), `podbay-result/1 too-large bytes=N limit=N`,
`podbay-result/1 unreadable`. The content is not escaped: `kubectl logs` shows it, and its length says where it begins.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = [
    "MAGIC",
    "RESULT_DIRECTORY",
    "RESULT_PATH",
    "ResultReading",
    "read_frame",
    "read_termination_message",
    "termination_message_limit",
]

RESULT_DIRECTORY: Final = "/airflow/xcom"
RESULT_PATH: Final = f"{RESULT_DIRECTORY}/return.json"
MAGIC: Final = "podbay-result/1"

_MESSAGE_MAX: Final = 4096
_POD_MESSAGES_MAX: Final = 12 * 1024

ResultState: TypeAlias = Literal["value", "none", "missing", "damaged", "too_large", "unreadable"]

_END: Final = re.compile(
    rb"^podbay-result/1 (?:end bytes=(?P<bytes>[0-9]+) (?P<digest>(?:sha256|cksum|none)=\S*)|(?P<none>none)"
    rb"|(?P<unreadable>unreadable)|too-large bytes=(?P<size>[0-9]+) limit=(?P<limit>[0-9]+))\r?$",
    re.MULTILINE,
)
_BEGIN: Final = re.compile(rb"(?:^|\n)podbay-result/1 begin\r?\n$")


@dataclass(frozen=True, slots=True)
class ResultReading:
    """What was found. `value` holds the file's bytes only in the state "value".

    "none": the task wrote no result. "missing": the writer has said nothing (yet). "damaged": a frame is there and its
    content is not whole. "too_large": over the stated limit. "unreadable": the sidecar may not read the file.
    """

    state: ResultState
    value: bytes = b""
    size: int = 0
    limit: int = 0


def read_frame(log: bytes) -> ResultReading:
    """The result in the sidecar's log (without timestamps) or in its termination message; the last frame counts."""
    ends = list(_END.finditer(log))
    if not ends:
        return ResultReading("damaged" if f"{MAGIC} begin".encode() in log else "missing")
    end = ends[-1]
    if end["none"]:
        return ResultReading("none")
    if end["unreadable"]:
        return ResultReading("unreadable")
    if end["size"]:
        return ResultReading("too_large", size=int(end["size"]), limit=int(end["limit"]))
    size = int(end["bytes"])
    # One newline stands between the content and the end line; the content may or may not end with its own.
    start = end.start() - 1 - size
    content = log[max(start, 0) : end.start() - 1]
    whole = start >= 0 and log[end.start() - 1 : end.start()] == b"\n" and _BEGIN.search(log, 0, start)
    if not whole or not _digest_agrees(content, end["digest"].decode("ascii", "replace")):
        return ResultReading("damaged", size=size)
    return ResultReading("value", content, size=size)


def read_termination_message(message: str, *, container_count: int) -> ResultReading:
    """The result that stands in the main container's own termination message (transport "termination_message").

    A message as long as the kubelet passes on may have been cut and is refused as too large.
    """
    content = message.encode("utf-8", "surrogatepass")
    limit = termination_message_limit(container_count)
    if len(content) >= limit:
        return ResultReading("too_large", size=len(content), limit=limit - 1)
    return ResultReading("value", content, size=len(content)) if content.strip() else ResultReading("none")


def termination_message_limit(container_count: int) -> int:
    """Bytes of a termination message that a kubelet passes on: 4 KiB, and 12 KiB for all containers of a pod."""
    return min(_MESSAGE_MAX, _POD_MESSAGES_MAX // max(container_count, 1))


def _digest_agrees(content: bytes, digest: str) -> bool:
    """Whether the digest is that of the content. An image without any digest program leaves the length to judge."""
    name, _, value = digest.partition("=")
    if name == "sha256":
        return hashlib.sha256(content).hexdigest() == value
    return value == str(_cksum(content)) if name == "cksum" else True


def _cksum(content: bytes) -> int:
    """The checksum of POSIX `cksum`: CRC-32 (0x04C11DB7), most significant bit first, length appended."""
    crc = 0
    length = len(content)
    tail = bytearray()
    while length:
        tail.append(length & 0xFF)
        length >>= 8
    for byte in content + bytes(tail):
        crc = ((crc << 8) & 0xFFFFFFFF) ^ _CRC[(crc >> 24) ^ byte]
    return crc ^ 0xFFFFFFFF


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x04C11DB7 if crc & 0x80000000 else 0)
        table.append(crc & 0xFFFFFFFF)
    return tuple(table)


_CRC: Final = _crc_table()
