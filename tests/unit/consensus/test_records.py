"""The bytes of the files: what is whole is read, what is not is told as a torn tail or as damage."""

from __future__ import annotations

import struct

import pytest
from crc32c import crc32c

from consensus.errors import DataDirectoryError
from consensus.storage.records import (
    FORMAT_VERSION,
    KIND_CUT,
    KIND_ENTRY,
    KIND_SEAL,
    Damaged,
    FileKind,
    Header,
    LogEntry,
    Scan,
    encode_header,
    encode_record,
    open_body,
    read_header,
    scan,
    seal_body,
)

pytestmark = pytest.mark.unit

HEADER_DATA = encode_header(FileKind.SEGMENT, cluster="c", node="n:1", extra=(1, 1))


def header() -> Header:
    return read_header(HEADER_DATA, FileKind.SEGMENT, name="f", cluster="c", node="n:1")


def batch(data: bytes, *records: tuple[int, int, bytes]) -> bytes:
    """`data` and one more batch behind it: records as (kind, index, payload)."""
    start = len(data)
    for kind, index, payload in records:
        data += encode_record(kind, index, 1, payload, batch=start, place=len(data), seed=header().seed)
    return data


def scanned(data: bytes) -> tuple[list[LogEntry], Scan]:
    entries: list[LogEntry] = []
    result = scan(data, header(), entries)
    return entries, result


def page_lost(data: bytes, start: int, end: int) -> bytes:
    return data[:start] + bytes(end - start) + data[end:]


def test_a_header_says_whose_file_it_is_and_what_more_was_put_in() -> None:
    found = header()

    assert (found.cluster, found.node, found.extra) == ("c", "n:1", (1, 1))
    assert found.size_bytes == len(HEADER_DATA)
    assert found.size_bytes % 8 == 0


def test_a_flip_of_any_bit_of_a_header_is_damage() -> None:
    for place in range(len(HEADER_DATA)):
        for bit in range(8):
            data = bytearray(HEADER_DATA)
            data[place] ^= 1 << bit
            with pytest.raises(Damaged):
                read_header(bytes(data), FileKind.SEGMENT, name="f", cluster="c", node="n:1")


def test_a_header_cut_at_any_length_is_damage() -> None:
    for length in range(len(HEADER_DATA)):
        with pytest.raises(Damaged):
            read_header(HEADER_DATA[:length], FileKind.SEGMENT, name="f", cluster="c", node="n:1")


def test_another_cluster_another_node_and_a_newer_format_are_refused_by_name() -> None:
    with pytest.raises(DataDirectoryError, match="f belongs to cluster 'c', not 'd'"):
        read_header(HEADER_DATA, FileKind.SEGMENT, name="f", cluster="d", node="n:1")
    with pytest.raises(DataDirectoryError, match="f belongs to node n:1, not m:1"):
        read_header(HEADER_DATA, FileKind.SEGMENT, name="f", cluster="c", node="m:1")

    newer = bytearray(HEADER_DATA)
    struct.pack_into("<H", newer, 4, FORMAT_VERSION + 1)
    struct.pack_into("<I", newer, len(newer) - 4, crc32c(bytes(newer[:-4])))
    with pytest.raises(DataDirectoryError, match=f"f has format {FORMAT_VERSION + 1}"):
        read_header(bytes(newer), FileKind.SEGMENT, name="f", cluster="c", node="n:1")


def test_a_file_of_another_kind_is_damage_and_any_node_may_be_asked_for() -> None:
    with pytest.raises(Damaged):
        read_header(HEADER_DATA, FileKind.VOTE, name="f", cluster="c", node="n:1")
    assert read_header(HEADER_DATA, FileKind.SEGMENT, name="f", cluster="c", node=None).node == "n:1"


def test_a_sealed_body_is_whole_or_damage() -> None:
    data = b"head" + seal_body([1, "a", None])

    assert open_body(data, 4) == [1, "a", None]
    for place in range(4, len(data)):
        with pytest.raises(Damaged):
            open_body(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :], 4)
        with pytest.raises(Damaged):
            open_body(data[:place], 4)
    with pytest.raises(Damaged):
        open_body(bytes(64), 4)


def test_records_of_every_length_come_back() -> None:
    data = HEADER_DATA
    for index in range(1, 40):
        data = batch(data, (KIND_ENTRY, index, b"x" * index))

    entries, result = scanned(data)

    assert entries == [(b"x" * index, index, 1) for index in range(1, 40)]
    assert (result.good_bytes, result.last_index, result.proof) == (len(data), 39, None)


