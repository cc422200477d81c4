"""Result tables, plots and videos; matplotlib and ffmpeg are imported only when they are needed."""

from distil.report.captions import captioned
from distil.report.plots import Curve, plot_curves, plot_levels, plot_scores
from distil.report.tables import Score, score_table, table
from distil.report.video import video

__all__ = ["Curve", "Score", "captioned", "plot_curves", "plot_levels", "plot_scores", "score_table", "table", "video"]
