"""Namespaces like `misty-harbor-4821`: easy to say, hard to confuse, unlikely to be there already (spec 10).

Generated once, by `podbay init` or the first `podbay apply`, and kept in podbay.yaml.
"""

from __future__ import annotations

import random
import re

from podbay.errors import InvalidInputError

__all__ = ["generate_namespace", "with_namespace"]


def _words(text: str) -> list[str]:
    return text.split()


_FIRST = _words(
    "amber ancient arctic autumn blazing bold bright calm celestial clear cosmic crimson distant divine eager early "
    "electric emerald fair fluent frosty gentle gleaming golden granular halcyon hidden hollow humble icy infrared "
    "inner ivory jolly keen kind lively lucid lunar magnetic mellow metallic misty modern noble northern opaque open "
    "orange pale patient polar primal quaint quiet radiant rapid resonant robust royal rustic sage scarlet serene "
    "silent silver sincere smooth snowy solar sonic spare stellar still sunny swift tidal true twinkling ultra vast "
    "verdant vivid warm wide wild windy wise young zealous"
)
_SECOND = _words(
    "anchor asteroid aurora bay beacon bloom breeze brook canyon cascade cliff cloud comet coral cosmos creek crystal "
    "dawn delta dune eclipse ember equator field fjord flare forest galaxy garden glacier grove gulf harbor haze "
    "horizon island juniper kelp lagoon lake lantern latitude light lynx maple meadow meridian mesa meteor mist moon "
    "moss nebula nova oak oasis ocean orbit otter palm peak pebble pine planet plateau pond prairie quasar quartz rain "
    "reef ridge river rocket sail sea shore sky spark spring star stone storm summit sun tide trail valley vertex "
    "wave willow wind zenith"
)


def generate_namespace(rng: random.Random) -> str:
    """`<word>-<word>-<4 digits>`: about ten to the eighth of them."""
    return f"{rng.choice(_FIRST)}-{rng.choice(_SECOND)}-{rng.randrange(1000, 10000)}"


def with_namespace(text: str, namespace: str) -> str:
    """The text of a podbay.yaml with its namespace added after the name; comments and everything else stay.

    Raises InvalidInputError when there is no line `name:` to put it after, as in a file of one line.
    """
    empty = re.sub(r"(?m)^namespace:[ \t]*(#.*)?$\n?", "", text)
    changed, count = re.subn(r"(?m)^(name:.*)$", rf"\1\nnamespace: {namespace}", empty, count=1)
    if count != 1:
        raise InvalidInputError(
            f"write `namespace: {namespace}` into the file yourself: it has no line `name: …`"
        )
    return changed
