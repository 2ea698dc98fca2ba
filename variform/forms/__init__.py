"""The compiler: strong form, fluxes, residuals and energies in torch, from the weak form in UFL.

Names are imported when first used: finite elements need the symbols of this package, but not torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from variform.forms.compiled import CompiledForm
    from variform.forms.interpret import Interpreter, lower
    from variform.forms.pointwise import PointwiseForm, values
    from variform.forms.spaces import Space
    from variform.forms.weak import WeakForm

_HOME = {
    "CompiledForm": "compiled",
    "Interpreter": "interpret",
    "lower": "interpret",
    "PointwiseForm": "pointwise",
    "values": "pointwise",
    "Space": "spaces",
    "WeakForm": "weak",
}

__all__ = ["CompiledForm", "Interpreter", "PointwiseForm", "Space", "WeakForm", "lower", "values"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
