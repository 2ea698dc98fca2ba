"""Weak forms as trees of JSON, for files: written from a problem, read back as one, never run as code.

A tree is a list of nodes, each ["Type", ...], whose operands are the numbers of nodes before it. Symbols have names:
["u", field], ["rate", field], ["v", field], ["p", parameter], ["p", parameter, region], ["x"], ["t"], ["n"], ["h"].
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import ufl
from ufl import classes
from ufl.algorithms import expand_derivatives
from ufl.algorithms.apply_algebra_lowering import apply_algebra_lowering
from ufl.core.multiindex import FixedIndex, Index, MultiIndex

from variform.errors import InputError
from variform.forms.symbols import checked_residual, symbols_on
from variform.problem import (
    Dirichlet,
    Field,
    Mean,
    NoRigidMotion,
    Periodic,
    Point,
    Problem,
    Sampled,
    Symbols,
    resolve,
)
from variform.task import Parameter

VERSION = 1
NODES, DEPTH, SIZE = 100_000, 400, 1_000
"""Most nodes, levels, and components of a constant tensor, that are read."""

OPERATORS: dict[str, tuple[type, int | None]] = {
    **{
        kind.__name__: (kind, 1)
        for kind in (
            classes.Abs,
            classes.Sqrt,
            classes.Exp,
            classes.Ln,
            classes.Sin,
            classes.Cos,
            classes.Tan,
            classes.Sinh,
            classes.Cosh,
            classes.Tanh,
            classes.Asin,
            classes.Acos,
            classes.Atan,
            classes.Erf,
            classes.Conj,
            classes.Real,
            classes.Imag,
            classes.Grad,
            classes.NotCondition,
            classes.PositiveRestricted,
            classes.NegativeRestricted,
        )
    },
    **{
        kind.__name__: (kind, 2)
        for kind in (
            classes.Sum,
            classes.Product,
            classes.Division,
            classes.Power,
            classes.MinValue,
            classes.MaxValue,
            classes.Atan2,
            classes.LT,
            classes.LE,
            classes.GT,
            classes.GE,
            classes.EQ,
            classes.NE,
            classes.AndCondition,
            classes.OrCondition,
            classes.Indexed,
            classes.IndexSum,
            classes.ComponentTensor,
        )
    },
    "Conditional": (classes.Conditional, 3),
    "ListTensor": (classes.ListTensor, None),
}
"""Whitelist of operators: name -> UFL's class and number of operands."""

MEASURES = {"dx": "cell", "ds": "exterior_facet", "dS": "interior_facet"}
MARKS = {"x": "x", "t": "t", "n": "n", "h": "h"}


def to_json(problem: Problem, dim: int, regions: tuple[str, ...], boundaries: tuple[str, ...]) -> dict[str, Any]:
    """What a problem instance says on a mesh with these names, as content for JSON.

    Parameters that are functions are left open: their values lie beside the tree.

    Raises:
        InputError: the form has nodes that trees do not hold, or sampled boundary values.
    """
    s, v = symbols_on(problem, dim, regions, boundaries)
    writer = _Writer(_names(problem, s, v))
    form = checked_residual(problem, s, v)
    extra = problem.stabilisation(s, v)
    form = expand_derivatives(apply_algebra_lowering(form if extra is None else form + extra))
    names = {"cell": regions, "exterior_facet": boundaries, "interior_facet": ()}
    integrals = [
        {
            "measure": next(key for key, kind in MEASURES.items() if kind == integral.integral_type()),
            "on": _on(integral.subdomain_id(), names[integral.integral_type()]),
            "degree": integral.metadata().get("quadrature_degree"),
            "integrand": writer.add(integral.integrand()),
        }
        for integral in form.integrals()
    ]
    conditions = [_condition(problem, condition, s, writer) for condition in problem.conditions]
    initial = problem.by_field(problem.initial(s.x, s.p)) if problem.time else {}
    return {
        "version": VERSION,
        "name": problem.name,
        "dim": dim,
        "regions": list(regions),
        "boundaries": list(boundaries),
        "time": None if problem.time is None else list(map(float, problem.time)),
        "fields": {name: _field(field) for name, field in problem.fields.items()},
        "parameters": {name: _parameter(spec, problem.values[name]) for name, spec in problem.parameters.items()},
        "conditions": conditions,
        "initial": {name: writer.add(_lowered(value)) for name, value in initial.items()},
        "integrals": integrals,
        "nodes": writer.nodes,
    }


