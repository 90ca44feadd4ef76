"""Help without the type of what takes no value: since Typer 0.29 each flag would have `<bool>` beside it."""

from __future__ import annotations

from typing import Any

__all__ = ["untyped_flags"]


def untyped_flags(command: Any) -> Any:
    """The same command, with all below it. Any, because newer Typers bring Click along and older ones import it."""
    # The option --help is made on first use, and then kept.
    own_help = command.get_help_option(command.context_class(command))
    for option in [*command.params, own_help]:
        if getattr(option, "is_flag", False):
            option.metavar = ""
    for each in getattr(command, "commands", {}).values():
        untyped_flags(each)
    return command
