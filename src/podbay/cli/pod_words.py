"""The options that describe a pod, shared by `podbay pod run` and `podbay render`.

`PodWords` is what was written on the command line; pod_request.py makes a PodRequest of it. `takes_words` gives a
command one parameter of such a class instead of thirty.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand

__all__ = ["CommandAfterDashes", "PodWords", "Pull", "Result", "command_of", "takes_words"]

_META = "podbay.command"


class Result(StrEnum):
    """--result"""

    none = "none"
    sidecar = "sidecar"
    termination_message = "termination_message"


class Pull(StrEnum):
    """--pull, in the words of container tools."""

    always = "always"
    missing = "missing"
    never = "never"


_Words = list[str] | None


@dataclass(frozen=True, kw_only=True)
class PodWords:
    """As written; nothing is checked yet."""

    image: Annotated[
        str | None, typer.Argument(metavar="IMAGE", help="May be left out if the template has one.")
    ] = None
    name: Annotated[str | None, typer.Option(help="Of the pod; else one is made of the image's.")] = None
    env: Annotated[
        _Words, typer.Option("--env", "-e", metavar="NAME[=VALUE]", help="NAME alone passes your own value.")
    ] = None
    env_from_file: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="NAME=VALUE lines.", dir_okay=False)
    ] = None
    secret: Annotated[
        _Words,
        typer.Option(metavar="NAME[:KEY][=VAR|=/DIR]", help="A Kubernetes Secret as variables or files."),
    ] = None
    config_map: Annotated[_Words, typer.Option(metavar="NAME", help="All keys as variables.")] = None
    cpu: Annotated[
        str | None, typer.Option(metavar="REQUEST[:LIMIT]", help="500m is both, 500m: has no limit.")
    ] = None
    memory: Annotated[str | None, typer.Option(metavar="REQUEST[:LIMIT]", help="Such as 512Mi.")] = None
    gpu: Annotated[str | None, typer.Option(metavar="[RESOURCE=]N", help="nvidia.com/gpu unless named.")] = (
        None
    )
    mount: Annotated[
        _Words,
        typer.Option(
            metavar="KIND:NAME:PATH[:ro]",
            help="host:/data:/data, pvc:CLAIM:/data, secret:NAME:/etc/x, configmap:NAME:/etc/x, empty:/scratch",
        ),
    ] = None
    workdir: Annotated[str | None, typer.Option(metavar="PATH")] = None
    service_account: Annotated[str | None, typer.Option(metavar="NAME")] = None
    node_selector: Annotated[_Words, typer.Option(metavar="LABEL=VALUE", help="Only on such nodes.")] = None
    label: Annotated[_Words, typer.Option(metavar="NAME=VALUE")] = None
    annotation: Annotated[_Words, typer.Option(metavar="NAME=VALUE")] = None
    pull: Annotated[Pull | None, typer.Option(help="When the image is pulled.")] = None
    pull_secret: Annotated[_Words, typer.Option(metavar="NAME", help="For the image registry.")] = None
    template: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A pod as YAML, below all other options.", dir_okay=False),
    ] = None
    replace_entrypoint: Annotated[
        bool, typer.Option("--command", help="COMMAND replaces the image's entrypoint, too.")
    ] = False
    result: Annotated[
        Result,
        typer.Option(
            metavar="HOW",
            help="How /airflow/xcom/return.json comes back: sidecar, termination_message (small ones), none.",
        ),
    ] = Result.none
    sidecar_image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="For --result sidecar: any with a POSIX shell.")
    ] = None


class CommandAfterDashes(TyperCommand):
    """Everything after `--` is the container's; what stands before it is ours, so an image may be left out.

    The context is Click's, which Typer brings under one name or another.
    """

    allow_extra_args = True

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta[_META] = args[at + 1 :]
            args = args[:at]
        left: list[str] = super().parse_args(ctx, args)
        if left:
            ctx.fail(f"{' '.join(left)}: write the container's command after `--`")
        return left

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


def command_of(ctx: typer.Context) -> Sequence[str]:
    """The words after `--`."""
    words: Sequence[str] = ctx.meta.get(_META, ())
    return words


def takes_words(*classes: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command, as its first arguments, objects of these dataclasses; their fields become its options."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function).parameters.values())[len(classes) :]
        hints = get_type_hints(function, include_extras=True)
        parameters = [parameter for cls in classes for parameter in _parameters(cls)]
        parameters += [each.replace(annotation=hints[each.name]) for each in own]

        @functools.wraps(function)
        def command(**given: Any) -> None:
            made = [
                cls(**{field.name: given.pop(field.name) for field in dataclasses.fields(cls)})
                for cls in classes
            ]
            function(*made, **given)

        # What Typer reads: the signature, and the annotations beside it.
        command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
        )
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        del command.__wrapped__
        return command

    return decorate


def _parameters(cls: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(cls, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in dataclasses.fields(cls)
    ]