def signature(tree: dict[str, Any]) -> str:
    """SHA-256 of a tree, in hexadecimal."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def from_json(tree: Any) -> Problem:
    """The problem that a tree states. Its meshes come from elsewhere: it has no geometry.

    Raises:
        InputError: a node type that is not known, or a tree that is damaged.
    """
    try:
        return StoredProblem(tree)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"the form in the file is damaged: {type(error).__name__} {error}") from None


class StoredProblem(Problem):
    """A problem read from a tree; see `Problem`."""

    def __init__(self, tree: dict[str, Any]) -> None:
        _require(isinstance(tree, dict) and tree.get("version") == VERSION, f"its version is not {VERSION}")
        self._name, self._tree = _word(tree["name"]), tree
        self.dim = tree["dim"]
        _require(self.dim in (1, 2, 3), f"its dimension is {self.dim!r}")
        self.regions, self.boundaries = (tuple(map(_word, tree[key])) for key in ("regions", "boundaries"))
        self.fields = {_word(name): Field(**_field_values(spec, self.dim)) for name, spec in tree["fields"].items()}
        self.parameters = {_word(name): _parameter_of(spec) for name, spec in tree["parameters"].items()}
        self.open = [name for name, spec in tree["parameters"].items() if spec["default"] is None]
        self.time = None if tree["time"] is None else tuple(float(t) for t in tree["time"])
        _require(self.time is None or (len(self.time) == 2 and self.time[0] < self.time[1]), "its times are not two")
        _check_nodes(tree["nodes"])
        roots = [i["integrand"] for i in tree["integrals"]] + list(tree["initial"].values())
        _require(all(_is_root(root, tree["nodes"]) for root in roots), "an integrand is no node")
        self.conditions = [self._condition(spec) for spec in tree["conditions"]]
        super().__init__()
        # Written once, so that a tree that means nothing is refused here and not later.
        s, v = symbols_on(self, self.dim, self.regions, self.boundaries)
        try:
            checked_residual(self, s, v)
            self.initial(s.x, s.p)
            for condition in self.conditions_of(Dirichlet):
                shape = self.fields[condition.field].shape if condition.component is None else ()
                resolve(condition, shape, s.x, s.t, s.p)
        except InputError:
            raise
        except Exception as error:  # whatever UFL makes of nodes that do not fit together
            raise InputError(f"the form in the file is damaged: {str(error).splitlines()[:1]}") from None

    @property
    def name(self) -> str:
        return self._name

    def residual(self, s: Symbols, v: dict[str, Any]) -> ufl.Form:
        build, form = self._builder(s, v), ufl.Form([])
        for integral in self._tree["integrals"]:
            measure, on, degree = integral["measure"], integral["on"], integral["degree"]
            _require(measure in MEASURES, f"unknown measure {measure!r}, allowed are {', '.join(MEASURES)}")
            _require(degree is None or (isinstance(degree, int) and 0 <= degree <= 60), f"quadrature degree {degree!r}")
            dm = getattr(s, measure)
            if measure == "dS":
                dm = dm if degree is None else dm(metadata={"quadrature_degree": degree})
            else:
                dm = dm(*map(_word, on), degree=degree)
            form += build(integral["integrand"]) * dm
        return form

    def initial(self, x: Any, p: SimpleNamespace) -> Any:
        build = self._builder(SimpleNamespace(u={}, x=x, t=None, p=p, n=None, h=None), {})
        return {_word(name): build(root) for name, root in self._tree["initial"].items()} or None

    def _condition(self, spec: dict[str, Any]) -> Any:
        kind, name = spec["kind"], spec["field"]
        _require(name in self.fields, f"a condition on the unknown field {name!r}")
        if kind == "Dirichlet":
            root = spec["value"]
            _require(_is_root(root, self._tree["nodes"]), "the value of a condition is no node")

            def value(x: Any, t: Any, p: SimpleNamespace) -> Any:
                return self._builder(SimpleNamespace(u={}, x=x, t=t, p=p, n=None, h=None), {})(root)

            return Dirichlet(name, value, on=tuple(map(_word, spec["on"])), component=_optional_int(spec["component"]))
        if kind == "Periodic":
            return Periodic(name, tuple(int(axis) for axis in spec["axes"]))
        if kind == "Mean":
            return Mean(name, _number(spec["value"]))
        if kind == "Point":
            at = tuple(map(_number, spec["at"]))
            return Point(name, at, _number(spec["value"]), _optional_int(spec["component"]))
        _require(kind == "NoRigidMotion", f"unknown condition {kind!r}")
        return NoRigidMotion(name)

    def _builder(self, s: Any, v: dict[str, Any]) -> Callable[[int], Any]:
        return _Builder(self._tree["nodes"], s, v)


def _names(problem: Problem, s: Symbols, v: dict[str, Any]) -> dict[Any, list[str]]:
    """Symbol -> node."""
    names: dict[Any, list[str]] = {s.x: ["x"], s.t: ["t"], s.n: ["n"], s.h: ["h"]}
    for name, unknown in s.u.items():
        names[unknown] = ["u", name]
        if problem.time:
            names[unknown.rate], names[unknown.rate.rate] = ["rate", name], ["rate2", name]
    names |= {test: ["v", name] for name, test in v.items()}
    for name in problem.parameters:
        symbol = getattr(s.p, name)
        if isinstance(symbol, dict):
            names |= {constant: ["p", name, region] for region, constant in symbol.items()}
        else:
            names[symbol] = ["p", name]
    return names


class _Writer:
    """Collects nodes; equal ones are stored once."""

    def __init__(self, names: dict[Any, list[str]]) -> None:
        self.nodes: list[list[Any]] = []
        self.names, self._known, self._indices = names, {}, {}

    def add(self, root: Any) -> int:
        """The number of an expression's node. Without recursion: forms may be deep."""
        stack = [root]
        while stack:
            o = stack[-1]
            if o in self._known:
                stack.pop()
                continue
            missing = [] if isinstance(o, MultiIndex) else [p for p in o.ufl_operands if p not in self._known]
            if missing and o not in self.names:
                stack.extend(reversed(missing))
                continue
            self._known[o] = self._put(self._node(o))
            stack.pop()
        return self._known[root]

    def _put(self, node: list[Any]) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def _node(self, o: Any) -> list[Any]:
        if o in self.names:
            return self.names[o]
        if isinstance(o, classes.Zero):
            free = [
                [self._index(Index(count)), size]
                for count, size in zip(o.ufl_free_indices, o.ufl_index_dimensions, strict=True)
            ]
            return ["Zero", list(o.ufl_shape), free]
        if isinstance(o, classes.ComplexValue):
            value = complex(o)
            return ["Complex", value.real, value.imag]
        if isinstance(o, classes.IntValue):
            return ["Integer", int(o)]
        if isinstance(o, classes.ScalarValue):
            return ["Number", float(o)]
        if isinstance(o, classes.Identity):
            return ["Identity", o.ufl_shape[0]]
        if isinstance(o, MultiIndex):
            return ["Indices", *([int(i)] if isinstance(i, FixedIndex) else self._index(i) for i in o)]
        name = type(o).__name__
        if name not in OPERATORS:
            raise InputError(f"a form in a file cannot hold {name} ({str(o)[:80]})")
        return [name, *(self._known[operand] for operand in o.ufl_operands)]

    def _index(self, index: Index) -> int:
        """Indices are numbered as they are met: UFL's own numbers differ from run to run."""
        return self._indices.setdefault(index.count(), len(self._indices))


