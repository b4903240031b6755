"""eBPF without a compiler: the `bpf` system call by ctypes, and an assembler for the notation that the kernel's
verifier prints programs in. Linux on x86-64 and arm64; raises OSError wherever the kernel refuses.

    r1 = 5              r1 = r2             r1 += 0xff        = += -= *= |= &= ^= <<= >>= s>>=
    r1 = *(u16 *)(r9 + 44)                  *(u64 *)(r8 + 16) = r0        lock *(u64 *)(r8 + 0) += r1
    r1 = map flows      r1 = be16 r1        r1 = -r1
    if r1 != r2 goto pass                   goto pass         == != > >= < <= s>= s<
    call ktime_get_ns   exit                pass:
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import struct
from collections.abc import Mapping

NUMBERS = {"x86_64": 321, "aarch64": 280}       # of the system call
MAP_CREATE, _, MAP_UPDATE, MAP_DELETE, _, PROGRAM_LOAD = range(6)
LINK_CREATE = 28
HASH, ARRAY = 1, 2
MAPPABLE = 1 << 10        # BPF_F_MMAPABLE
TRAFFIC = 3               # BPF_PROG_TYPE_SCHED_CLS
INGRESS = 46              # BPF_TCX_INGRESS, Linux 6.6
SMALLEST = 64             # octets of attributes that are passed at least; the kernel knows what it needs of them

_HELPERS = {
    "map_lookup_elem": 1, "ktime_get_ns": 5, "skb_store_bytes": 9, "l4_csum_replace": 11, "redirect_neigh": 152,
}  # fmt: skip
_SIZES = {"u8": 0x10, "u16": 0x08, "u32": 0x00, "u64": 0x18}
_OPERATIONS = {
    "+=": 0x00, "-=": 0x10, "*=": 0x20, "|=": 0x40, "&=": 0x50, "<<=": 0x60, ">>=": 0x70, "^=": 0xA0, "=": 0xB0,
    "s>>=": 0xC0,
}  # fmt: skip
_COMPARISONS = {
    "==": 0x10, ">": 0x20, ">=": 0x30, "!=": 0x50, "s>=": 0x70, "<": 0xA0, "<=": 0xB0, "s<": 0xC0,
}  # fmt: skip
_PLACE = r"\*\((u(?:8|16|32|64)) \*\)\(r(\d+) ([+-] \d+)\)"
_VALUE = r"(r?)(-?(?:0x[0-9a-f]+|\d+))"
_FORMS = {name: re.compile(pattern) for name, pattern in {
    "load": rf"r(\d+) = {_PLACE}",
    "store": rf"{_PLACE} = r(\d+)",
    "add": rf"lock {_PLACE} \+= r(\d+)",
    "map": r"r(\d+) = map (\w+)",
    "swap": r"r(\d+) = be(16|32) r\1",
    "negate": r"r(\d+) = -r\1",
    "compute": rf"r(\d+) (s?[-+*|&^<>]*=) {_VALUE}",
    "branch": rf"if r(\d+) (s?[=!<>]=?) {_VALUE} goto (\w+)",
    "jump": r"goto (\w+)",
    "call": r"call (\w+)",
    "exit": r"exit",
}.items()}  # fmt: skip


def _instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, number: int = 0) -> bytes:
    return struct.pack("=BBhi", code, target | source << 4, offset, number)


def assemble(text: str, maps: Mapping[str, int]) -> bytes:
    """The instructions of a program; `maps` are descriptors by the names that it calls them. What follows `;` in a line
    is a remark. Raises ValueError with the line that cannot be read."""
    code: list[bytes] = []
    labels: dict[str, int] = {}
    jumps: list[tuple[int, str]] = []
    for raw in text.splitlines():
        line = " ".join(raw.partition(";")[0].split())
        if not line:
            continue
        if line.endswith(":"):
            labels[line[:-1]] = len(code)
            continue
        form, found = next(((name, hit) for name, one in _FORMS.items() if (hit := one.fullmatch(line))), ("", None))
        if found is None:
            raise ValueError(f"no instruction: {line}")
        if form in ("branch", "jump"):
            jumps.append((len(code), found.groups()[-1]))
        made = _translate(form, found.groups(), maps)
        code += [made[at : at + 8] for at in range(0, len(made), 8)]
    for at, label in jumps:
        head, number = code[at][:2], code[at][4:]
        code[at] = head + struct.pack("=h", labels[label] - at - 1) + number
    return b"".join(code)


def _translate(form: str, words: tuple[str, ...], maps: Mapping[str, int]) -> bytes:
    def offset(word: str) -> int:
        return int(word.replace(" ", ""))

    if form == "load":
        target, size, base, where = words
        return _instruction(0x61 | _SIZES[size], int(target), int(base), offset(where))
    if form in ("store", "add"):
        size, base, where, source = words
        return _instruction((0x63 if form == "store" else 0xC3) | _SIZES[size], int(base), int(source), offset(where))
    if form == "map":
        return _instruction(0x18, int(words[0]), 1, 0, maps[words[1]]) + _instruction(0)
    if form == "swap":
        return _instruction(0xDC, int(words[0]), 0, 0, int(words[1]))
    if form == "negate":
        return _instruction(0x87, int(words[0]))
    if form == "compute":
        target, operation, register, value = words
        code = 0x07 | _OPERATIONS[operation]
        return _with(code, int(target), register, value)
    if form == "branch":
        target, comparison, register, value, _ = words
        return _with(0x05 | _COMPARISONS[comparison], int(target), register, value)
    if form == "jump":
        return _instruction(0x05)
    return _instruction(0x85, number=_HELPERS[words[0]]) if form == "call" else _instruction(0x95)


def _with(code: int, target: int, register: str, value: str) -> bytes:
    if register:
        return _instruction(code | 0x08, target, int(value))
    return _instruction(code, target, number=int(value, 0))


# ---- the system call

_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attributes: bytes) -> int:
    number = NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"not known on {platform.machine()}")
    buffer = ctypes.create_string_buffer(attributes, max(len(attributes), SMALLEST))
    result = int(_libc.syscall(number, command, buffer, len(buffer)))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def create_map(kind: int, key: int, value: int, entries: int, flags: int = 0) -> int:
    """A descriptor; `key` and `value` are octets."""
    return _bpf(MAP_CREATE, struct.pack("=IIIII", kind, key, value, entries, flags))


def update(descriptor: int, key: bytes, value: bytes) -> None:
    kept, held = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    _bpf(MAP_UPDATE, struct.pack("=IIQQQ", descriptor, 0, ctypes.addressof(kept), ctypes.addressof(held), 0))


def delete(descriptor: int, key: bytes) -> None:
    kept = ctypes.create_string_buffer(key, len(key))
    _bpf(MAP_DELETE, struct.pack("=IIQQ", descriptor, 0, ctypes.addressof(kept), 0))


def load(code: bytes) -> int:
    """A program for traffic (tc); its descriptor."""
    text = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"MIT")
    return _bpf(PROGRAM_LOAD, struct.pack(
        "=IIQQ", TRAFFIC, len(code) // 8, ctypes.addressof(text), ctypes.addressof(licence)
    ))  # fmt: skip


def attach(program: int, interface: int) -> int:
    """Let a program see what comes in there, for as long as the descriptor returned is open (tcx)."""
    return _bpf(LINK_CREATE, struct.pack("=IIII", program, interface, INGRESS, 0))
