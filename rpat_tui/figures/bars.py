"""Perception in the terminal: the paper's Fig. 2 as horizontal bars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from rpat_tui.figures.glyphs import ASCII, RICH, Glyphs
from rpat_tui.figures.reading import Pair, apart, common, number

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

SUCCESS, FAILURE = "#0072b2", "#e69f00"
_LABEL = 13
_VALUE = 10
_COUNT = 10
_WIDEST = 140


@dataclass(frozen=True, slots=True)
class Bars:
    """Four bars for each network and perturbation: two of the logit MSE, two accuracies."""

    pairs: Sequence[Pair]
    width: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw as the console can."""
        signs = ASCII if options.ascii_only else RICH
        for line in self.lines(signs):
            line.rstrip()
            yield line

    def lines(self, signs: Glyphs) -> Iterator[Text]:
        """Yield the figure's lines."""
        width = min(self.width, _WIDEST)
        room = max(width - _LABEL - _VALUE - _COUNT, 6)
        own = apart(self.pairs)
        highest = max(pair.top for pair in self.pairs)
        title = "Perception: how far a perturbation moves the logits"
        yield from (Text(words, style="bold") for words in signs.wrap(title, width))
        note = "each pair of bars has a scale of its own" if own else "one scale for all bars"
        settings = common(pair.setting for pair in self.pairs)
        for words in (settings, f"bars: MSE of the logits, {note}"):
            yield from (Text(part, style="dim") for part in signs.wrap(words, width))
        for pair in self.pairs:
            yield Text()
            yield self._heading(pair, signs, room + _LABEL + _VALUE + _COUNT)
            top = pair.top if own else highest
            for name, value, n, style in (
                ("success", pair.success, pair.n_success, SUCCESS),
                ("failure", pair.failure, pair.n_failure, FAILURE),
            ):
                line = Text(f"  {name:{_LABEL - 2}}")
                line.append(signs.bar(value or 0.0, top, room), style=style)
                line.append(f"{number(value, signs.none):>{_VALUE}}")
                yield line.append(f"{'n ' + str(n):>{_COUNT}}", style="dim")
            for name, value in (("clean", pair.clean_acc), ("perturbed", pair.perturbed_acc)):
                line = Text(f"  {name:{_LABEL - 2}}")
                line.append(signs.rule(value, 100.0, room), style="dim")
                yield line.append(f"{value:>{_VALUE}.1f}").append(" %", style="dim")

    def _heading(self, pair: Pair, signs: Glyphs, width: int) -> Text:
        ratio = f"failure / success {number(pair.ratio, signs.none)}"
        title = signs.text(f"{pair.subject} · {pair.perturbation}")
        title = signs.cut(title, width - len(ratio) - 2)
        line = Text(title, style="bold")
        return line.append(ratio.rjust(width - len(title)), style="not bold")
