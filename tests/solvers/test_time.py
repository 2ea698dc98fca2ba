"""Time schemes: their orders on a problem that finite elements solve exactly in space, control, resumption, limits."""

import numpy as np
import pytest
from ufl import cos, exp, grad, inner, sin

from variform.benchmarks.metrics import exact_errors, observed_rates
from variform.errors import InputError
from variform.meshes import Interval
from variform.problem import Dirichlet, Dt, Field, Problem, Sampled
from variform.problems import load
from variform.solvers import fem
from variform.task import Parameter

ORDERS = {
    "implicit_euler": 1,
    "crank_nicolson": 2,
    "bdf2": 2,
    "sdirk2": 2,
    "sdirk3": 3,
    "sdirk4": 4,
    "imex_sbdf2": 2,
    "imex2": 2,
    "imex3": 3,
    "heun": 2,
    "ssprk3": 3,
    "rk4": 4,
}


class Reaction(Problem):
    """u_t = k u_xx - u^3 + f with u = (1 + x + x^2) g(t) and u = that at both ends: P2 is exact in space."""

    fields = {"u": Field("concentration", degree=2)}
    parameters = {"k": Parameter("diffusivity", default=0.1, above=0.0)}
    conditions = [Dirichlet("u", lambda x, t, p: Reaction.solution(x, t))]
    time = (0.0, 1.0)

    @staticmethod
    def solution(x, t):
        return (1 + x[0] + x[0] ** 2) * exp(-t) * cos(3 * t)

    def geometry(self, p):
        return Interval()

    def residual(self, s, v):
        u, w, exact = s.u["u"], v["u"], self.solution(s.x, s.t)
        rate = -(1 + s.x[0] + s.x[0] ** 2) * exp(-s.t) * (cos(3 * s.t) + 3 * sin(3 * s.t))
        source = rate - s.p.k * 2 * exp(-s.t) * cos(3 * s.t) + exact**3
        return (Dt(u) * w + s.p.k * inner(grad(u), grad(w)) + u**3 * w - source * w) * s.dx

    def initial(self, x, p):
        return self.solution(x, 0.0)

    def exact(self, x, t, p):
        return self.solution(x, t)

    def history(self, solution):
        return {"integral": solution.integrate()}


class Spring(Problem):
    """u_tt + c u_t = k u_xx - w^2 u - u^3 + f with u = (1 + x^2) cos(2 t)."""

    fields = {"u": Field("displacement", unit="m", degree=2)}
    parameters = {"damping": Parameter("c", default=0.5, at_least=0.0)}
    conditions = [Dirichlet("u", lambda x, t, p: Spring.solution(x, t))]
    time = (0.0, 2.0)

    @staticmethod
    def solution(x, t):
        return (1 + x[0] ** 2) * cos(2 * t)

    def geometry(self, p):
        return Interval()

    def residual(self, s, v):
        u, w, exact = s.u["u"], v["u"], self.solution(s.x, s.t)
        source = -4 * exact - 2 * s.p.damping * (1 + s.x[0] ** 2) * sin(2 * s.t) - 2 * cos(2 * s.t) + exact**3
        return ((Dt(Dt(u)) + s.p.damping * Dt(u) + u**3 - source) * w + inner(grad(u), grad(w))) * s.dx

    def initial(self, x, p):
        return self.solution(x, 0.0)

    def exact(self, x, t, p):
        return self.solution(x, t)


def order(problem, scheme, counts, cells=4, **options):
    errors = []
    for steps in counts:
        solution = fem.solve(problem, mesh=cells, scheme=scheme, steps=steps, **options)
        errors.append(exact_errors(problem, solution, "u")["relative_l2"])
    return observed_rates([1 / n for n in counts], errors)[-1], errors


@pytest.mark.parametrize("scheme", ORDERS)
def test_orders_in_time(scheme):
    counts = {"implicit_euler": (640, 1280), "sdirk4": (40, 80), "rk4": (80, 160)}.get(scheme, (160, 320))
    found, errors = order(Reaction(), scheme, counts, cells=2, rtol=1e-13)
    assert found == pytest.approx(ORDERS[scheme], abs=0.1), errors


@pytest.mark.parametrize(
    "scheme, options", [("generalized_alpha", {"rho_infinity": r}) for r in (0.0, 0.5, 0.9, 1.0)] + [("leapfrog", {})]
)
def test_orders_of_second_derivatives_in_time(scheme, options):
    # Leapfrog takes the damping half a step late: of first order, hence without.
    found, errors = order(Spring(damping=0.0 if scheme == "leapfrog" else 0.5), scheme, (200, 400), cells=2, **options)
    assert found == pytest.approx(2, abs=0.1), errors


