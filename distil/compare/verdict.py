"""The verdict: one sentence that says which method is best, by how much, how sure that is, and what is tied."""

from __future__ import annotations

from collections.abc import Sequence

from distil.compare.comparison import Comparison, Pair
from distil.compare.methods import Method

_MAX_NAMES = 3


def verdict(found: Comparison) -> str:
    """Return the verdict on a comparison."""
    best = found.best
    if not found.pairs:
        return f"{best.name}: return {score(best)}; there is no other method to compare it with."
    unknown = [pair for pair in found.pairs if pair.improvement is None]
    tied = [pair for pair in found.pairs if pair.improvement is not None and not pair.is_clear]
    clear = [pair for pair in found.pairs if pair.is_clear]
    if len(unknown) == len(found.pairs):
        more = "train each method with several seeds (seed=1, seed=2, ...)"
        return f"{best.name} has the highest return, {score(best)}, but one seed cannot tell skill from luck: {more}."
    if len(clear) == len(found.pairs):
        others = {1: clear[0].other.name, 2: "both others"}.get(len(clear), f"all {len(clear)} others")
        runner_up = "the runner-up, " if len(clear) > 1 else ""
        return f"{best.name} is better than {others}: return {score(best)}; against {runner_up}{pair_text(clear[0])}."
    parts = [f"{best.name} has the highest return, {score(best)}"]
    if tied:
        parts.append(f"it is tied with {names([pair.other for pair in tied], detail_text(tied[0]))}")
    if unknown:
        parts.append(f"one seed cannot tell it from {names([pair.other for pair in unknown])}")
    if clear:
        parts.append(f"it is better than {names([pair.other for pair in clear])}")
    return "; ".join(parts) + "."


def score(method: Method) -> str:
    """Return a method's return, its interval and the normalised score in words."""
    text = number(method.mean)
    if (interval := method.interval) is not None:
        text += f" ({interval_text(interval)}, {_seeds(method)})"
    if method.normalised is not None:
        text += f", normalised {method.normalised:.3f}"
    return text


def pair_text(pair: Pair) -> str:
    """Return in words how sure it is that the best method is better than another one."""
    return f"{pair.other.name}, {detail_text(pair)}"


def detail_text(pair: Pair) -> str:
    """Return the probability of improvement and the difference in words."""
    assert pair.improvement is not None
    return f"probability of improvement {percent(pair.improvement.probability)}, {difference_text(pair)}"


def difference_text(pair: Pair) -> str:
    """Return the difference of the means in words."""
    difference = pair.difference
    assert difference is not None
    sign = "+" if difference.mean > 0 else ""
    how = f"{difference.num_pairs} pairs of seeds" if difference.num_pairs else "seeds not paired"
    return f"difference {sign}{number(difference.mean)}, {interval_text((difference.low, difference.high))}, {how}"


def interval_text(interval: tuple[float, float]) -> str:
    """Return a 95 % interval in words."""
    return f"95 % interval {number(interval[0])} to {number(interval[1])}"


def number(value: float) -> str:
    """Return a return with as many digits as its size needs."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
    return text.replace("-", "\N{MINUS SIGN}")


def percent(value: float | None) -> str:
    """Return a probability in percent; never 0 % or 100 % for one that is neither."""
    if value is None:
        return "\N{EN DASH}"
    text = f"{100 * value:.0f} %"
    return {"100 %": "> 99 %", "0 %": "< 1 %"}.get(text, text) if 0 < value < 1 else text


def names(methods: Sequence[Method], detail: str = "") -> str:
    """Return the methods' names as an enumeration, the first ones if there are many; `detail` follows the first."""
    found = [method.name for method in methods]
    if len(found) > _MAX_NAMES + 1:
        found = [*found[:_MAX_NAMES], f"{len(found) - _MAX_NAMES} others"]
    if detail:
        found[0] += f" ({detail})"
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"


def _seeds(method: Method) -> str:
    return f"{len(method.points)} seeds" if len(method.points) > 1 else "over the episodes of one seed"
