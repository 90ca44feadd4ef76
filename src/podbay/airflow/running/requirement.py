"""Whether this Python has an Airflow that will do. Looks at package metadata only: importing Airflow takes seconds."""

from __future__ import annotations

import importlib.metadata
import re

from podbay.errors import InvalidInputError
from podbay.extras import pip_install

__all__ = ["PROVIDER", "require_airflow"]

OLDEST = (3, 3)
PROVIDER = "apache-airflow-providers-cncf-kubernetes"


def require_airflow() -> str:
    """The version of the Airflow of this Python. Raises InvalidInputError when there is none, or an older one."""
    try:
        version = importlib.metadata.version("apache-airflow-core")
    except importlib.metadata.PackageNotFoundError:
        older = _older()
        if older is None:
            raise InvalidInputError(
                f"this needs Apache Airflow 3.3 or newer, and there is none here. "
                f"Install it beside podbay: {pip_install('airflow')}"
            ) from None
        raise _too_old(older) from None
    numbers = [int(part) for part in re.findall(r"\d+", version)[:2]]
    if tuple(numbers) < OLDEST:
        raise _too_old(version)
    return version


def _older() -> str | None:
    """Airflow 2 came as one package."""
    try:
        return importlib.metadata.version("apache-airflow")
    except importlib.metadata.PackageNotFoundError:
        return None


def _too_old(version: str) -> InvalidInputError:
    return InvalidInputError(
        f"this needs Apache Airflow 3.3 or newer, and here is {version}. Upgrade it: "
        f"{pip_install('airflow', upgrade=True)}"
    )
