"""Which Airflow `podbay usage` asks: the one that is named, else that of the running `podbay up`."""

from __future__ import annotations

import pytest

from podbay.airflow.running import stack
from podbay.cli.airflow_login import login_here
from podbay.cli.usage import _good
from podbay.errors import AirflowApiError, InvalidInputError

UP = "http://127.0.0.1:8081"
VARIABLES = ("PODBAY_AIRFLOW_PASSWORD", "PODBAY_AIRFLOW_TOKEN")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "status", lambda: {"url": UP})
    monkeypatch.setattr(stack, "password", lambda: "of-up")


def test_that_of_podbay_up_with_its_own_login(up: None) -> None:
    login = login_here("", "")
    assert (login.url, login.username, login.password) == (UP, "admin", "of-up")


def test_that_of_podbay_up_as_somebody_else(up: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODBAY_AIRFLOW_PASSWORD", "mine")
    login = login_here("", "me")
    assert (login.url, login.username, login.password) == (UP, "me", "mine")


def test_another_one_never_gets_the_password_of_podbay_up(up: None) -> None:
    login = login_here("https://airflow.example", "")
    assert (login.url, login.username, login.password) == ("https://airflow.example", "", "")


def test_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "status", dict)
    with pytest.raises(InvalidInputError) as caught:
        login_here("", "me")
    assert str(caught.value) == (
        "no Airflow is named and none is up here. Start it (podbay up), or name yours: "
        "--airflow-url URL --airflow-user NAME, password in PODBAY_AIRFLOW_PASSWORD"
    )


def test_a_refusal_is_called_one() -> None:
    with pytest.raises(AirflowApiError, match=r"Airflow refuses the login \(403\): Forbidden\. "):
        _good(403, {"detail": "Forbidden"})
    with pytest.raises(AirflowApiError, match="does not tell of XComs: status 500"):
        _good(500, None)
