"""What came of a task, in a few lines that are right when read alone."""

from __future__ import annotations

from typing import NamedTuple

from variform.benchmarks.schema import TEST, Row, Spread, TaskResults, finite, positive
from variform.benchmarks.wording import count_text, duration_text, error_text, factor_text, solutions_text

NEAR = 3
"""Times the reference's own error: rows below that are not told apart from it."""
EQUAL = 2
"""Times: errors that differ by less pass for equal."""
ZERO = 0.9
"""A relative error that is hardly better than that of predicting zero, which is 1."""


class Line(NamedTuple):
    """A row of the task that matters, and as what; `comparable`: its speed-up is one at equal error."""

    role: str
    number: int
    row: Row
    comparable: bool = True

    @property
    def spread(self) -> Spread | None:
        return self.row.tests.get(TEST)


class Summary(NamedTuple):
    """The verdict in three words, the sentences, what to beware of, and the rows that they speak of."""

    outcome: str
    good: bool
    sentences: list[str]
    warnings: list[str]
    lines: list[Line]
    floor: float | None


def summarise(task: TaskResults) -> Summary:
    """Compare the most accurate network with the quickest classical row that is at least as accurate."""
    rows = [(i, row) for i, row in enumerate(task.rows, start=1) if finite(row.error)]
    learned = sorted(((i, r) for i, r in rows if r.learned), key=lambda p: p[1].error)
    classical = sorted(((i, r) for i, r in rows if not r.learned), key=lambda p: p[1].error)
    floor = task.reference.estimated_error if positive(task.reference.estimated_error) else None
    lines = _lines(learned, classical)
    outcome, good, sentences = _verdict(learned, classical)
    sentences += _shifted(learned, task)
    return Summary(outcome, good, sentences, _warnings(task, lines, floor), lines, floor)


Numbered = list[tuple[int, Row]]


def _matching(network: Row, classical: Numbered) -> tuple[int, Row] | None:
    """The quickest classical row that is at least as accurate."""
    enough = [(i, r) for i, r in classical if r.error <= network.error and finite(r.cost.wall_s)]
    return min(enough, key=lambda p: p[1].cost.wall_s, default=None)


def _is_equal(network: Row, match: Row, classical: Numbered) -> bool:
    """Do the two have equal errors, or does the network beat a less accurate classical row in error and time?

    If neither, a discretisation in between that nobody measured would be the one to compare with.
    """
    beaten = [r for _, r in classical if r.error > network.error and finite(r.cost.wall_s)]
    beats_one = finite(network.cost.wall_s) and any(r.cost.wall_s > network.cost.wall_s for r in beaten)
    return beats_one or network.error < EQUAL * match.error


def _largest_gain(learned: Numbered, classical: Numbered) -> tuple[int, Row] | None:
    """The network that is quicker by most than the classical row of equal error, if it is not the most accurate one."""
    gains = [p for p in learned if p[1].equal and p[1].equal.speedup > 1 and p[1].error < ZERO]
    gains = [p for p in gains if (m := _matching(p[1], classical)) and _is_equal(p[1], m[1], classical)]
    quickest = max(gains, key=lambda p: p[1].equal.speedup, default=None)
    return quickest if quickest and quickest != learned[0] else None


def _lines(learned: Numbered, classical: Numbered) -> list[Line]:
    match = _matching(learned[0][1], classical) if learned else None
    lines = []
    if learned:
        network = learned[0][1]
        comparable = match is None or (network.error < ZERO and _is_equal(network, match[1], classical))
        lines.append(Line("Most accurate network", *learned[0], comparable))
    if gain := _largest_gain(learned, classical):
        lines.append(Line("Network with the largest speed-up", *gain))
    if match:
        lines.append(Line("Quickest classical row at least as accurate", *match))
    if classical and classical[0] != match:
        lines.append(Line("Most accurate classical row", *classical[0]))
    return lines


