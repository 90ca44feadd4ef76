"""--airflow-url and --airflow-user: which Airflow, as whom. The password comes from the environment."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated

import typer

from podbay.errors import InvalidInputError

if TYPE_CHECKING:
    from podbay.healer.airflow_api import AirflowLogin

__all__ = ["UrlOption", "UserOption", "airflow_login"]

UrlOption = Annotated[
    str, typer.Option("--airflow-url", envvar="PODBAY_AIRFLOW_URL", help="Of Airflow's API server.")
]
UserOption = Annotated[
    str,
    typer.Option(
        "--airflow-user",
        envvar="PODBAY_AIRFLOW_USER",
        help="Its password: PODBAY_AIRFLOW_PASSWORD. Instead of both: PODBAY_AIRFLOW_TOKEN.",
    ),
]


def airflow_login(url: str, user: str) -> AirflowLogin:
    """Raises InvalidInputError."""
    from podbay.healer.airflow_api import AirflowLogin

    if not re.match(r"https?://[^\s/@]+", url) or "@" in url:
        raise InvalidInputError(
            f"--airflow-url: {url.rpartition('@')[2]!r} is no http(s) address without a login"
        )
    # Not as options: a command line can be read by everybody on the machine.
    password = os.environ.get("PODBAY_AIRFLOW_PASSWORD", "")
    if user and not password:
        raise InvalidInputError("--airflow-user needs its password in PODBAY_AIRFLOW_PASSWORD")
    return AirflowLogin(
        url=url, username=user, password=password, token=os.environ.get("PODBAY_AIRFLOW_TOKEN", "")
    )
