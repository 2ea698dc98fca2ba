"""The compiler: strong form, fluxes, residuals and energies in torch, from the weak form in UFL."""

from variform.forms.interpret import Interpreter, lower
from variform.forms.pointwise import PointwiseForm, values
from variform.forms.spaces import Space
from variform.forms.weak import WeakForm

__all__ = ["Interpreter", "PointwiseForm", "Space", "WeakForm", "lower", "values"]
