"""The first process of a pod whose containers share processes: it reaps orphans and sleeps.

A container image for this would have to be pulled; instead the program is written here, machine word by machine word:
ignore SIGCHLD (the kernel then reaps by itself), then wait for ever. As first process of its namespace it is immune to
signals from inside. Sources: elf(5), the system call tables of each architecture.
"""

from __future__ import annotations

import struct

__all__ = ["pause_program"]

_ORIGIN = 0x400000
_SIGCHLD = 17
_ACTION = struct.pack("<QQQQ", 1, 0, 0, 0)
"""struct sigaction with the handler SIG_IGN (1), no flags, no restorer, empty mask."""


def pause_program(architecture: str) -> bytes | None:
    """A static ELF executable, None for an architecture it has not been written for."""
    if architecture == "amd64":
        return _elf(62, _amd64())
    if architecture == "arm64":
        return _elf(183, _arm64())
    return None


def _amd64() -> bytes:
    code = bytes.fromhex(
        "b80d000000"  # mov eax, 13        rt_sigaction
        f"bf{_SIGCHLD:02x}000000"  # mov edi, SIGCHLD
        "488d3517000000"  # lea rsi, [rip+23]  the action, at offset 40
        "31d2"  # xor edx, edx
        "41ba08000000"  # mov r10d, 8        size of the mask
        "0f05"  # syscall
        "b822000000"  # mov eax, 34        pause
        "0f05"  # syscall
        "ebf7"  # jmp to the mov of pause
    )
    return code.ljust(40, b"\x90") + _ACTION


def _arm64() -> bytes:
    def move(register: int, value: int) -> int:
        return 0xD2800000 | value << 5 | register

    call = 0xD4000001
    words = [
        move(8, 134),  # rt_sigaction
        move(0, _SIGCHLD),
        0,  # adr x1, the action: filled in below
        move(2, 0),
        move(3, 8),
        call,
        move(8, 73),  # ppoll(NULL, 0, NULL, NULL): this architecture has no pause
        *(move(register, 0) for register in range(5)),
        call,
        0x14000000 | (-7 & 0x3FFFFFF),  # back to the first move of ppoll
    ]
    offset = len(words) * 4 - 2 * 4
    words[2] = 0x10000000 | (offset & 3) << 29 | (offset >> 2) << 5 | 1
    return struct.pack(f"<{len(words)}I", *words) + _ACTION


def _elf(machine: int, content: bytes) -> bytes:
    start = 64 + 56
    header = b"\x7fELF\x02\x01\x01" + b"\0" * 9
    header += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, _ORIGIN + start, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    size = start + len(content)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _ORIGIN, _ORIGIN, size, size, 0x1000)
    return header + segment + content
