"""Is there an order in which all calls make sense? A search after Wing and Gong, with Lowe's memory of where it was.

Calls that were answered take effect between their start and their end. Calls without an answer take effect at any time
after their start, or never: one is tried only when nothing else goes on, and only right before a call that notices it,
which every order can be brought to by moving such calls back (or dropping those that nobody notices).

Steps may bring advice on their order. It decides what is tried first and rules nothing out: an order that is found is
one without it, and with good advice it is found at once.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

State: TypeAlias = Hashable


@dataclass(frozen=True, slots=True)
class Step:
    """A call.

    Attributes:
        start: Seconds before which it has no effect.
        end: Seconds after which it has had its effect; infinite without an answer.
        apply: The states that may follow a state; none if its answer cannot be there.
        text: It in words.
        advice: Those with less are tried first; infinite for none.
    """

    start: float
    end: float
    apply: Callable[[State], tuple[State, ...]]
    text: Callable[[], str]
    advice: float = float("inf")


class Node(NamedTuple):
    """Where the search is.

    Attributes:
        base: All answered steps before this place are done.
        mask: Which of those from `base` on are.
        used: Which of the unanswered are.
        state: What they made.
        before: State before the last step and its number, if that was an unanswered one.
    """

    base: int
    mask: int
    used: int
    state: State
    before: tuple[State, int] | None = None

    @property
    def done(self) -> int:
        """Answered steps that are done."""
        return self.base + self.mask.bit_count()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a search came to.

    Attributes:
        linearizable: None when it gave up.
        explored: Nodes it looked at.
        node: The one that got furthest, when there is no order.
        stuck: Places of the answered steps of which none could follow there.
        last: Places of the answered steps that led there, the last ones.
    """

    linearizable: bool | None
    explored: int
    node: Node
    stuck: tuple[int, ...] = ()
    last: tuple[int, ...] = ()


class Search:
    """One search; `answered` and `unanswered` steps are put in the order of their starts."""

    def __init__(self, answered: Sequence[Step], unanswered: Sequence[Step], state: State) -> None:
        """Start from `state`."""
        self.answered = sorted(answered, key=lambda step: step.start)
        self.unanswered = sorted(unanswered, key=lambda step: step.start)
        self._first = Node(0, 0, 0, state)

    def run(self, budget: int) -> Verdict:
        """Search until there is an order, there is none, or `budget` nodes were looked at."""
        best = self._first
        trail: tuple[int, ...] = ()
        seen: set[Node] = set()
        stack: list[tuple[Node, Iterator[tuple[Node, int]], int]] = [(best, self._after(best), -1)]
        while stack:
            node, children, _ = stack[-1]
            if node.base == len(self.answered):
                return Verdict(True, len(seen), node)
            child, place = next(children, (None, -1))
            if child is None:
                stack.pop()
                continue
            if child in seen or (child.before and Node(child.base, child.mask, child.used, child.state) in seen):
                continue
            if len(seen) >= budget:
                return Verdict(None, len(seen), best, self._minimal(best)[0], trail)
            seen.add(child)
            stack.append((child, self._after(child), place))
            if child.done > best.done:
                best, trail = child, tuple(at for _, _, at in stack[-4:] if at >= 0)
        return Verdict(False, len(seen), best, self._minimal(best)[0], trail)

    def _minimal(self, node: Node) -> tuple[tuple[int, ...], float]:
        """Places of the pending answered steps that no other pending one precedes, first to end first; the first end."""
        found: list[int] = []
        first_end = float("inf")
        for place in range(node.base, len(self.answered)):
            step = self.answered[place]
            if step.start > first_end:
                break
            if not node.mask >> (place - node.base) & 1:
                found.append(place)
                first_end = min(first_end, step.end)
        found = [place for place in found if self.answered[place].start <= first_end]
        return tuple(sorted(found, key=lambda place: self.answered[place].end)), first_end

    def _after(self, node: Node) -> Iterator[tuple[Node, int]]:
        """Nodes that follow, with the place of the answered step that leads there or -1."""
        minimal, first_end = self._minimal(node)
        changing: list[tuple[float, int, State]] = []
        for place in minimal:
            after = self.answered[place].apply(node.state)
            if after == (node.state,):  # it only looks: whenever it can be, it can be now
                yield self._with(node, place, node.state), place
                return
            changing += [(self.answered[place].advice, place, state) for state in after]
        pending = [
            number
            for number, step in enumerate(self.unanswered[: self._begun(first_end)])
            if not node.used >> number & 1
        ]
        for number in pending:
            if (advice := self.unanswered[number].advice) < float("inf"):
                changing += [(advice, -1 - number, state) for state in self.unanswered[number].apply(node.state)]
        for _, place, state in sorted(changing, key=lambda each: each[0]):
            if place < 0:
                yield Node(node.base, node.mask, node.used | 1 << (-1 - place), state), -1
            elif node.before is None or self._notices(place, state, node.before):
                yield self._with(node, place, state), place
        for number in pending:
            if self.unanswered[number].advice == float("inf"):
                yield from self._unanswered(node, number, self.unanswered[number])

    def _begun(self, by: float) -> int:
        """How many unanswered steps had begun by a time."""
        return bisect.bisect_right(self.unanswered, by, key=lambda step: step.start)

    def _notices(self, place: int, state: State, before: tuple[State, int]) -> bool:
        """Whether an answered step is another one for the unanswered step before it, and cannot change places with it."""
        without = self.answered[place].apply(before[0])
        return state not in without and not any(state in self.unanswered[before[1]].apply(middle) for middle in without)

    def _unanswered(self, node: Node, number: int, step: Step) -> Iterator[tuple[Node, int]]:
        for state in step.apply(node.state):
            if state == node.state:
                continue
            if node.before is not None:
                without = step.apply(node.before[0])
                if state in without:
                    continue  # the unanswered step before it leaves no trace
                last = self.unanswered[node.before[1]]
                if number < node.before[1] and any(state in last.apply(middle) for middle in without):
                    continue  # they can change places: one order is enough
            yield Node(node.base, node.mask, node.used | 1 << number, state, (node.state, number)), -1

    def _with(self, node: Node, place: int, state: State) -> Node:
        base, mask = node.base, node.mask | 1 << (place - node.base)
        while mask & 1:
            base, mask = base + 1, mask >> 1
        return Node(base, mask, node.used, state)
