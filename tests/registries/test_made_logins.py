"""The login of `podbay registry add` before anything is proven or written: what is not there is refused."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from podbay.cli.registry_login import made_login
from podbay.errors import InvalidInputError

AUTH = "dTpw"
"""u:p"""


def config(directory: Path, *keys: str) -> Path:
    path = directory / "config.json"
    path.write_text(json.dumps({"auths": {key: {"auth": AUTH} for key in keys}}))
    return path


@pytest.mark.parametrize(
    ("keys", "place", "found"),
    [
        (["ghcr.io"], "ghcr.io/team", ["ghcr.io/team"]),
        (["ghcr.io/team", "ghcr.io/other"], "ghcr.io/team", ["ghcr.io/team"]),
        (["ghcr.io/team", "ghcr.io/other"], "ghcr.io", ["ghcr.io/team", "ghcr.io/other"]),
    ],
)
def test_docker_s_logins_for_a_part_of_a_registry(
    tmp_path: Path, keys: list[str], place: str, found: list[str]
) -> None:
    made = made_login(place, None, config(tmp_path, *keys), cloud=False)
    assert [each.place for each in made.logins] == found


def test_docker_has_a_login_for_another_part_of_the_registry(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        made_login("ghcr.io/team", None, config(tmp_path, "ghcr.io/other", "quay.io"), cloud=False)
    assert str(caught.value) == (
        f"{tmp_path}/config.json has no login for ghcr.io/team: docker login ghcr.io. "
        "It has: ghcr.io/other, quay.io"
    )


def test_a_password_that_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"hidden-\xff\n")))
    with pytest.raises(InvalidInputError, match=r"the password of me at ghcr\.io is no UTF-8") as caught:
        made_login("ghcr.io", "me", None, cloud=False)
    assert "hidden" not in str(caught.value)
