"""A reward as one self-contained HTML page."""

from __future__ import annotations

from html import escape

from distil.compare.html import page, table
from distil.rewardpage.cells import States
from distil.rewardpage.figures import HATCH, STYLE, along, bars, grid, heatmap
from distil.rewardpage.references import Distances
from distil.rewardpage.slices import COVERED, GUESSED, NEARBY, dimensions
from distil.rewardpage.study import OWN, Study
from distil.types import Array

_DASH = "\N{EN DASH}"
MISLEAD = (
    "By themselves these numbers mislead, for they depend on the steps that they are taken over, and a reward that is near "
    "over these may fail in other dynamics: read the first row only beside the others, and train on the reward (distil reward "
    "transfer) to learn what it is worth."
)
_UNKNOWN = "EPIC and DARD are left out: they need the true reward of steps that nobody has taken, and DARD the dynamics."


def render(found: Study) -> str:
    """Return the page's HTML."""
    title = f"{found.environment}: the reward of {found.run.name}"
    return page(title, [HATCH, _head(found, title), _along(found), _states(found), _slice(found), _distances(found)], STYLE)


def _head(found: Study, title: str) -> str:
    spec = found.function.ref.spec
    facts = [f"kind: {spec.config.kind}", f"sees: {spec.sees}", f"discount: {spec.discount:g}", found.coverage]
    mark = ' class="verdict"' if spec.nature == "implied" else ""  # it contains the dynamics
    notes = "".join(f'<p class="dim">{escape(note)}</p>' for note in found.notes)
    return (
        f'<h1>{escape(title)}</h1><p class="dim">{escape(" · ".join(facts))}</p>'
        f"<p{mark}>It says {escape(found.function.about)}.</p>{notes}"
    )


def _along(found: Study) -> str:
    figures = []
    for each in found.lines:
        title = f"{'own episode' if each.source == OWN else 'demonstration'} {each.number}"
        drawn = along(each.learned_T, each.true_T, f"rewards along {title}")
        figures.append(f"<figure><b>{title}</b>: correlation {_number(each.correlation)}{drawn}</figure>")
    overall = "; ".join(f"{_number(value)} over all steps of {source}" for source, value in found.correlations)
    legend = "".join(f'<span><span class="swatch c{i}"></span>{name}</span>' for i, name in enumerate(("learned", "true")))
    return (
        f'<h2>Along episodes</h2><p>Correlation with the true reward: {escape(overall)}.</p><div class="legend">{legend}</div>'
        f'<div class="figures">{"".join(figures)}</div><p class="dim">Both are standardised over all steps looked at; '
        f"neither scale nor level of a reward matters. {_DASH} means that one of the two does not change.</p>"
    )


def _states(found: Study) -> str:
    if found.states is None:
        return ""
    known = found.states
    learned = [known.learned[:, i] for i in range(known.learned.shape[1])]
    titles = ["learned"] if len(learned) == 1 else [f"learned, action {i}" for i in range(len(learned))]
    shown: list[tuple[str, Array]] = list(zip(titles, learned, strict=True))
    if known.true is not None:
        shown.append(("true" if len(learned) == 1 else "true, mean over the actions", known.true))
    draw = grid if known.num_columns else bars
    figures = "".join(f"<figure><b>{title}</b>{draw(known, values, title)}</figure>" for title, values in shown)
    kind = "figures" if known.num_columns else "stack"
    return (
        f'<h2>Over the states</h2><div class="{kind}">{figures}</div><p class="dim">Hatched: no step of the episodes begins '
        f"there, or ends the task there, so the data say nothing about its reward.{_marks(known)}</p>"
    )


def _marks(known: States) -> str:
    return " Filled: walls. Framed: the goal." if known.num_columns else ""


def _slice(found: Study) -> str:
    if found.slice is None:
        return ""
    cut = found.slice
    fixed = f"The rest is at the medians of {cut.source}: {', '.join(cut.fixed)}. " if cut.fixed else ""
    covered = f"{COVERED}{NEARBY if len(dimensions(found.function.observation.leaves)) > 2 else ''}. {GUESSED}"
    return (
        f'<h2>A slice over {escape(" and ".join(cut.names))}</h2><div class="figures"><figure>{heatmap(cut)}</figure></div>'
        f'<p class="dim">{escape(fixed)}{covered}</p>'
    )


def _distances(found: Study) -> str:
    if not found.distances:
        return ""
    tables = "".join(_table(each) for each in found.distances)
    how = (
        "EPIC: Gleave et al., 2021 (arXiv:2006.13900). DARD: Wulfe et al., 2022 (arXiv:2201.10081). STARC: Skalse et al., 2024 "
        "(arXiv:2309.15257), with value-adjusted levelling. 0: the same up to shaping and scale, 1: opposite. Random rewards "
        "and shapings: the mean over 20 draws, with the smallest and the largest. Estimated values carry the error of the "
        "estimate: the row of the shaped true reward, which would be 0, shows it."
    )
    if any(each.how == "estimated" for each in found.distances):
        how = f"{_UNKNOWN} {how}"
    return f'<h2>Distance to the true reward</h2><p class="verdict">{escape(MISLEAD)}</p>{tables}<p class="dim">{how}</p>'


def _table(each: Distances) -> str:
    measures = list(each.rows[0].values)
    rows = []
    for row in each.rows:
        cells: list[str] = []
        for measure in measures:
            text = _number(row.values[measure])
            if (ends := row.ranges.get(measure)) is not None and ends[1] - ends[0] > 5e-4:
                text += f' <span class="dim">({_number(ends[0])} to {_number(ends[1])})</span>'
            cells.append(text)
        rows.append([escape(row.name), *cells])
    return f"<p>Over {escape(each.coverage)}, {each.how}:</p>{table(['reward', *measures], rows)}"


def _number(value: float | None) -> str:
    return _DASH if value is None else f"{value + 0.0:.3f}".replace("-", "\N{MINUS SIGN}")