class _Builder:
    """Expressions of nodes, in the symbols of one back end."""

    def __init__(self, nodes: list[list[Any]], s: Any, v: dict[str, Any]) -> None:
        self.nodes, self.s, self.v = nodes, s, v
        self._built: dict[int, Any] = {}
        self._indices: dict[int, Index] = {}

    def __call__(self, root: int) -> Any:
        stack = [root]
        while stack:
            number = stack[-1]
            node = self.nodes[number]
            operands = node[1:] if node[0] in OPERATORS else []
            missing = [i for i in operands if i not in self._built]
            if number in self._built or not missing:
                stack.pop()
                if number not in self._built:
                    self._built[number] = self._build(number, node)
            else:
                stack.extend(reversed(missing))
        return self._built[root]

    def _build(self, number: int, node: list[Any]) -> Any:
        kind, *rest = node
        if kind in OPERATORS:
            operands = [self._built[i] for i in rest]
            try:
                return OPERATORS[kind][0](*operands)
            except Exception as error:  # UFL checks ranks and indices by exceptions of many types
                reason = next(iter(str(error).splitlines()), type(error).__name__)
                raise InputError(f"the form in the file is damaged: node {number} ({kind}): {reason}") from None
        if kind == "Zero":
            shape, free = rest
            indices = sorted((self._index(i).count(), int(size)) for i, size in free)
            return classes.Zero(tuple(shape), tuple(count for count, _ in indices), tuple(size for _, size in indices))
        if kind == "Integer":
            return classes.IntValue(rest[0])
        if kind == "Number":
            return classes.FloatValue(rest[0])
        if kind == "Complex":
            return classes.ComplexValue(complex(*rest))
        if kind == "Identity":
            return classes.Identity(rest[0])
        if kind == "Indices":
            return MultiIndex(tuple(FixedIndex(i[0]) if isinstance(i, list) else self._index(i) for i in rest))
        return self._symbol(number, kind, rest)

    def _index(self, number: int) -> Index:
        return self._indices.setdefault(number, Index())

    def _symbol(self, number: int, kind: str, rest: list[str]) -> Any:
        try:
            if kind in MARKS:
                symbol = getattr(self.s, kind)
            elif kind == "v":
                symbol = self.v[rest[0]]
            elif kind == "p":
                symbol = vars(self.s.p)[rest[0]]
                symbol = symbol[rest[1]] if len(rest) == 2 else symbol
            else:
                symbol = self.s.u[rest[0]]
                symbol = {"u": lambda: symbol, "rate": lambda: symbol.rate, "rate2": lambda: symbol.rate.rate}[kind]()
        except (KeyError, IndexError, AttributeError, TypeError):
            symbol = None
        if symbol is None:
            raise InputError(f"the form in the file is damaged: node {number} is the unknown symbol {[kind, *rest]}")
        return ufl.as_ufl(symbol)