def test_a_cut_ends_what_came_before_and_a_cut_at_zero_ends_all() -> None:
    data = batch(HEADER_DATA, *[(KIND_ENTRY, index, b"old") for index in range(1, 6)])
    data = batch(data, (KIND_CUT, 3, b""), (KIND_ENTRY, 3, b"new"))
    entries, result = scanned(data)
    assert [(command, index) for command, index, _ in entries] == [(b"old", 1), (b"old", 2), (b"new", 3)]
    assert result.last_index == 5

    data = batch(data, (KIND_CUT, 0, b""), (KIND_ENTRY, 900, b"far"))
    assert [index for _, index, _ in scanned(data)[0]] == [900]


def test_entries_that_do_not_follow_each_other_are_damage() -> None:
    data = batch(HEADER_DATA, (KIND_ENTRY, 1, b""), (KIND_ENTRY, 3, b""))
    with pytest.raises(Damaged, match="entry 3 follows entry 1"):
        scanned(data)


def test_a_record_of_an_unknown_kind_is_not_skipped() -> None:
    with pytest.raises(Damaged, match="unknown kind 9"):
        scanned(batch(HEADER_DATA, (9, 1, b"")))


def test_the_last_batch_cut_at_any_length_is_a_torn_tail() -> None:
    whole = batch(HEADER_DATA, (KIND_ENTRY, 1, b"a"))
    data = batch(whole, (KIND_ENTRY, 2, b"bb"), (KIND_ENTRY, 3, b"ccc"))

    for length in range(len(whole), len(data)):
        entries, result = scanned(data[:length])
        assert [index for _, index, _ in entries] in ([1], [1, 2])
        assert result.proof is None
        assert result.good_bytes <= length


def test_pages_of_the_last_batch_may_land_in_any_order() -> None:
    whole = batch(HEADER_DATA, (KIND_ENTRY, 1, b"a"))
    data = batch(whole, *[(KIND_ENTRY, index, b"x" * 30) for index in range(2, 8)])

    entries, result = scanned(page_lost(data, len(whole), len(whole) + 72))

    assert [index for _, index, _ in entries] == [1]
    assert (result.good_bytes, result.proof) == (len(whole), None)


def test_a_later_batch_proves_that_the_bad_bytes_were_synced() -> None:
    first = batch(HEADER_DATA, (KIND_ENTRY, 1, b"a"))
    second = batch(first, (KIND_ENTRY, 2, b"b"), (KIND_ENTRY, 3, b"c"))
    data = batch(second, (KIND_ENTRY, 4, b"d"))

    for place in range(len(first), len(second)):
        result = scanned(page_lost(data, place, place + 1))[1]
        if result.good_bytes < len(data):  # else a byte of padding, or a zero
            assert result.proof == len(second)


def test_a_seal_proves_the_batch_before_it_and_itself_proves_nothing_of_its_own() -> None:
    synced = batch(HEADER_DATA, (KIND_ENTRY, 1, b"a"))
    sealed = batch(synced, (KIND_SEAL, 0, b""))

    assert scanned(sealed)[1].sealed
    assert scanned(page_lost(sealed, len(HEADER_DATA), len(HEADER_DATA) + 8))[1].proof == len(synced)
    torn = scanned(page_lost(sealed, len(synced), len(synced) + 8))[1]
    assert (torn.proof, torn.good_bytes, torn.sealed) == (None, len(synced), False)


def test_a_torn_seal_and_the_batch_behind_it_are_one_torn_tail() -> None:
    """The seal was not synced: it shares its first page with the next batch, and that one with it."""
    synced = batch(HEADER_DATA, (KIND_ENTRY, 1, b"a"))
    data = batch(synced, (KIND_SEAL, 0, b""), (KIND_ENTRY, 2, b"b"), (KIND_ENTRY, 3, b"c"))

    result = scanned(page_lost(data, len(synced), len(synced) + 8))[1]

    assert (result.proof, result.good_bytes) == (None, len(synced))


def test_a_record_copied_to_another_place_or_hidden_in_a_payload_counts_for_nothing() -> None:
    good = batch(HEADER_DATA, (KIND_ENTRY, 1, b"a"))
    record = good[len(HEADER_DATA) :]
    assert scanned(HEADER_DATA + bytes(8) + record)[1].good_bytes == len(HEADER_DATA)

    foreign = encode_record(KIND_SEAL, 0, 0, b"", batch=1 << 40, place=len(good) + 8, seed=0)
    hidden = batch(good, (KIND_ENTRY, 2, bytes(4) + foreign))
    assert scanned(page_lost(hidden, len(good), len(good) + 8))[1].proof is None


def test_zeros_behind_the_end_are_a_torn_tail() -> None:
    data = batch(HEADER_DATA, (KIND_ENTRY, 1, b"a"))
    assert scanned(data + bytes(5000))[1] == Scan(
        good_bytes=len(data), last_index=1, sealed=False, proof=None
    )
