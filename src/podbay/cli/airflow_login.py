"""--airflow-url and --airflow-user: which Airflow, as whom. The password comes from the environment."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated

import typer

from podbay.errors import InvalidInputError

if TYPE_CHECKING:
    from podbay.healer.airflow_api import AirflowLogin

__all__ = ["HereOption", "UrlOption", "UserOption", "airflow_login", "login_here"]

UrlOption = Annotated[
    str, typer.Option("--airflow-url", envvar="PODBAY_AIRFLOW_URL", help="Address of Airflow's API server.")
]
HereOption = Annotated[
    str,
    typer.Option(
        "--airflow-url",
        envvar="PODBAY_AIRFLOW_URL",
        help="Address of Airflow's API server; that of podbay up when absent.",
    ),
]
UserOption = Annotated[
    str,
    typer.Option(
        "--airflow-user",
        envvar="PODBAY_AIRFLOW_USER",
        help="User name; the password is read from $PODBAY_AIRFLOW_PASSWORD. $PODBAY_AIRFLOW_TOKEN replaces both.",
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


def login_here(url: str, user: str) -> AirflowLogin:
    """The Airflow that is named, or else that of the running `podbay up`, as its own user. Raises InvalidInputError."""
    if url:
        return airflow_login(url, user)
    from podbay.airflow.running import stack

    up = str(stack.status().get("url") or "")
    if not up:
        raise InvalidInputError(
            "no Airflow is named and none is up here. Start it (podbay up), or name yours: "
            "--airflow-url URL --airflow-user NAME, password in PODBAY_AIRFLOW_PASSWORD"
        )
    if user or os.environ.get("PODBAY_AIRFLOW_TOKEN"):
        return airflow_login(up, user)
    from podbay.healer.airflow_api import AirflowLogin

    return AirflowLogin(url=up, username=stack.USER, password=stack.password())
