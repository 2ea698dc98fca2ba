"""Lorenz's system of 1996 in two and three tiers: slow variables on a ring, each driven by faster ones."""

from __future__ import annotations

from array_api_compat import array_namespace

from variform.errors import InputError
from variform.meshes import Box
from variform.problem import Field, Problem
from variform.random import Sinusoids
from variform.task import Parameter, evaluate


class Lorenz96(Problem):
    """dX_k/dt = X_{k-1} (X_{k+1} - X_{k-2}) - X_k + F - (h c / b) sum_j Y_jk, with J fast Y to each of K slow X.

    dY_j/dt = - c b Y_{j+1} (Y_{j+2} - Y_{j-1}) - c Y_j + (h c / b) X_k, on a ring of K J: after the last Y of X_k
    comes the first of X_{k+1}. The known part of dX/dt is all but the sum, which is what a closure has to give.

    With E = (|X|^2 + |Y|^2) / 2 the quadratic terms and the coupling cancel:
    dE/dt = F sum X - |X|^2 - c |Y|^2.

    States are tuples (X, Y), arrays (..., K) and (..., K J) of NumPy or torch; K is their length.

    Source: Lorenz, Predictability: a problem partly solved (1996).
    """

    time = (0.0, 10.0)
    fields = {"X": Field("slow variables")}
    tiers = ("X", "Y")
    parameters = {
        "F": Parameter("forcing F", default=20.0),
        "h": Parameter("coupling h", default=1.0),
        "b": Parameter("amplitude of X over that of Y", default=10.0, above=0.0),
        "c": Parameter("time scale of X over that of Y", default=10.0, at_least=0.0),
        "J": Parameter("Y to an X, a whole number", default=8.0, at_least=1.0),
        "spin_up": Parameter("time before the first one", default=10.0, at_least=0.0),
        "initial": Parameter("X before the spin-up, a function of k / K", default=1.0, field=True),
    }
    random = {"initial": Sinusoids(count=8, waves=(1, 8), amplitude=(-3.0, 3.0))}

    def __init__(self, **values):
        super().__init__(**values)
        for name in ("J", "I"):
            if self.values.get(name, 1.0) != round(self.values.get(name, 1.0)):
                raise InputError(f"{name} must be a whole number, got {self.values[name]:g}")

    def geometry(self, p):
        return Box((0.0,), (1.0,))

    def residual(self, s, v):
        raise InputError(f"{self.name} is a system of ordinary differential equations: make data of it instead")

    def tendency(self, X, p):
        """The known part of dX/dt, (..., K): that of the slow variables alone."""
        return _advection(X, 1) - X + p.F

    def coupling(self, Y, p):
        """The other part, - (h c / b) sum_j Y_jk: (..., K J) to (..., K)."""
        return -(p.h * p.c / p.b) * _sums(Y, int(p.J))

    def rates(self, state, p):
        """(dX/dt, dY/dt)."""
        X, Y = state
        dY = p.c * p.b * _advection(Y, -1) - p.c * Y + p.h * p.c / p.b * _each(X, int(p.J))
        return self.tendency(X, p) + self.coupling(Y, p), dY

    def initial_values(self, x, p):
        """X before the spin-up at k / K, (1, K) to (1, K)."""
        return evaluate(p.initial, x)[None]

    def initial_state(self, x, p):
        """The same for all tiers; the fast ones from the same function, at their places on the ring, over b."""
        return self.initial_values(x, p)[0], evaluate(p.initial, _between(x, int(p.J))) / p.b


class Lorenz96Three(Lorenz96):
    """The same with a third tier: dZ_i/dt = e d Z_{i-1} (Z_{i+1} - Z_{i-2}) - g e Z_i + (h e / d) Y_j, I to each Y.

    dY_j/dt has - (h e / d) sum_i Z_ij more, and dE/dt, E with |Z|^2 / 2 too, - g e |Z|^2.

    Source: Thornes, Dueben and Palmer, Q. J. R. Meteorol. Soc. 143 (2017), 897.
    """

    tiers = ("X", "Y", "Z")
    parameters = {
        **Lorenz96.parameters,
        "d": Parameter("amplitude of Y over that of Z", default=10.0, above=0.0),
        "e": Parameter("time scale of Y over that of Z", default=10.0, at_least=0.0),
        "g_z": Parameter("damping of Z", default=10.0, at_least=0.0),
        "I": Parameter("Z to a Y, a whole number", default=8.0, at_least=1.0),
    }

    def rates(self, state, p):
        """(dX/dt, dY/dt, dZ/dt)."""
        X, Y, Z = state
        dX, dY = super().rates((X, Y), p)
        dZ = p.e * p.d * _advection(Z, 1) - p.g_z * p.e * Z + p.h * p.e / p.d * _each(Y, int(p.I))
        return dX, dY - p.h * p.e / p.d * _sums(Z, int(p.I)), dZ

    def initial_state(self, x, p):
        X, Y = super().initial_state(x, p)
        return X, Y, evaluate(p.initial, _between(x, int(p.J) * int(p.I))) / (p.b * p.d)


def rk4(rates, state, dt):
    """A tuple of arrays after dt, by the classical method of Runge and Kutta."""

    def ahead(h, rate):
        return tuple(u + h * r for u, r in zip(state, rate, strict=True))

    k1 = rates(state)
    k2 = rates(ahead(dt / 2, k1))
    k3 = rates(ahead(dt / 2, k2))
    k4 = rates(ahead(dt, k3))
    mean = tuple((p + 2 * q + 2 * r + s) / 6 for p, q, r, s in zip(k1, k2, k3, k4, strict=True))
    return ahead(dt, mean)


def _advection(u, direction):
    """u_{i-1} (u_{i+1} - u_{i-2}) on a ring, or u_{i+1} (u_{i-1} - u_{i+2}); u dot it is 0."""
    xp, s = array_namespace(u), direction
    return xp.roll(u, s, axis=-1) * (xp.roll(u, -s, axis=-1) - xp.roll(u, 2 * s, axis=-1))


def _sums(u, count):
    """Over groups of `count` neighbours: (..., n count) to (..., n)."""
    return u.reshape((*u.shape[:-1], -1, count)).sum(-1)


def _each(u, count):
    """Every value `count` times: (..., n) to (..., n count)."""
    xp = array_namespace(u)
    return xp.broadcast_to(u[..., None], (*u.shape, count)).reshape((*u.shape[:-1], -1))


def _between(x, count):
    """As many places to each of the places x (1, K) of a ring, (1, K count)."""
    xp = array_namespace(x)
    K = x.shape[-1]
    return xp.arange(K * count, dtype=x.dtype)[None] / (K * count)
