"""A comparison as one self-contained HTML page: plain HTML and inline SVG, no script, and no request to anywhere."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from distil.compare.charts import curve_figures, levels_of, pareto_figure, scatter, strip, strip_axis, strip_scale
from distil.compare.comparison import Comparison
from distil.compare.html import page, save, table
from distil.compare.methods import Method, differing
from distil.compare.record import BUDGETS, RunRecord
from distil.compare.summary import amount
from distil.compare.svg import MAX_COLOURS, colour
from distil.compare.verdict import number, percent, verdict

MAX_BYTES = 2_000_000  # of the page
_MAX_ROWS = 200  # of the tables of single runs; the JSON output has all
_MAX_SCATTERS = 6


@dataclass(frozen=True, kw_only=True)
class Film:
    """A video for the page."""

    group: str  # whose it is: "expert", or a method's name
    title: str  # "worst"
    caption: str
    mp4: bytes


def write(found: Comparison, path: Path, films: Sequence[Film] = ()) -> Path:
    """Write the page; return `path`. Videos that would make it larger than 2 MB are left out, and it says so."""
    return save(render(found, films), path)


def render(found: Comparison, films: Sequence[Film] = ()) -> str:
    """Return the page's HTML."""
    title = f"{found.environment or 'Runs without an environment'}: comparison of methods"
    levels = levels_of(found.methods)
    sections = [
        _head(found, title, levels),
        _methods(found, levels),
        _pairs(found),
        _figures(found, levels),
        _parameters("Parameters that differ", found.methods),
        _search(found),
        _unfinished(found),
        _runs(found),
        _reading(),
    ]
    size = sum(len(part.encode()) for part in sections)
    sections.insert(4, _films(films, MAX_BYTES - size - 50_000))
    return page(title, sections)


def _head(found: Comparison, title: str, levels: Mapping[str, float]) -> str:
    where = "held-out" if found.held_out else "tuning"
    facts = [f"methods: {len(found.methods)}", f"runs: {len(found.runs)}", f"returns on the {where} episodes"]
    facts += [f"{name}{' policy' if name == 'random' else ''}: {number(value)}" for name, value in levels.items()]
    notes = "".join(f'<p class="dim">{escape(note)}</p>' for note in found.notes)
    verdict_text = escape(verdict(found))
    return f'<h1>{escape(title)}</h1><p class="dim">{escape(" · ".join(facts))}</p><p class="verdict">{verdict_text}</p>{notes}'


def _methods(found: Comparison, levels: Mapping[str, float]) -> str:
    scale = strip_scale(found.methods, levels)
    budgets = [key for key in BUDGETS if any(method.budget(key) is not None for method in found.methods)]
    names = ["mean return", "95 % interval", "normalised", "seeds", *(BUDGETS[key] for key in budgets)]
    head = f'<th>method</th><th class="strip">{strip_axis(scale, levels)}</th>' + "".join(f"<th>{name}</th>" for name in names)
    rows = []
    for index, method in enumerate(found.methods):
        interval = "\N{EN DASH}" if method.interval is None else " to ".join(map(number, method.interval))
        normalised = "\N{EN DASH}" if method.normalised is None else f"{method.normalised:.3f}"
        cells = [number(method.mean), interval, normalised, str(len(method.points))]
        cells += [amount(method.budget(key)) for key in budgets]
        labelled = "".join(f'<td data-label="{name}">{cell}</td>' for name, cell in zip(names, cells, strict=True))
        picture = f'<td class="strip">{strip(method, index, scale, levels)}</td>'
        rows.append(f"<tr><td>{_swatch(index)}{escape(method.name)}</td>{picture}{labelled}</tr>")
    caption = (
        "A dot is a run (one seed), the line the mean, the bar its 95 % interval. Budgets: mean of a run; only the seconds "
        "include its evaluation."
    )
    return (
        f'<h2>Methods</h2><div class="scroll"><table class="methods"><thead><tr>{head}</tr></thead>'
        f'<tbody>{"".join(rows)}</tbody></table></div><p class="dim">{caption}</p>'
    )


def _pairs(found: Comparison) -> str:
    rows = []
    for index, pair in enumerate(found.pairs, 1):
        difference = pair.difference
        if pair.improvement is None or difference is None:
            cells = ["", "", "", "", "", "one seed"]
        else:
            permutation = "" if difference.permutation_p is None else f"{difference.permutation_p:.3g}"
            cells = [
                percent(pair.improvement.probability),
                number(difference.mean),
                f"{number(difference.low)} to {number(difference.high)}",
                f"{difference.num_pairs} pairs" if difference.num_pairs else "not paired",
                permutation,
                "better" if pair.is_clear else "tied",
            ]
        rows.append([_swatch(index) + escape(pair.other.name), *cells])
    if not rows:
        return ""
    columns = [
        f"{found.best.name} against",
        "P(improvement)",
        "difference",
        "95 % interval",
        "seeds",
        "permutation p",
        "verdict",
    ]
    note = (
        "P(improvement): the probability that a run of the best method is better than a run of the other (Mann-Whitney). It "
        "decides the verdict at 5 %, adjusted for the number of methods and for the choice of the best. Differences are "
        "between runs with the same seed, where both have it."
    )
    return f'<h2>Differences</h2>{table(columns, rows)}<p class="dim">{note}</p>'


