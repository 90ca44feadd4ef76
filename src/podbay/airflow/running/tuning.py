"""What makes a triggerer quick, in the order in which it must be done, before one is made in this process."""

from __future__ import annotations

import logging
import sys

from podbay.airflow.running import lively_triggerer, thrifty_triggerer
from podbay.airflow.running.lean_api import serve_own_version_only
from podbay.airflow.running.patient_sqlite import wait_for_writers

__all__ = ["be_triggerer", "tune_triggerer"]


def tune_triggerer() -> bool:
    """Whether this Airflow is built as expected; what is not stays as Airflow has it, with a warning."""
    wait_for_writers()
    done = (
        serve_own_version_only(),
        lively_triggerer.look_often(),
        lively_triggerer.send_only_useful_callbacks(),
        thrifty_triggerer.share_dags(),
        thrifty_triggerer.read_logs_in_bulk(),
        thrifty_triggerer.answer_directly(),
    )
    return all(done)


def be_triggerer(arguments: list[str]) -> None:
    """Airflow's own command `triggerer` with these arguments, until it ends."""
    from airflow.__main__ import main

    if tune_triggerer():
        logging.getLogger(__name__).info(
            "Podbay's triggerer: looks five times a second, makes each DAG once."
        )
    sys.argv = ["airflow", "triggerer", *arguments]
    main()
