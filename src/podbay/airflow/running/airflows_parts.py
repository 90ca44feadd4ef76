"""Changing a part of Airflow in this process, as long as that part is built as expected."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

__all__ = ["changes_airflow"]


def changes_airflow(or_else: str) -> Callable[[Callable[[], None]], Callable[[], bool]]:
    """For a function that looks at all that it needs of Airflow before it changes anything.

    Gives one that tells whether it worked. If something is missing or has another form, Airflow stays as it is and
    `or_else` is logged: what is slower then.
    """

    def decorate(change: Callable[[], None]) -> Callable[[], bool]:
        @functools.wraps(change)
        def changed() -> bool:
            try:
                change()
            except (ImportError, AttributeError, TypeError, ValueError) as err:
                logging.getLogger(change.__module__).warning("%s: %s", or_else, err)
                return False
            return True

        return changed

    return decorate
