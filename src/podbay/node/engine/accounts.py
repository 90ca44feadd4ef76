"""Users and groups as the image knows them, for what engines cannot be asked.

An engine adds the groups of the image's /etc/group to a user exactly when no group is asked for. Pods may want either
without the other, so in those cases the files are read here and the engine gets numbers.
"""

from __future__ import annotations

import io
import tarfile
from collections import OrderedDict

from podbay.node.engine.api import Engine
from podbay.node.runc.users import resolve_user
from podbay.node.specs import User

__all__ = ["Accounts"]

_KEPT = 64
"""Images whose files are remembered; an image never changes."""
_FILE_MAX = 4 << 20


class Accounts:
    """Reads the account files of images through containers that never run."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: OrderedDict[str, tuple[str, str]] = OrderedDict()

    async def settled(self, user: User, image_id: str, image_user: str) -> User:
        """The user in terms that an engine understands. StartError when the image does not know it."""
        merges = user.gid is None and ":" not in (user.name if user.uid is None else "")
        if user.merge_image_groups == merges:
            return user
        passwd, group = await self._files(image_id)
        found = resolve_user(user, image_user, passwd, group)
        return User(uid=found.uid, gid=found.gid, groups=tuple(g for g in found.groups if g != found.gid))

    async def _files(self, image_id: str) -> tuple[str, str]:
        if image_id in self._known:
            self._known.move_to_end(image_id)
            return self._known[image_id]
        made = await self._engine.post("/containers/create", {"Image": image_id, "Cmd": ["none"]})
        if not made.ok:
            return "", ""
        identity = made.json()["Id"]
        try:
            found = await self._file(identity, "/etc/passwd"), await self._file(identity, "/etc/group")
        finally:
            await self._engine.delete(f"/containers/{identity}", {"force": 1, "v": 1})
        self._known[image_id] = found
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return found

    async def _file(self, container: str, path: str) -> str:
        answer = await self._engine.get(f"/containers/{container}/archive", {"path": path})
        if not answer.ok:
            return ""
        with tarfile.open(fileobj=io.BytesIO(answer.body)) as tar:
            member = tar.next()
            file = tar.extractfile(member) if member is not None and member.isreg() else None
            return file.read(_FILE_MAX).decode(errors="replace") if file is not None else ""
