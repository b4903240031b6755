"""RTP peek and statistics: RFC 3550 appendix A, RFC 5761, RFC 7983."""

from __future__ import annotations

import struct

import pytest

from pbxcore.media import rtp
from pbxcore.media.rtp import Kind, Reception


def packet(sequence: int, timestamp: int = 0, ssrc: int = 7, size: int = 160) -> bytes:
    return rtp.build(0, sequence, timestamp, ssrc, bytes(size))


def receive(sequences: list[int], reception: Reception | None = None, ssrc: int = 7) -> Reception:
    reception = reception or Reception()
    for sequence in sequences:
        reception.update(packet(sequence % 65536, ssrc=ssrc), 0.0)
    return reception


class TestClassify:
    def test_payload_types_64_to_95_with_marker_are_rtcp_on_a_shared_port(self) -> None:
        for second in range(256):
            expected = Kind.RTCP if 192 <= second <= 223 else Kind.RTP
            assert rtp.classify(bytes((0x80, second)) + bytes(10)) is expected

    def test_stun_needs_its_magic_cookie(self) -> None:
        assert rtp.classify(b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)) is Kind.STUN
        assert rtp.classify(bytes(20)) is Kind.OTHER

    def test_dtls_by_its_first_octet(self) -> None:
        assert rtp.classify(b"\x16\xfe\xff" + bytes(10)) is Kind.DTLS

    @pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x00" + bytes(9), bytes(4), b"\x16\xfe", b"\xff" * 40])
    def test_garbage_is_other(self, data: bytes) -> None:
        assert rtp.classify(data) is Kind.OTHER


class TestParse:
    def test_what_was_built_is_read_back(self) -> None:
        read = rtp.parse(rtp.build(101, 65535, 2**32 - 1, 0xDEADBEEF, b"abcd", marker=True))
        assert read == rtp.Packet(101, True, 65535, 2**32 - 1, 0xDEADBEEF, b"abcd")

    def test_sequence_and_timestamp_wrap(self) -> None:
        read = rtp.parse(rtp.build(0, 65536, 2**32 + 5, 1, b""))
        assert read is not None
        assert (read.sequence, read.timestamp) == (0, 5)

    def test_csrcs_extension_and_padding_are_not_payload(self) -> None:
        head = struct.pack("!BBHII", 0x80 | 0x20 | 0x10 | 2, 0, 1, 2, 3)
        extension = struct.pack("!HHI", 0xBEDE, 1, 0)
        data = head + bytes(8) + extension + b"sound" + b"\x00\x00\x03"
        read = rtp.parse(data)
        assert read is not None
        assert read.payload == b"sound"

    @pytest.mark.parametrize(
        "data",
        [
            b"\x8f\x00" + bytes(10),                      # fifteen CSRCs that are not there
            b"\x90\x00" + bytes(10),                      # an extension that is not there
            b"\x90\x00" + bytes(10) + b"\xbe\xde\xff\xff",  # an extension longer than the packet
            b"\xa0\x00" + bytes(10) + b"\xff",            # more padding than packet
            b"\xa0\x00" + bytes(10) + b"\x00",            # padding of no octets
            b"\x80\xc8" + bytes(10),                      # RTCP
        ],
    )
    def test_lengths_that_do_not_add_up(self, data: bytes) -> None:
        assert rtp.parse(data) is None


class TestRtcp:
    def test_compound_packet(self) -> None:
        report = rtp.receiver_report(1, [])
        bye = struct.pack("!BBHI", 0x81, 203, 1, 1)
        assert rtp.rtcp_types(report + bye) == (201, 203)

    @pytest.mark.parametrize("data", [b"", b"\x80\xc9", b"\x80\xc9\xff\xff" + bytes(4), b"\x00\xc9\x00\x00", bytes(8)])
    def test_malformed(self, data: bytes) -> None:
        assert rtp.rtcp_types(data) == ()

    def test_report_block_clamps_a_loss_that_does_not_fit(self) -> None:
        block = rtp.ReportBlock(7, 255, 0x900000, 1, 2).to_bytes()
        assert block[4:8] == b"\xff\x7f\xff\xff"
        assert rtp.ReportBlock(7, 0, -1, 1, 2).to_bytes()[5:8] == b"\xff\xff\xff"


