"""How to install: what messages and pages say is what pip can do, without a package index that has Podbay."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from podbay.extras import EXTRAS, pip_install

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_messages_name_the_packages_of_the_extras() -> None:
    assert {name: list(packages) for name, packages in EXTRAS.items()} == DECLARED
    assert pip_install("aws", "gcp") == 'pip install "boto3>=1.34" "google-auth[requests]>=2.29"'
    assert pip_install("aws", upgrade=True) == 'pip install --upgrade "boto3>=1.34"'


def test_nobody_is_sent_to_a_package_that_is_not_there() -> None:
    for file in [*PAGES, *(ROOT / "src").rglob("*.py")]:
        assert not re.search(r"pip install [^\n]*podbay\[", file.read_text()), file


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_known_packages(page: Path) -> None:
    known = {each for packages in DECLARED.values() for each in packages}
    # In quotes, because of the shell: those with a least version.
    for package in re.findall(r'"([\w\[\]-]+>=[\d.]+)"', page.read_text()):
        assert package in known, package
