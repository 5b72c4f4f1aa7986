"""Keys below /system/, which are not of any zone and which no user writes."""

from __future__ import annotations

ZONES = b"/system/zones/"
NODES = b"/system/cluster/node-"
ALIVE = b"/system/alive/node-"
TOKENS = b"/system/join/"
VOTES = b"/system/votes/node-"
SETTINGS = b"/system/settings/"
FLAGS = b"/system/flags/"
SECRETS = b"/system/secrets/"
REQUESTS = b"/system/requests/"
OBJECTS = b"/system/objects/"
UPKEEP = b"/system/upkeep/"
COLLECTING = b"/system/collecting"
COLLECTING_MOUNT = b"/system/collecting-mount/"
COLLECTED = b"/system/collected-mount/"
OWNER = b"/system/owner"
MOUNTS = b"/system/mounts/"
REACH = b"/system/reach/"
MOVES = b"/system/moves/"
LEFT = b"/system/left/"


def zone(name: str) -> bytes:
    """Return the key of a zone's record: that it exists, and where it lives."""
    return ZONES + name.encode()


def node(member_id: int) -> bytes:
    """Return the key of a node's durable record."""
    return NODES + f"{member_id:016x}".encode()


def vote(member_id: int) -> bytes:
    """Return the key that exists while a node that joined waits for its vote."""
    return VOTES + f"{member_id:016x}".encode()


def alive(member_id: int) -> bytes:
    """Return the key that exists while a node renews its lease."""
    return ALIVE + f"{member_id:016x}".encode()


def move(zone: str) -> bytes:
    """Return the key that says how far the move of a zone is."""
    return MOVES + zone.encode()


def left(node: str, zone: str) -> bytes:
    """Return the key that exists while a node, by its name, has rows of a zone that lives elsewhere; of all with no zone."""
    return LEFT + f"{node}/{zone}".encode()
