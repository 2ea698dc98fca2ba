"""Pictures of fields on a mesh: PyVista renders the body off-screen, matplotlib sets the words, axes and scales."""

from variform.figures.adaptive import adaptation, cells
from variform.figures.animation import animate
from variform.figures.drawing import Drawing, draw
from variform.figures.history import history
from variform.figures.lines import convergence
from variform.figures.pictures import comparison, field, streamlines, surface, warped

__all__ = [
    "Drawing",
    "adaptation",
    "animate",
    "cells",
    "comparison",
    "convergence",
    "draw",
    "field",
    "history",
    "streamlines",
    "surface",
    "warped",
]
