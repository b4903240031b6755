"""The assembler, against encodings of the kernel's own documentation (Documentation/bpf/standardization)."""

from __future__ import annotations

import pytest

from pbxcore.media import bpf, kernel_program


@pytest.mark.parametrize(
    ("line", "octets"),
    [
        ("r1 = 5", "b7 01 0000 05000000"),
        ("r10 += -16", "07 0a 0000 f0ffffff"),
        ("r0 &= 0xc0", "57 00 0000 c0000000"),
        ("r6 = r1", "bf 16 0000 00000000"),
        ("r3 -= r4", "1f 43 0000 00000000"),
        ("r3 <<= 32", "67 03 0000 20000000"),
        ("r3 s>>= 32", "c7 03 0000 20000000"),
        ("r0 = -r0", "87 00 0000 00000000"),
        ("r1 = be16 r1", "dc 01 0000 10000000"),
        ("r0 = *(u32 *)(r6 + 16)", "61 60 1000 00000000"),
        ("r0 = *(u8 *)(r9 + 23)", "71 90 1700 00000000"),
        ("*(u16 *)(r10 - 38) = r1", "6b 1a daff 00000000"),
        ("*(u64 *)(r8 + 24) = r1", "7b 18 1800 00000000"),
        ("lock *(u64 *)(r8 + 8) += r1", "db 18 0800 00000000"),
        ("r1 = map flows", "18 11 0000 07000000 00 00 0000 00000000"),
        ("call ktime_get_ns", "85 00 0000 05000000"),
        ("exit ; that is all", "95 00 0000 00000000"),
    ],
)
def test_one_instruction(line: str, octets: str) -> None:
    assert bpf.assemble(line, {"flows": 7}) == bytes.fromhex(octets)


def test_jumps_count_instructions_both_ways() -> None:
    code = bpf.assemble("again:\nr1 = map flows\nif r1 != 0 goto end\ngoto again\nend:\nexit", {"flows": 7})
    assert code[16:24] == bytes.fromhex("55 01 0100 00000000")
    assert code[24:32] == bytes.fromhex("05 00 fcff 00000000")


@pytest.mark.parametrize("line", ["r1 := 5", "r1 = *(u12 *)(r6 + 0)", "jump pass", "r1 = be16 r2"])
def test_what_is_no_instruction_is_said(line: str) -> None:
    with pytest.raises(ValueError, match="no instruction"):
        bpf.assemble(line, {})


def test_the_program_reads() -> None:
    code = bpf.assemble(kernel_program.PROGRAM, {"flows": 1, "slots": 2})
    assert len(code) % 8 == 0
    assert code.endswith(bytes.fromhex("b7 00 0000 ffffffff 95 00 0000 00000000"))     # what is not ours passes
