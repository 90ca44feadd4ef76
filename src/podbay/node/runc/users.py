"""Whom a container runs as: the pod's wishes, the image's USER and its /etc/passwd and /etc/group. Pure.

Source of the rules: CRI's LinuxContainerSecurityContext, and how containerd reads USER (pkg/oci/spec_opts.go).
"""

from __future__ import annotations

from podbay.errors import StartError
from podbay.node.observed import ResolvedUser
from podbay.node.specs import User

__all__ = ["home_of", "resolve_user"]

_ID_MAX = 2**31 - 1
_DIGITS_MAX = 32


def resolve_user(wanted: User, image_user: str, passwd: str, group: str) -> ResolvedUser:
    """User, group and supplementary groups (sorted). StartError when a name is not in the image."""
    accounts = _rows(passwd, 4)
    if wanted.uid is not None:
        user_text, group_text = str(wanted.uid), ""
    else:
        user_text, _, group_text = (wanted.name or image_user or "0").partition(":")
    uid = _number(user_text)
    account = _find_account(accounts, user_text)
    if uid is None and account is not None:
        uid = _number(account[2])
    if uid is None:
        raise StartError(
            "CreateContainerError", f"unable to find user {user_text}: no matching entries in passwd file"
        )
    gid = _group_id(wanted, group_text, group, _number(account[3]) if account else None)
    groups = {gid, *wanted.groups}
    if wanted.merge_image_groups and account:
        groups.update(_groups_with(account[0], group))
    return ResolvedUser(uid, gid, tuple(sorted(groups)))


def home_of(uid: int, passwd: str) -> str:
    """The home directory of a user id; "/" when the image does not know it."""
    for row in _rows(passwd, 6):
        if row[2] == str(uid):
            return row[5] or "/"
    return "/"


def _group_id(wanted: User, text: str, group: str, of_account: int | None) -> int:
    if wanted.gid is not None:
        return wanted.gid
    if not text:
        return of_account or 0
    number = _number(text)
    if number is not None:
        return number
    for row in _rows(group, 3):
        if row[0] == text and not _is_number(text):
            return _number(row[2]) or 0
    raise StartError(
        "CreateContainerError", f"unable to find group {text}: no matching entries in group file"
    )


def _find_account(accounts: list[list[str]], text: str) -> list[str] | None:
    # A number is never a name, although useradd(8) allows such names: the image could have a pod that was promised
    # to run as user 1000 run as root (CVE-2016-3697).
    if _is_number(text):
        uid = _number(text)
        return next((row for row in accounts if uid is not None and _number(row[2]) == uid), None)
    return next((row for row in accounts if row[0] == text), None)


def _groups_with(name: str, group: str) -> set[int]:
    found = set()
    for row in _rows(group, 4):
        number = _number(row[2])
        if number is not None and name in row[3].split(","):
            found.add(number)
    return found


def _rows(text: str, columns: int) -> list[list[str]]:
    rows = [
        line.strip().split(":") for line in text.splitlines() if line.strip() and not line.startswith("#")
    ]
    return [row for row in rows if len(row) >= columns]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _number(text: str) -> int | None:
    # Python refuses to read thousands of digits.
    if not _is_number(text) or len(text) > _DIGITS_MAX:
        return None
    value = int(text)
    return value if value <= _ID_MAX else None
