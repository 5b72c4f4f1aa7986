"""HOST:PORT."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quartet_server.addresses import Address


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:7400", "127.0.0.1", 7400, True),
        ("localhost:0", "localhost", 0, True),
        ("[::1]:1", "::1", 1, True),
        ("0.0.0.0:65535", "0.0.0.0", 65535, False),
        ("[::]:7400", "::", 7400, False),
        ("db-1.example:7400", "db-1.example", 7400, False),
    ],
)
def test_an_address_is_read_and_written_back(text: str, host: str, port: int, loopback: bool) -> None:
    address = Address.parse(text)
    assert (address.host, address.port, address.loopback, str(address)) == (host, port, loopback, text)


@pytest.mark.parametrize("text", ["", ":1", "host", "host:", "host:x", "host:-1", "host:65536", "::1:7400", "h:١"])
def test_what_is_no_address_is_refused_with_the_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"HOST:PORT|brackets") as caught:
        Address.parse(text)
    assert repr(text) in str(caught.value)


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        address = Address.parse(text)
    except ValueError:
        return
    assert Address.parse(str(address)) == address