@pytest.mark.parametrize("scheme", ["sdirk2", "sdirk3", "sdirk4", "heun", "ssprk3"])
def test_the_error_follows_the_tolerance(scheme):
    problem, errors = Reaction(), []
    for tolerance in (1e-4, 1e-6):
        solution = fem.solve(problem, mesh=2, scheme=scheme, steps=400, tolerance=tolerance)
        errors.append(exact_errors(problem, solution, "u")["relative_l2"])
        assert errors[-1] < 30 * tolerance
    assert errors[1] < errors[0] / 5


def test_recorded_boundary_values_do_as_well_as_a_formula():
    class Recorded(Reaction):
        conditions = [
            Dirichlet(
                "u",
                Sampled(lambda x, t: (1 + x[0] + x[0] ** 2) * np.exp(-t) * np.cos(3 * t)),
            )
        ]

    by_formula, sampled = (fem.solve(kind(), mesh=3, steps=20) for kind in (Reaction, Recorded))
    assert np.abs(by_formula.nodal("u") - sampled.nodal("u")).max() < 1e-13


def test_what_is_constant_is_factored_once():
    heat = fem.solve(load("heat")(), mesh=8, steps=40)
    assert heat.discretization["factorisations"] == 1
    assert heat.discretization["newton_steps"] == 80  # two stages


@pytest.mark.parametrize(
    "scheme, kind, tolerance",
    [(s, Reaction, None) for s in ("crank_nicolson", "bdf2", "sdirk3", "imex_sbdf2", "imex3", "heun")]
    + [("sdirk2", Reaction, 1e-5), ("generalized_alpha", Spring, None), ("leapfrog", Spring, None)],
)
def test_a_run_killed_between_checkpoints_ends_with_the_same_numbers(tmp_path, scheme, kind, tolerance):
    options = {
        "mesh": 3,
        "scheme": scheme,
        "steps": 120,
        "snapshots": 4,
        "checkpoint_every": 10,
        "tolerance": tolerance,
    }
    options["probes"] = "0.25"
    whole = fem.solve(kind(), **options)

    def kill(fraction, text):
        if fraction > 0.6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fem.solve(kind(), **options, checkpoints=str(tmp_path), progress=kill)
    assert len(list(tmp_path.glob("step-*.h5"))) == 1
    seen = []
    resumed = fem.solve(kind(), **options, checkpoints=str(tmp_path), progress=lambda f, _: seen.append(f))
    assert seen[0] > 0.4
    assert resumed.times == whole.times
    for t in whole.times:
        assert np.array_equal(resumed.at(np.linspace(0, 1, 9)[None], t=t), whole.at(np.linspace(0, 1, 9)[None], t=t))
    assert resumed.history.keys() == whole.history.keys()
    for name, values in whole.history.items():
        assert np.array_equal(resumed.history[name], values)
    assert resumed.discretization["steps"] == whole.discretization["steps"]


def test_a_checkpoint_of_another_run_is_refused_by_name(tmp_path):
    def kill(fraction, text):
        if fraction > 0.6:
            raise KeyboardInterrupt

    options = {"mesh": 3, "steps": 40, "checkpoint_every": 10, "checkpoints": str(tmp_path)}
    with pytest.raises(KeyboardInterrupt):
        fem.solve(Reaction(), **options, progress=kill)
    with pytest.raises(InputError, match=r"k was 0\.1, is 0\.2; scheme was sdirk2, is bdf2"):
        fem.solve(Reaction(k=0.2), scheme="bdf2", **options)


@pytest.mark.parametrize("scheme, kind, name", [("rk4", Reaction, "rk4"), ("leapfrog", Spring, "leapfrog")])
def test_an_unstable_step_is_refused_with_a_limit_that_is_sharp(scheme, kind, name):
    with pytest.raises(InputError, match=f"unstable for scheme '{name}'.*steps >= ") as caught:
        fem.solve(kind(), mesh=20, scheme=scheme, steps=10)
    least = int(str(caught.value).split("steps >= ")[1].split(")")[0])
    stable = fem.solve(kind(), mesh=20, scheme=scheme, steps=int(1.05 * least) + 1)
    assert exact_errors(kind(), stable, "u")["relative_l2"] < 1e-2


@pytest.mark.parametrize(
    "options, message",
    [
        ({"scheme": "rk5"}, "time scheme"),
        ({"scheme": "generalized_alpha"}, "does not fit"),
        ({"scheme": "bdf2", "tolerance": 1e-3}, "estimates no error"),
        ({"steps": 10, "snapshots": 3}, "multiple of snapshots"),
        ({"rho_infinity": 0.5}, "rho_infinity is for"),
        ({"probes": "0.1,0.2"}, "a probe is 1 numbers"),
        ({"probes": "7"}, "outside the domain"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        fem.solve(Reaction(), mesh=2, **options)


def test_an_end_before_the_start_is_refused():
    class Backwards(Reaction):
        time = (1.0, 0.5)

    with pytest.raises(InputError, match="must be after the first"):
        fem.solve(Backwards(), mesh=2)