def _check_nodes(nodes: Any) -> None:
    """Every node is of a known type, and its operands come before it."""
    _require(isinstance(nodes, list) and len(nodes) <= NODES, f"it has more than {NODES} nodes, or none")
    depth: list[int] = []
    for number, node in enumerate(nodes):
        _require(isinstance(node, list) and node and isinstance(node[0], str), f"node {number} is {str(node)[:60]!r}")
        kind, *rest = node
        if kind in OPERATORS:
            arity = OPERATORS[kind][1]
            sound = all(type(i) is int and 0 <= i < number for i in rest) and len(rest) == (arity or max(1, len(rest)))
            _require(sound, f"node {number} ({kind}) has operands {str(rest)[:60]}")
            depth.append(1 + max(depth[i] for i in rest))
            _require(depth[-1] <= DEPTH, f"it is deeper than {DEPTH} nodes")
            continue
        depth.append(1)
        if kind not in TERMINALS:
            raise InputError(
                f"the form in the file has a node of type {kind!r}, which is not allowed; known are "
                f"{', '.join([*OPERATORS, *TERMINALS])}"
            )
        _require(TERMINALS[kind](rest), f"node {number} ({kind}) is {str(rest)[:60]}")


def _is_count(value: Any, most: int = 10) -> bool:
    return type(value) is int and 0 <= value <= most


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300


def _is_zero(rest: list[Any]) -> bool:
    if len(rest) != 2 or not all(isinstance(part, list) for part in rest):
        return False
    shape, free = rest
    pairs = all(isinstance(f, list) and len(f) == 2 and _is_count(f[0], NODES) and _is_count(f[1]) for f in free)
    return pairs and all(_is_count(n) for n in shape) and math.prod(shape) <= SIZE and len(shape) <= 6


def _is_indices(rest: list[Any]) -> bool:
    return len(rest) <= 10 and all(
        _is_count(i, NODES) or (isinstance(i, list) and len(i) == 1 and _is_count(i[0])) for i in rest
    )


def _are_words(least: int, most: int) -> Callable[[list[Any]], bool]:
    return lambda rest: least <= len(rest) <= most and all(isinstance(word, str) for word in rest)


