"""placeholder"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from podbay.errors import PullError
from podbay.node.images.manifest import Platform
from podbay.node.images.reference import Reference
from podbay.node.images.store import ImageStore, StoredImage
from podbay.node.specs import RegistryAuth


class ImagePuller:
    def __init__(self, store: ImageStore, platform: Platform, *, insecure: Sequence[str]) -> None: ...
    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None: ...
    async def pull(self, reference: Reference, auth: RegistryAuth) -> StoredImage:
        raise PullError("ErrImagePull", "not yet")
