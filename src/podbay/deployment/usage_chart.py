"""Usage as bars in one SVG file, readable by itself and in a page, light or dark. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from podbay.deployment.model import Prices
from podbay.deployment.usage import Usage, price_of

__all__ = ["usage_chart"]

_BARS: Final = 40
"""More cannot be read; the rest is one bar of its own."""
_ROW, _TOP, _LEFT, _WIDTH, _BAR = 22, 48, 300, 860, 380
_LONGEST: Final = 44
_STYLE: Final = (
    "text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-size:15px;font-weight:600}.n{text-anchor:end}"
    "rect{fill:#2f6feb}rect.m{fill:#8a63d2}rect.p{fill:none}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}}"
)


def usage_chart(usages: Sequence[Usage], prices: Prices, *, title: str) -> str:
    """Two bars for each: CPU above, memory below, each beside its figure; the price last."""
    shown = _shown(usages)
    most_cpu = max((each.cpu_hours for each in shown), default=0.0) or 1.0
    most_memory = max((each.memory_hours for each in shown), default=0.0) or 1.0
    height = _TOP + _ROW * max(len(shown), 1) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<text class="t" x="12" y="24">{escape(title)}</text>',
    ]
    if not shown:
        parts.append(f'<text x="12" y="{_TOP + 14}">nothing was used</text>')
    for index, each in enumerate(shown):
        top = _TOP + _ROW * index
        cpu, memory = each.cpu_hours / most_cpu * _BAR, each.memory_hours / most_memory * _BAR
        figures = f"{each.cpu_hours:.2f} vCPU h, {each.memory_hours:.2f} GiB h{_price(each, prices)}"
        parts += [
            f'<text class="n" x="{_LEFT - 8}" y="{top + 13}">{escape(_cut(each.name))}</text>',
            f'<rect x="{_LEFT}" y="{top + 2}" width="{cpu:.1f}" height="8"/>',
            f'<rect class="m" x="{_LEFT}" y="{top + 11}" width="{memory:.1f}" height="5"/>',
            f'<text x="{_LEFT + max(cpu, memory) + 8:.1f}" y="{top + 13}">{escape(figures)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def _shown(usages: Sequence[Usage]) -> list[Usage]:
    rest = usages[_BARS:]
    if not rest:
        return list(usages)
    others = Usage(f"{len(rest)} others", pods=sum(each.pods for each in rest))
    others.cpu_hours = sum(each.cpu_hours for each in rest)
    others.memory_hours = sum(each.memory_hours for each in rest)
    return [*usages[:_BARS], others]


def _price(usage: Usage, prices: Prices) -> str:
    price = price_of(usage, prices)
    return f", {price:.2f} {prices.currency}" if price else ""


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
