"""What the patch tests share: golden tables, and one object under field managers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import yaml

from podbay.apiserver.patch.fieldset import paths, printed
from podbay.apiserver.patch.managed import FieldManager, Write, keep_times, reset_fields
from podbay.apiserver.schema.decode import normalize
from podbay.apiserver.schema.types import Schema

GOLDEN = Path(__file__).parent / "golden"
SCHEMA = Schema.load()


def table(name: str) -> list[dict[str, Any]]:
    """The cases of one golden file; each has a unique `name`."""
    cases: list[dict[str, Any]] = yaml.safe_load((GOLDEN / f"{name}.yaml").read_text())
    names = [case["name"] for case in cases]
    assert len(names) == len(set(names)), "case names must be unique"
    return cases


def ids(case: dict[str, Any]) -> str:
    return str(case["name"])


class Managed:
    """An object that writers update and apply one after the other, one minute apart."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.type_name = SCHEMA.struct(f"core/v1.{kind}").name
        self.manager = FieldManager(SCHEMA)
        self.live: dict[str, Any] | None = None
        self.minute = 0

    def _write(self, manager: str, subresource: str) -> Write:
        self.minute += 1
        return Write(
            manager=manager,
            now=f"2026-01-01T00:{self.minute:02d}:00Z",
            api_version="v1",
            subresource=subresource,
            reset=reset_fields(self.kind, subresource),
        )

    def full(self, body: dict[str, Any]) -> dict[str, Any]:
        """A body with what every object has."""
        out = orjson.loads(orjson.dumps({"apiVersion": "v1", "kind": self.kind, **body}))
        out.setdefault("metadata", {}).setdefault("name", "x")
        return dict(out)

    def update(self, manager: str, body: dict[str, Any], *, subresource: str = "") -> dict[str, Any]:
        """A create or PUT of a whole object."""
        new = normalize(SCHEMA, self.type_name, self.full(body))
        if self.live is not None:
            new["metadata"]["uid"] = "1"
        write = self._write(manager, subresource)
        self.live = self.manager.track(self.live, new, type_name=self.type_name, write=write)
        self.live["metadata"]["uid"] = "1"
        return self.live

    def apply(
        self, manager: str, body: dict[str, Any], *, force: bool = False, subresource: str = ""
    ) -> dict[str, Any]:
        """A server-side apply."""
        merged = self.manager.apply(
            self.live,
            self.full(body),
            type_name=self.type_name,
            write=self._write(manager, subresource),
            force=force,
        )
        new = normalize(SCHEMA, self.type_name, merged)
        new["metadata"]["uid"] = "1"
        if self.live is not None:
            keep_times(new, self.live)
        self.live = new
        return new

    def owners(self) -> dict[str, list[str]]:
        """Manager (with operation, and subresource if any) to the paths that it owns, as messages print them."""
        assert self.live is not None
        out: dict[str, list[str]] = {}
        for entry in self.live["metadata"].get("managedFields", ()):
            key = "/".join(
                p for p in (entry["manager"], entry["operation"], entry.get("subresource", "")) if p
            )
            out[key] = sorted(printed(path) for path in paths(entry["fieldsV1"]))
        return out

    def body(self) -> dict[str, Any]:
        """The object without what this harness adds."""
        assert self.live is not None
        out = orjson.loads(orjson.dumps(self.live))
        for key in ("uid", "managedFields"):
            out["metadata"].pop(key, None)
        return dict(out)
