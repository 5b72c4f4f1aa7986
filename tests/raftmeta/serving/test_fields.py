"""Header compression against the library's, and small things of gRPC's wire form."""

from __future__ import annotations

import pytest
from hpack import Decoder, Encoder, HeaderTuple, NeverIndexedHeaderTuple
from hypothesis import given
from hypothesis import strategies as st

from raftmeta.serving.answers import AnswerEncoder, extra, literal
from raftmeta.serving.faults import ConnectionFault
from raftmeta.serving.fields import FieldDecoder, list_size
from raftmeta.serving.metadata import read_pairs, read_timeout, write_message

NAMES = st.sampled_from([b":path", b":method", b"te", b"user-agent", b"grpc-timeout", b"x", b"a-key", b""])
FIELDS = st.tuples(NAMES, st.binary(max_size=200), st.booleans())
BLOCKS = st.lists(st.tuples(st.lists(FIELDS, max_size=12), st.booleans(), st.sampled_from([None, 0, 100, 4096])))


@given(BLOCKS)
def test_what_the_library_encodes_is_decoded_block_after_block(
    blocks: list[tuple[list[tuple[bytes, bytes, bool]], bool, int | None]],
) -> None:
    encoder, decoder = Encoder(), FieldDecoder()
    for fields, huffman, size in blocks:
        if size is not None:
            encoder.header_table_size = size
        kinds = [(NeverIndexedHeaderTuple if never else HeaderTuple)(name, value) for name, value, never in fields]
        block = encoder.encode(kinds, huffman=huffman)
        changes = decoder.changes
        assert decoder.decode(block) == [(name, value) for name, value, _ in fields]
        if decoder.changes == changes:
            assert decoder.decode(block) == [(name, value) for name, value, _ in fields]


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_are_fields_or_a_fault_of_the_connection(blocks: list[bytes]) -> None:
    decoder = FieldDecoder()
    for block in blocks:
        try:
            fields = decoder.decode(block)
        except ConnectionFault:
            return
        assert list_size(fields) == sum(len(name) + len(value) + 32 for name, value in fields)


STEPS = st.lists(st.one_of(st.sampled_from(["answer", "fail", "http"]), st.integers(0, 5000)), max_size=30)


@given(STEPS)
def test_the_library_decodes_what_answers_are_made_of(steps: list[str | int]) -> None:
    encoder, library = AnswerEncoder(), Decoder()
    for step in steps:
        if isinstance(step, int):
            encoder.resize(step)
            library.max_allowed_table_size = min(step, 4096)
            continue
        if step == "http":
            assert decoded(library, encoder.http(415))[0] == (":status", "415")
            continue
        first = [(":status", "200"), ("content-type", "application/grpc")]
        if step == "answer":
            assert decoded(library, encoder.initial() + extra((("k", "v"),))) == [*first, ("k", "v")]
            assert decoded(library, encoder.trailers(0, "")) == [("grpc-status", "0")]
        else:
            whole = decoded(library, encoder.initial() + encoder.trailers(5, "näh"))
            assert whole == [*first, ("grpc-status", "5"), ("grpc-message", "n%C3%A4h")]


def decoded(library: Decoder, block: bytes) -> list[tuple[str, str]]:
    return [(str(name), str(value)) for name, value in library.decode(block)]


@given(st.integers(0, 70_000))
def test_fields_of_any_length_are_written(size: int) -> None:
    library = Decoder(max_header_list_size=200_000)
    assert decoded(library, literal(b"x", b"y" * size)) == [("x", "y" * size)]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1H", 3600),
        ("2M", 120),
        ("3S", 3),
        ("4m", 0.004),
        ("5u", 5e-6),
        ("6n", 6e-9),
        ("99999999S", 99_999_999),
        ("0S", 0),
    ],
)
def test_timeouts_of_every_unit_are_read(text: str, seconds: float) -> None:
    assert read_timeout(text.encode()) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "S", "1", "1s", "-1S", "123456789S", "1.5S", "1 S", "1SS"])
def test_a_malformed_timeout_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="grpc-timeout"):
        read_timeout(text.encode())


@pytest.mark.parametrize(
    ("sent", "values"),
    [
        (b"", [b""]),
        (b"AP8=", [b"\0\xff"]),
        (b"AP8", [b"\0\xff"]),
        (b"AP8=,AA", [b"\0\xff", b"\0"]),
        (b"AP8, AA==", [b"\0\xff", b"\0"]),
    ],
)
def test_binary_metadata_is_read_padded_or_not_and_in_lists(sent: bytes, values: list[bytes]) -> None:
    assert list(read_pairs(b"k-bin", sent)) == [("k-bin", value) for value in values]


def test_malformed_binary_metadata_is_refused() -> None:
    with pytest.raises(ValueError, match="malformed"):
        list(read_pairs(b"k-bin", b"A"))


def test_a_message_is_sent_in_visible_characters() -> None:
    assert write_message("a%b\n ~\x7fé") == b"a%25b%0A ~%7F%C3%A9"
