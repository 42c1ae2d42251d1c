"""The caller's span is read as W3C's standard has it; the cases are those of its sections 2.2 and 3.2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.passage import Parent, read_traceparent

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"
IDS = (int(TRACE, 16), int(SPAN, 16))


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (b"00-%b-%b-01" % (TRACE, SPAN), True),
        (b"00-%b-%b-00" % (TRACE, SPAN), False),
        (b"00-%b-%b-03" % (TRACE, SPAN), True),  # another flag beside it
        (b"00-%b-%b-fe" % (TRACE, SPAN), False),
        (b" 00-%b-%b-01\t" % (TRACE, SPAN), True),
        (b"01-%b-%b-01" % (TRACE, SPAN), True),
        (b"cc-%b-%b-01-what-the-future-will-be-like" % (TRACE, SPAN), True),
    ],
)
def test_a_caller_s_span_is_read(header: bytes, sampled: bool) -> None:
    assert read_traceparent(header) == Parent(*IDS, sampled)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"00-%b-%b" % (TRACE, SPAN),
        b"ff-%b-%b-01" % (TRACE, SPAN),  # a version that never will be
        b"00-%b-%b-01-more" % (TRACE, SPAN),  # this version has no more
        b"00-%b-%b-01" % (TRACE.upper(), SPAN),
        b"00-%b-%b-01" % (b"0" * 32, SPAN),
        b"00-%b-%b-01" % (TRACE, b"0" * 16),
        b"00-%b-%b-1" % (TRACE, SPAN),
        b"00-%b-%b-01" % (TRACE[1:], SPAN),
        b"00-%b-%b-0x" % (TRACE, SPAN),
        b"cc-%b-%b-01.what" % (TRACE, SPAN),
        b"00_%b_%b_01" % (TRACE, SPAN),
    ],
)
def test_a_damaged_header_counts_as_none(header: bytes) -> None:
    assert read_traceparent(header) is None


@given(st.binary(max_size=80))
def test_no_header_raises(header: bytes) -> None:
    found = read_traceparent(header)
    assert found is None or (found.trace_id and found.span_id)