class TestLoss:
    def test_first_packet_counts(self) -> None:
        reception = receive([500])
        assert (reception.packets, reception.octets, reception.lost) == (1, 172, 0)

    def test_gap(self) -> None:
        assert receive([1, 2, 5]).lost == 2

    def test_late_packet_fills_its_gap(self) -> None:
        assert receive([1, 2, 4, 3, 5]).lost == 0

    def test_wrap_around_is_no_loss(self) -> None:
        reception = receive(list(range(65530, 65545)))
        assert (reception.lost, reception.expected) == (0, 15)

    def test_loss_across_the_wrap(self) -> None:
        assert receive([65534, 65535, 65538, 65539]).lost == 2

    def test_doubled_packets_do_not_hide_behind_zero(self) -> None:
        reception = receive([1, 1, 2])
        assert (reception.lost, reception.lost_signed) == (0, -1)

    def test_one_packet_far_off_is_not_believed(self) -> None:
        reception = receive([1, 2, 30000, 3])
        assert (reception.packets, reception.lost) == (4, 0)

    def test_two_in_a_row_far_off_are_a_restart(self) -> None:
        reception = receive([1, 2, 4, 30000, 30001, 30003])
        assert reception.lost == 2

    def test_new_source_keeps_the_loss_of_the_old_one(self) -> None:
        reception = receive([1, 3])
        receive([9000, 9001, 9004], reception, ssrc=8)
        assert (reception.packets, reception.lost) == (5, 3)

    def test_reset_forgets(self) -> None:
        reception = receive([1, 9])
        reception.reset(16000)
        assert (reception.packets, reception.octets, reception.lost, reception.rate) == (0, 0, 0, 16000)


class TestJitter:
    def test_none_for_a_steady_stream(self) -> None:
        reception = Reception()
        for n in range(100):
            reception.update(packet(n, n * 160), 5.0 + n * 0.02)
        assert reception.jitter_ms < 1e-6

    def test_converges_on_the_mean_difference(self) -> None:
        reception = Reception()
        for n in range(400):
            reception.update(packet(n, n * 160), n * 0.02 + (0.004 if n % 2 else 0.0))
        assert reception.jitter_ms == pytest.approx(4.0, rel=0.01)

    def test_first_step_is_a_sixteenth(self) -> None:
        reception = Reception()
        reception.update(packet(1, 0), 0.0)
        reception.update(packet(2, 160), 0.036)
        assert reception.jitter == pytest.approx(128 / 16)

    def test_packets_of_one_video_frame_are_one_instant(self) -> None:
        reception = Reception(90000)
        for n in range(50):
            for part in range(3):
                reception.update(packet(3 * n + part, n * 3000), n / 30 + part * 0.005)
        assert reception.jitter_ms < 1e-6

    @pytest.mark.parametrize("jump", [2**32 - 160 * 50, 2**31, 10_000_000])
    def test_timestamp_wraps_and_jumps_say_nothing(self, jump: int) -> None:
        reception = Reception()
        for n in range(100):
            timestamp = n * 160 + (jump if jump > 2**31 or n >= 50 else 0)
            reception.update(packet(n, timestamp), n * 0.02)
        assert reception.jitter_ms < 1.0

    def test_new_source_starts_its_own_clock(self) -> None:
        reception = Reception()
        reception.update(packet(1, 0), 0.0)
        reception.update(packet(1, 79_000, ssrc=8), 0.02)
        assert reception.jitter == 0.0


class TestOther:
    def test_rtcp_and_stun_are_not_counted_as_rtp(self) -> None:
        reception = Reception()
        for data in (rtp.receiver_report(1, []), b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12), b"", b"\x80"):
            reception.update(data, 0.0)
        assert (reception.packets, reception.octets, reception.other) == (0, 0, 4)


class TestReport:
    def test_nothing_to_report_before_the_first_packet(self) -> None:
        assert Reception().report() is None

    def test_fraction_is_of_the_interval(self) -> None:
        reception = receive([1, 2, 3, 4])
        first = reception.report()
        receive([5, 8], reception)
        second = reception.report()
        third = reception.report()
        assert first is not None
        assert second is not None
        assert third is not None
        assert (first.fraction, second.fraction, third.fraction) == (0, 128, 0)
        assert (second.lost, second.highest, second.ssrc) == (2, 8, 7)

    def test_highest_carries_the_cycles(self) -> None:
        report = receive([65535, 65536]).report()
        assert report is not None
        assert report.highest == 65536