def _figures(found: Comparison, levels: Mapping[str, float]) -> str:
    figures = curve_figures(found.methods, levels)
    pareto = pareto_figure(found.methods, levels)
    heading = "Curves" if figures else "Score against labels"
    if pareto is not None:
        figures.append(("Return against labels, at the end", pareto))
    if not figures:
        return ""
    legend = "".join(f"<span>{_swatch(i)}{escape(m.name)}</span>" for i, m in enumerate(found.methods[:MAX_COLOURS]))
    more = f" Curves of the best {MAX_COLOURS} methods." if len(found.methods) > MAX_COLOURS else ""
    scale = " The scale at the right is the normalised score: 0 random policy, 1 expert." if len(levels) == 2 else ""
    lines = "Lines: scores on tuning episodes while learning; bands: 95 % interval over seeds. " if heading == "Curves" else ""
    note = (
        f"{lines}Large dots: the score at the end.{more}{scale}"
        f"{' Dotted: methods that no other one beats in both score and labels.' if pareto is not None else ''}"
    )
    body = "".join(f"<figure><b>{escape(title)}</b>{figure}</figure>" for title, figure in figures)
    return f'<h2>{heading}</h2><div class="legend">{legend}</div><div class="figures">{body}</div><p class="dim">{note}</p>'


def _parameters(title: str, methods: Sequence[Method]) -> str:
    keys = differing(methods)
    if not keys:
        return ""
    head = ["method", *keys]
    rows = [
        [_swatch(index) + escape(method.name), *(escape(_rounded(method.config.get(key, "\N{EN DASH}"))) for key in keys)]
        for index, method in enumerate(methods[:_MAX_ROWS])
    ]
    return f"<h2>{title}</h2>{table(head, rows)}"


def _rounded(text: str) -> str:
    """Return a fraction with six digits; the commands have all of them."""
    return f"{value:.6g}" if "." in text and (value := _float(text)) is not None else text


def _search(found: Comparison) -> str:
    """Return the trials of sweeps: a figure of the score against each numeric parameter, and a table."""
    if not found.trials:
        return ""
    keys = differing(found.trials)
    figures: list[str] = []
    for key in keys:
        pairs = [(value, trial.mean) for trial in found.trials if (value := _float(trial.config.get(key))) is not None]
        if len({value for value, _ in pairs}) > 2 and len(figures) < _MAX_SCATTERS:
            figures.append(
                f"<figure><b>{escape(key)}</b>{scatter([x for x, _ in pairs], [y for _, y in pairs], key, {})}</figure>"
            )
    rows = [
        [escape(t.name), number(t.mean), "" if t.normalised is None else f"{t.normalised:.3f}", t.runs[0].state]
        + [escape(t.config.get(key, "\N{EN DASH}")) for key in keys]
        for t in found.trials[:_MAX_ROWS]
    ]
    note = "Their scores are of the tuning episodes and one seed. They chose what was confirmed, so the best ones are too high."
    return (
        f'<h2>Search</h2><p class="dim">Trials: {len(found.trials)}. {note}</p><div class="figures">{"".join(figures)}</div>'
        f"<details><summary>All trials</summary>{table(['trial', 'return', 'normalised', 'state', *keys], rows)}</details>"
    )


def _float(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _films(films: Sequence[Film], budget: int) -> str:
    """Return the videos that fit, one row for each group."""
    if not films:
        return ""
    groups: dict[str, list[str]] = {}
    left_out = 0
    for film in films:
        data = base64.b64encode(film.mp4).decode()
        if len(data) > budget:
            left_out += 1
            continue
        budget -= len(data)
        tag = f'<video controls muted loop playsinline preload="metadata" src="data:video/mp4;base64,{data}"></video>'
        text = f"<b>{escape(film.title)}</b><figcaption>{escape(film.caption)}</figcaption>"
        groups.setdefault(film.group, []).append(f"<figure>{tag}{text}</figure>")
    body = "".join(
        f'<div><h3>{escape(name)}</h3><div class="films">{"".join(found)}</div></div>' for name, found in groups.items()
    )
    note = f'<p class="dim">Videos left out, because the page would be larger than 2 MB: {left_out}.</p>' if left_out else ""
    return f'<h2>Episodes</h2><div class="figures">{body}</div>{note}'


def _unfinished(found: Comparison) -> str:
    rows = [[escape(run.name), run.state, escape(run.reason)] for run in found.unfinished[:_MAX_ROWS]]
    rows += [
        [escape(run.name), "no score", "finished without an evaluation, or its return is not finite"]
        for run in found.unscored[:_MAX_ROWS]
    ]
    return f"<h2>Runs without a result</h2>{table(['run', 'state', 'reason'], rows, left=True)}" if rows else ""


def _runs(found: Comparison) -> str:
    rows = []
    for index, method in enumerate(found.methods):
        for run, score in zip(method.runs, method.scores, strict=True):
            rows.append([_swatch(index) + escape(run.name), str(run.seed), number(score), *_origin(run)])
    columns = ["run", "seed", "return", "commit", "distil", "demonstrations", "command"]
    listed = table(columns, rows[:_MAX_ROWS])
    more = f'<p class="dim">The first {_MAX_ROWS} of {len(rows)} runs; --json has all.</p>' if len(rows) > _MAX_ROWS else ""
    return f"<h2>Runs</h2><details><summary>Commit, store and command of each run</summary>{listed}{more}</details>"


def _origin(run: RunRecord) -> list[str]:
    command = f"<code>{escape(run.command)}</code>" if run.command else "\N{EN DASH}"
    return [escape(run.commit) or "\N{EN DASH}", escape(run.version), escape(run.store), command]


def _reading() -> str:
    return (
        '<h2>How to read this</h2><p class="dim">Runs are one method if their configurations are equal apart from the seed and '
        "from keys that only say where they ran. Intervals are Student's t over seeds, which holds its 95 % even for three "
        "seeds. A tie means that these seeds cannot tell, not that the methods are equal: more seeds can.</p>"
    )


def _swatch(index: int) -> str:
    return f'<span class="swatch {colour(index)}"></span>'