def _verdict(learned: Numbered, classical: Numbered) -> tuple[str, bool, list[str]]:
    if not learned and not classical:
        return "Nothing to compare", False, ["No row was finished."]
    if not learned:
        return "No network", False, [f"{_said(classical[0])} is the most accurate row; no network was finished."]
    first, network = f"{_said(learned[0])} is the most accurate network", learned[0][1]
    if network.error >= ZERO:
        return "No network has learned", False, [f"{first}: hardly better than predicting zero, whose error is 1."]
    if not classical:
        return "No classical row", False, [f"{first}; no classical row was finished to compare it with."]
    match = _matching(network, classical)
    if match is None:
        reached = (
            f"no classical row here is as accurate: the nearest, {_said(classical[0])}, takes {_time(classical[0])}"
        )
        return "No classical row as accurate", True, [f"{first}; {reached}, the network {_time(learned[0])}."]
    outcome, good, sentence = _against(network, match, _is_equal(network, match[1], classical))
    gain = _largest_gain(learned, classical)
    return outcome, good, [f"{first}.", sentence, *([_gain_text(gain)] if gain else [])]


def _against(network: Row, match: tuple[int, Row], is_equal: bool) -> tuple[str, bool, str]:
    """A network against the quickest classical row that is at least as accurate."""
    times = f"The quickest classical row at least as accurate, {_said(match)}, takes {_time(match)} a solution"
    times += f", the network {_time((0, network))}"
    if network.equal is None:  # one problem, solved once: there is nothing over which a training could pay
        return _once(network, match[1], times)
    times += f": it is {factor_text(network.equal.speedup)}"
    if network.equal.speedup <= 1:
        return "Classical solver quicker at equal error", False, f"{times}, and its training never pays."
    times += f" once trained; training and data pay after {solutions_text(network.equal.pays_after)}."
    if is_equal:
        return "Network quicker at equal error, once trained", True, times
    caveat = (
        " Its error is far larger, and no classical row was measured near it: this is no comparison at equal error."
    )
    return "Network quicker, classical row more accurate", False, times + caveat


def _once(network: Row, match: Row, times: str) -> tuple[str, bool, str]:
    times += f", or {duration_text(network.cost.total_s)} with its training and data" * bool(network.cost.once_s)
    alone, in_all, classical = network.cost.wall_s, network.cost.total_s, match.cost.wall_s
    if not finite(alone):
        return "Not timed", False, f"{times}."
    if in_all < classical:
        return "Network quicker at equal error", True, f"{times}."
    outcome = "Classical solver quicker at equal error" + ", training counted" * (alone < classical)
    return outcome, False, f"{times}."


def _gain_text(gain: tuple[int, Row]) -> str:
    equal = gain[1].equal
    quicker = f"{factor_text(equal.speedup)} than the quickest classical row as accurate as it"
    return f"At its larger error, {_said(gain)} is {quicker}, and pays after {solutions_text(equal.pays_after)}."


def _said(entry: tuple[int, Row]) -> str:
    return f"“{entry[1].label}” (error {error_text(entry[1].error)})"


def _time(entry: tuple[int, Row]) -> str:
    return duration_text(entry[1].cost.wall_s)


def _shifted(learned: Numbered, task: TaskResults) -> list[str]:
    """Its error out of distribution and on other grids, which the headline leaves out."""
    if not learned:
        return []
    row, names = learned[0][1], [name for name in task.sets if name != TEST and name in learned[0][1].tests]
    found = [f"{error_text(row.tests[name].median)} on “{name}”" for name in names]
    return [f"On other test sets the best network’s error is {', '.join(found)}."] if found else []


def _warnings(task: TaskResults, lines: list[Line], floor: float | None) -> list[str]:
    found = []
    for status in ("failed", "interrupted"):
        names = [row.label for row in task.rows if row.status == status]
        found += [f"{status}: {_joined(names)}"] if names else []
    found += [f"old numbers: {row.label}" for row in task.rows if row.stale]
    found += [
        f"{len(row.failures)} of {row.seeds or 'the'} trainings failed: {row.label}"
        for row in task.rows
        if row.failures and row.status == "done"
    ]
    lost = [row.label for row in task.rows if (s := row.tests.get(TEST)) and s.n < s.attempted]
    found += [f"no number on some samples: {_joined(lost)}"] if lost else []
    if floor:
        near = [line.row.label for line in lines if line.row.error < NEAR * floor]
        found += [f"within {NEAR} times the reference’s own error: {_joined(near)}"] if near else []
    return found


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def used_text(spread: Spread | None) -> str:
    """How many samples the numbers rest on."""
    return f"{count_text(spread.n)} of {count_text(spread.attempted)}" if spread else "–"
