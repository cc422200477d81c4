"""The tables of benchmarks/README.md, from the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peers_plan import CONTESTANTS, TASKS

from distil.stats import mean_interval

Results = Mapping[str, Any]
_SHORT = {
    "distil": "distil",
    "distil-untracked": "distil, untracked",
    "imitation-best": "imitation at its best",
    "imitation": "imitation, defaults",
}
_CAPTION = """\
CPU-seconds of the whole process, and of training alone, until a policy reaches 0.9 of the way from the random policy to the
expert, and the score at the end. Means over seeds, with 95 % intervals. Untracked: without MLflow (`tracking.enabled=false`);
imitation records no runs. At its best, imitation has the network, steps and schedule of distil's recipe, and normalises
its inputs."""
_HEAD = (
    "contestant",
    "to 0.9: CPU-s of the process",
    "of training",
    "samples or labels",
    "at the end: score",
    "CPU-s of the process",
    "of training",
    "samples or labels",
)


def full(results: Results) -> str:
    """Return the table with all contestants."""
    lines = [f"| {' | '.join(('', *_HEAD))} |", "|---" * (len(_HEAD) + 1) + "|"]
    for task in TASKS:
        title = TASKS[task].title
        for contestant in CONTESTANTS:
            if cells := cells_of(results, task, contestant):
                lines.append(f"| {title} | {' | '.join(_row(task, contestant, cells))} |")
                title = ""
    return "\n".join(lines)


def short(results: Results) -> str:
    """Return the table with distil and imitation: costs and scores, and what they are."""
    lines = [_CAPTION, "", f"| | | {' | '.join(_SHORT.values())} |", "|---" * (len(_SHORT) + 2) + "|"]
    for task, entry in TASKS.items():
        found = [cells_of(results, task, contestant) for contestant in _SHORT]
        if any(found):
            costs, ends = ([show(cells) if cells else "-" for cells in found] for show in (_cost, _score))
            lines.append(f"| {entry.title} | CPU-s to 0.9 (training) | {' | '.join(costs)} |")
            lines.append(f"| | score at the end | {' | '.join(ends)} |")
    return "\n".join(lines)


def fill(page: Path, results: Results) -> None:
    """Put the tables between the page's marks."""
    text = page.read_text()
    for name, table in tables(results).items():
        head, mark, rest = text.partition(f"<!-- peers.py: {name} -->\n")
        if mark:
            text = f"{head}{mark}{table}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"
    page.write_text(text)


def tables(results: Results) -> dict[str, str]:
    """Return all that the pages show, by the name of its mark."""
    return {"full": full(results), "short": short(results), "left out": left_out(results)}


def left_out(results: Results) -> str:
    """Return which libraries are left out, where, and why."""
    lines = [f"- {name}: {why}" for name, why in results["left_out"].items()]
    return "\n".join(["Left out:", "", *lines] if lines else ["No library is left out."])


def cells_of(results: Results, task: str, contestant: str) -> list[Any]:
    """Return the measured cells, one per seed."""
    return [cell for cell in results["cells"] if (cell["task"], cell["contestant"]) == (task, contestant)]


def ratio(results: Results, task: str, contestant: str) -> float | None:
    """Return CPU-seconds to the goal relative to those of imitation at its best; None if one of them does not reach it."""
    found = []
    for name in (contestant, "imitation-best"):
        reached = [cell["reached"] for cell in cells_of(results, task, name)]
        if not reached or None in reached:
            return None
        found.append(sum(point["whole_s"] for point in reached) / len(reached))
    return found[0] / found[1]


def _row(task: str, contestant: str, cells: Sequence[Any]) -> list[str]:
    unit = TASKS[task].unit
    ends = [cell["end"] for cell in cells]
    return [
        CONTESTANTS[contestant].title,
        _reached(cells, "whole_s"),
        _reached(cells, "train_s"),
        _reached(cells, unit),
        _score(cells),
        *(_mean([end[name] for end in ends]) for name in ("whole_s", "train_s", unit)),
    ]


def _reached(cells: Sequence[Any], name: str) -> str:
    found = [cell["reached"][name] for cell in cells if cell["reached"] is not None]
    if len(found) == len(cells):
        return _spread(found, 1) if name == "whole_s" else _mean(found)
    if name != "whole_s":
        return ""
    return f"not reached ({len(found)} of {len(cells)} seeds)" if found else "not reached"


def _cost(cells: Sequence[Any]) -> str:
    found = [cell["reached"] for cell in cells]
    if None in found:
        return _reached(cells, "whole_s")
    return f"{_mean([point['whole_s'] for point in found])} ({_mean([point['train_s'] for point in found])})"


def _score(cells: Sequence[Any]) -> str:
    return _spread([cell["end"]["score"] for cell in cells], 2)


def _average(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _mean(values: Sequence[float]) -> str:
    mean = _average(values)
    return f"{mean:,.0f}" if mean >= 1000 or isinstance(values[0], int) else f"{mean:.1f}"  # numbers of samples are whole


def _spread(values: Sequence[float], digits: int) -> str:
    """Return the mean and its 95 % interval; it is left out for one seed."""
    interval = mean_interval(values)
    mean = f"{_average(values):.{digits}f}"
    return mean if interval is None else f"{mean} ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})"