TERMINALS: dict[str, Callable[[list[Any]], bool]] = {
    "Zero": _is_zero,
    "Integer": lambda rest: len(rest) == 1 and type(rest[0]) is int and abs(rest[0]) < 2**53,
    "Number": lambda rest: len(rest) == 1 and _is_finite(rest[0]),
    "Complex": lambda rest: len(rest) == 2 and all(map(_is_finite, rest)),
    "Identity": lambda rest: len(rest) == 1 and _is_count(rest[0]) and rest[0] > 0,
    "Indices": _is_indices,
    "u": _are_words(1, 1),
    "rate": _are_words(1, 1),
    "rate2": _are_words(1, 1),
    "v": _are_words(1, 1),
    "p": _are_words(1, 2),
    **{mark: _are_words(0, 0) for mark in MARKS},
}
"""Nodes without operands -> whether what follows the type is sound."""


def _lowered(value: Any) -> Any:
    return expand_derivatives(apply_algebra_lowering(ufl.as_ufl(value)))


def _on(number: Any, names: tuple[str, ...]) -> list[str]:
    """Names of the parts that an integral is over; none for everything."""
    if number in ("everywhere", "otherwise"):
        return []
    return [names[i - 1] for i in (number if isinstance(number, tuple) else (number,))]


def _condition(problem: Problem, condition: Any, s: Symbols, writer: _Writer) -> dict[str, Any]:
    stated: dict[str, Any] = {"kind": type(condition).__name__, "field": condition.field}
    if isinstance(condition, Dirichlet):
        if isinstance(condition.value, Sampled):
            raise InputError(f"the Dirichlet value of {condition.field!r} is sampled: a file cannot hold its formula")
        shape = problem.fields[condition.field].shape if condition.component is None else ()
        value = writer.add(_lowered(resolve(condition, shape, s.x, s.t, s.p)))
        return {**stated, "on": list(condition.names), "component": condition.component, "value": value}
    if isinstance(condition, Periodic):
        return {**stated, "axes": list(condition.axes)}
    if isinstance(condition, Mean):
        return {**stated, "value": condition.value}
    if isinstance(condition, Point):
        return {**stated, "at": list(condition.at), "value": condition.value, "component": condition.component}
    return stated


def _field(field: Field) -> dict[str, Any]:
    return {
        "description": field.description,
        "unit": field.unit,
        "shape": list(field.shape),
        "degree": field.degree,
        "element": field.element,
        "complex": field.complex,
    }


def _field_values(spec: dict[str, Any], dim: int) -> dict[str, Any]:
    shape, degree = tuple(spec["shape"]), spec["degree"]
    _require(len(shape) <= 2 and all(_is_count(n, 9) and n for n in shape), f"a field has shape {shape}")
    _require(_is_count(degree, 8), f"a field has degree {degree!r}")
    return {
        **{key: _word(spec[key]) for key in ("description", "unit", "element")},
        "shape": shape,
        "degree": degree,
    } | {"complex": bool(spec["complex"])}


BOUNDS = ("above", "at_least", "below", "at_most")


def _parameter(spec: Parameter, value: Any) -> dict[str, Any]:
    return {
        "description": spec.description,
        "unit": spec.unit,
        "default": None if callable(value) else value,
        "field": spec.field,
        "smooth": spec.smooth,
        **{bound: getattr(spec, bound) for bound in BOUNDS},
    }


def _parameter_of(spec: dict[str, Any]) -> Parameter:
    default, bounds = spec["default"], {b: None if spec[b] is None else _number(spec[b]) for b in BOUNDS}
    if isinstance(default, dict):
        default = {_word(region): _number(value) for region, value in default.items()}
    elif default is None:  # its values lie beside the tree; this one is within the bounds
        _require(bool(spec["field"]), "a number has no value")
        default = lambda x: 1 + 0 * x[0]  # noqa: E731
    else:
        default = _number(default)
    return Parameter(
        _word(spec["description"]),
        default,
        unit=_word(spec["unit"]),
        field=bool(spec["field"]),
        smooth=bool(spec["smooth"]),
        **bounds,
    )


def _require(sound: bool, fault: str) -> None:
    if not sound:
        raise InputError(f"the form in the file is damaged: {fault}")


def _is_root(number: Any, nodes: list[Any]) -> bool:
    return type(number) is int and 0 <= number < len(nodes)


def _word(value: Any) -> str:
    _require(isinstance(value, str) and len(value) < 2000, f"{str(value)[:60]!r} is no word")
    return value


def _number(value: Any) -> float:
    _require(_is_finite(value), f"{str(value)[:60]!r} is no number")
    return float(value)


def _optional_int(value: Any) -> int | None:
    _require(value is None or _is_count(value), f"{value!r} is no component")
    return value
