"""Trouble that passes by itself, and trouble that stays until somebody does something. Pure, but for the waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

from podbay.errors import ApiError, InvalidInputError, PodbayError

__all__ = ["answered", "is_lasting", "is_outside", "pauses", "words_of"]

FIRST_PAUSE: Final = 5.0
LONGEST_PAUSE: Final = 60.0
_ANSWERED_ELSEWHERE: Final = (401, 408, 409, 425, 429)
"""Refusals that another attempt may not meet."""

T = TypeVar("T")


def is_lasting(error: Exception) -> bool:
    """Another attempt would end in the same way."""
    if isinstance(error, ApiError):
        return 400 <= error.code < 500 and error.code not in _ANSWERED_ELSEWHERE
    return isinstance(error, InvalidInputError)


def is_outside(error: Exception) -> bool:
    """Of Airflow, the cluster, a cloud or a person, and not a mistake of ours."""
    # AirflowRuntimeError: its API has answered with an error. By name, for there may be no Airflow here.
    return isinstance(error, PodbayError | OSError) or type(error).__name__ == "AirflowRuntimeError"


def words_of(error: Exception) -> str:
    """For a line of the log."""
    return str(error) or type(error).__name__


def pauses(longest: float = LONGEST_PAUSE) -> Iterator[float]:
    """Seconds between attempts, without end."""
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(longest, 2 * pause)


async def answered(ask: Callable[[], Awaitable[T]], say: Callable[[str], None], *, seconds: float) -> T:
    """What is asked of Airflow, again and again for so long. Raises what the last attempt did."""
    until = asyncio.get_running_loop().time() + seconds
    for pause in pauses():
        try:
            return await ask()
        except InvalidInputError:
            raise
        except Exception as error:
            if asyncio.get_running_loop().time() + pause > until:
                raise
            say(f"Airflow has not answered: {words_of(error)}; it is asked again in {pause:g} s.")
        await asyncio.sleep(pause)
    raise AssertionError("the pauses have no end")
