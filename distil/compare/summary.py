"""A comparison as tables for the terminal, and as JSON data."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from distil.compare.comparison import Comparison
from distil.compare.methods import Method, differing
from distil.compare.record import BUDGETS, RunRecord
from distil.compare.verdict import number, percent, verdict
from distil.report import table

Row = dict[str, str | float | None]


def summary(found: Comparison) -> str:
    """Return the verdict and the tables as text of at most 80 columns, where the names allow."""
    where = "held-out episodes" if found.held_out else "tuning episodes"
    pairs = {id(pair.other): pair for pair in found.pairs}
    scores: list[Row] = []
    for method in found.methods:
        pair = pairs.get(id(method))
        chance = pair.improvement.probability if pair is not None and pair.improvement is not None else None
        tie = "" if pair is None or pair.improvement is None or pair.is_clear else " tied"
        scores.append(
            {
                "method": method.name,
                "seeds": len(method.points),
                "return": number(method.mean),
                "95 % interval": None if method.interval is None else " to ".join(map(number, method.interval)),
                "norm.": normalised(method),
                "P(best >)": "best" if method is found.best else percent(chance) + tie,
            }
        )
    parts = [
        table(scores, f"{found.environment or 'no environment'}: return on the {where}", numeric=tuple(scores[0])[1:]),
        table(
            spent := _spent(found.methods),
            "Mean budget of a run; only the seconds include its evaluation",
            numeric=tuple(spent[0])[1:],
        ),
    ]
    if found.trials:
        few = found.trials[:5]
        title = f"Search: best {len(few)} of {len(found.trials)} trials, by their tuning episodes"
        rows: list[Row] = [{"trial": t.name, "return": number(t.mean), "norm.": normalised(t)} for t in few]
        parts.append(table(rows, title, numeric=("return", "norm.")))
    lines = [f"{run.state}: {run.name}{f' ({run.reason})' if run.reason else ''}" for run in found.unfinished]
    lines += [f"no score: {run.name}" for run in found.unscored]
    rest = ["\n".join(lines) + "\n"] if (lines := [*map(_filled, (*lines, *found.notes))]) else []
    return "\n".join([*parts, *rest, _filled(verdict(found))])


def normalised(method: Method) -> str | None:
    """Return the normalised score as text."""
    return None if method.normalised is None else f"{method.normalised:.3f}"


def _filled(text: str) -> str:
    return textwrap.fill(text, 80, break_long_words=False, break_on_hyphens=False)


def _spent(methods: Sequence[Method]) -> list[Row]:
    known = [key for key in BUDGETS if any(method.budget(key) is not None for method in methods)]
    return [{"method": method.name, **{BUDGETS[key]: amount(method.budget(key)) for key in known}} for method in methods]


def amount(value: float | None) -> str:
    """Return an amount of a budget as text."""
    return "\N{EN DASH}" if value is None else f"{value:.1f}" if value < 100 and value % 1 else f"{value:,.0f}"


def to_json(found: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON data."""
    keys = differing(found.methods)
    return {
        "verdict": verdict(found),
        "environment": found.environment,
        "episodes": "held_out" if found.held_out else "tuning",
        "methods": [
            _method(method) | {"parameters": {key: method.config.get(key) for key in keys}} for method in found.methods
        ],
        "pairs": [
            {
                "best": found.best.name,
                "other": pair.other.name,
                "probability_of_improvement": pair.improvement.probability if pair.improvement else None,
                "p_value": pair.improvement.p_value if pair.improvement else None,
                "adjusted_p_value": pair.adjusted_p,
                "difference": asdict(pair.difference) if pair.difference else None,
                "clear": pair.is_clear,
            }
            for pair in found.pairs
        ],
        "trials": [_method(method) for method in found.trials],
        "unfinished": [_run(run) for run in found.unfinished],
        "unscored": [_run(run) for run in found.unscored],
        "notes": list(found.notes),
    }


def _method(method: Method) -> dict[str, Any]:
    low, high = method.interval or (None, None)
    return {
        "name": method.name,
        "algorithm": method.algorithm,
        "return_mean": method.mean,
        "return_ci_low": low,
        "return_ci_high": high,
        "return_iqm": method.iqm,
        "normalised": method.normalised,
        "budgets": method.budgets,
        "runs": [_run(run) | {"score": score} for run, score in zip(method.runs, method.scores, strict=True)],
    }


def _run(run: RunRecord) -> dict[str, Any]:
    return {
        "name": run.name,
        "path": None if run.path is None else str(run.path),
        "seed": run.seed,
        "state": run.state,
        "reason": run.reason,
        "commit": run.commit,
        "version": run.version,
        "store": run.store,
        "command": run.command,
        "mlflow_id": run.mlflow_id,
    }
