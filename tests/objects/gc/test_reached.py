"""What was added is never denied, what was not rarely affirmed, and memory has an end."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from quartet_server.objects.digest import Digest
from quartet_server.objects.gc.reached import Reached


def draw(seed: int) -> Reached:
    return Reached(random.Random(seed).randbytes)


def digests(seed: int, count: int) -> list[Digest]:
    dice = random.Random(seed)
    return [Digest(dice.randbytes(32), 1) for _ in range(count)]


@settings(max_examples=50, deadline=None)
@given(names=st.lists(st.binary(min_size=32, max_size=32)), seed=st.integers(0, 9))
def test_whatever_was_added_is_in_it_and_in_an_empty_one_is_nothing(names: list[bytes], seed: int) -> None:
    reached = Reached(random.Random(seed).randbytes, smallest=2, largest=4)
    assert not any(Digest(name, 1) in reached for name in names)
    for name in names:
        reached.add(Digest(name, 1))
    assert all(Digest(name, 1) in reached for name in names)
    assert reached.count <= len(set(names))


def test_mistakes_are_few_and_others_in_the_next_round() -> None:
    known, strangers = digests(1, 20_000), digests(2, 20_000)
    mistaken = []
    for seed in (3, 4):
        reached = Reached(random.Random(seed).randbytes, smallest=8, largest=16)  # many layers, all full
        for digest in known:
            reached.add(digest)
        assert all(digest in reached for digest in known)
        mistaken.append({digest for digest in strangers if digest in reached})
    assert all(len(some) < 200 for some in mistaken)
    assert mistaken[0] != mistaken[1]


def test_a_set_that_may_not_grow_takes_more_for_members_and_denies_none() -> None:
    reached = Reached(random.Random(1).randbytes, smallest=4, largest=7)
    known = digests(1, 3000)
    for digest in known:
        reached.add(digest)
    assert sum(len(bits) for bits, _ in reached._layers) == 16 + 32 + 64
    assert all(digest in reached for digest in known)
