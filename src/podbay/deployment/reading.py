"""podbay.yaml from text or file to a Deployment. Every problem at once, each with file, line and field path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from podbay import __version__
from podbay.deployment.consistency import contradictions
from podbay.deployment.format import FILE, VERSION
from podbay.deployment.model import Deployment
from podbay.errors import InvalidInputError
from podbay.pods.positions import parse_document
from podbay.pods.problems import Problem, refuse

__all__ = ["FILE_NAME", "load_deployment", "parse_deployment"]

FILE_NAME = "podbay.yaml"


def load_deployment(path: Path) -> Deployment:
    """Read the file. Raises InvalidInputError with everything that is wrong."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise InvalidInputError(
            f"{path} does not exist. Make one with `podbay init`, or name yours with --file."
        ) from None
    except OSError as err:
        raise InvalidInputError(f"{path} cannot be read: {err.strerror}") from err
    return parse_deployment(text, str(path))


def parse_deployment(text: str | bytes, source: str = FILE_NAME) -> Deployment:
    """Read the text. `source` is the file's name for messages. Raises InvalidInputError."""
    document = parse_document(text, source, "deployment")
    _refuse_newer(document.value, source)
    problems = list(document.repeated_keys())
    made = FILE.read(document.value, "", problems)
    if made is not None:
        # What is missing or unreadable would only be complained about twice.
        problems += [] if problems else contradictions(made)
    refuse(source, sorted(document.placed(problems), key=_line_of))
    assert isinstance(made, Deployment)
    return replace(made, source=source)


def _refuse_newer(value: Any, source: str) -> None:
    version = value.get("version") if isinstance(value, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise InvalidInputError(
            f"{source}: version: {version} is newer than what Podbay {__version__} understands ({VERSION}). "
            "Upgrade Podbay."
        )


def _line_of(problem: Problem) -> int:
    return int(problem.path.removeprefix("line ").partition(":")[0])
