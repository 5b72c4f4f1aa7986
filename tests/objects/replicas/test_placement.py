"""Rendezvous: everybody chooses the same owners, evenly, and a node more or less moves only its own share."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from quartet_server.objects.digest import Digest
from quartet_server.objects.replicas.placement import Placement

DIGESTS = [Digest(random.Random(seed).randbytes(32), 5) for seed in range(3_000)]


def placement(*nodes: int, replicas: int = 2) -> Placement:
    return Placement(7, replicas, {node: bytes([node]) for node in nodes})


@pytest.mark.parametrize(
    ("nodes", "replicas", "copies", "needed"), [(1, 2, 1, 1), (2, 2, 2, 2), (3, 3, 3, 2), (5, 1, 1, 1)]
)
def test_there_are_as_many_copies_as_are_wanted_or_there_are_nodes(
    nodes: int, replicas: int, copies: int, needed: int
) -> None:
    placed = placement(*range(1, nodes + 1), replicas=replicas)
    assert (placed.copies, placed.needed) == (copies, needed)
    assert all(len(set(placed.owners(digest))) == copies for digest in DIGESTS[:50])


def test_every_node_keeps_its_share() -> None:
    counts = Counter(owner for digest in DIGESTS for owner in placement(1, 2, 3).owners(digest))
    assert all(abs(counts[node] - 2_000) < 150 for node in (1, 2, 3)), counts


def test_the_order_does_not_depend_on_how_the_nodes_are_listed() -> None:
    assert [placement(3, 1, 2).order(digest) for digest in DIGESTS] == [placement(1, 2, 3).order(d) for d in DIGESTS]


def test_a_node_that_comes_takes_from_all_and_moves_nothing_between_the_others() -> None:
    before, after = placement(1, 2, 3), placement(1, 2, 3, 4)
    moved = 0
    for digest in DIGESTS:
        new = set(after.owners(digest)) - set(before.owners(digest))
        assert new <= {4}
        moved += bool(new)
    assert abs(moved - len(DIGESTS) / 2) < 150


def test_a_node_that_goes_leaves_its_share_to_those_next_in_order() -> None:
    before, after = placement(1, 2, 3, 4), placement(1, 2, 4)
    for digest in DIGESTS:
        assert after.owners(digest) == [node for node in before.order(digest) if node != 3][:2]


def test_a_placement_is_read_as_it_was_written() -> None:
    assert Placement.decode(placement(3, 1).encode()) == placement(1, 3)
