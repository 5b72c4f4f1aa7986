"""Events to measure with: made of words that are as common as words are, the same in every run."""

from __future__ import annotations

import itertools
import random

from quartet.events.v1 import event_pb2

WORDS = 30
"""Words of a content, about 200 characters."""
_START = 1_700_000_000
_random = random.Random(0)
_SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "is")]
_VOCABULARY = ["".join(_random.choices(_SYLLABLES, k=_random.randint(1, 4))) for _ in range(20_000)]
_WEIGHTS = list(itertools.accumulate(1 / (rank + 2) for rank in range(len(_VOCABULARY))))  # Zipf's law
_numbers = itertools.count()


def words(count: int) -> str:
    """Return so many words."""
    return " ".join(_random.choices(_VOCABULARY, cum_weights=_WEIGHTS, k=count))


def rare() -> str:
    """Return a word that a few events in a thousand have."""
    return _VOCABULARY[_random.randint(200, 400)]


def event() -> event_pb2.Event:
    """Return an event that was not there: one of 500 conversations on four channels."""
    number = next(_numbers)
    thread = number % 500
    made = event_pb2.Event(
        source="bench",
        source_id=f"m-{number:09}",
        type="message",
        direction=event_pb2.DIRECTION_INBOUND,
        thread_id=f"bench:{thread}",
        content=words(WORDS),
        content_type="text",
        from_channel=("imessage", "gmail", "slack", "discord")[thread % 4],
        from_identifier=f"user-{thread % 97}@example.org",
        to_recipients=[event_pb2.Recipient(identifier="me@example.org")],
    )
    made.timestamp.seconds = _START + number
    made.received_at.seconds = _START + number + 1
    made.metadata.update({"request_id": f"r-{number}"})
    return made


def events(count: int) -> list[event_pb2.Event]:
    """Return so many."""
    return [event() for _ in range(count)]
