"""The figures for print, one row each, in their order. Factories are import paths."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FigureSpec:
    """One figure.

    Args:
        name: Name of its files without the suffix.
        factory: Import path of a function that draws it from `PageInputs` and a `Typeface`. It returns a `DrawnFigure`,
            or None if the study or the runs have no data for it.
    """

    name: str
    factory: str


FIGURES = [
    FigureSpec("learning-curves", "headstart.figures.curves:learning_curves"),
    FigureSpec("learning-rates", "headstart.figures.curves:learning_rates"),
    FigureSpec("weights", "headstart.figures.ridgelines:weights"),
    FigureSpec("gradients", "headstart.figures.ridgelines:gradients"),
    FigureSpec("learning-rate-grid", "headstart.figures.heatmaps:learning_rate_grid"),
    FigureSpec("verdict", "headstart.figures.verdict:verdict_figure"),
    FigureSpec("confusion-matrix", "headstart.figures.heatmaps:confusion_matrix"),
    FigureSpec("first-filters", "headstart.figures.filters:first_filters"),
    FigureSpec("gradient-flow", "headstart.figures.heatmaps:gradient_flow"),
]
