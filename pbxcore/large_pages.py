"""Large pages for what a process holds once it has started (Linux; elsewhere nothing happens).

A call reads small objects from all over the heap. In pages of 4 KiB they are more than the processor keeps translations
for, and in a virtual machine a translation that is missing is dear. So what exists after start is moved into pages of
2 MiB, at once (madvise(2): MADV_HUGEPAGE; MADV_COLLAPSE since Linux 6.1).
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

LARGE = 2 * 1024 * 1024
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25
USED = 0.5      # of a mapping, at least: a thread's stack of 8 MiB uses 50 KiB of it
SMAPS = Path("/proc/self/smaps")
# "55d0c8a00000-55d0cac21000 rw-p 00000000 00:00 0   [heap]", and among the lines that follow it "Rss:   34000 kB"
_mapping = re.compile(
    r"^([0-9a-f]+)-([0-9a-f]+) rw-p [0-9a-f]+ \S+ 0 *(?:\[heap\])?\n(?:\w+: .*\n)*?Rss: +(\d+) kB$", re.MULTILINE
)


def anonymous(smaps: str) -> Iterator[tuple[int, int]]:
    """First address and end of the mappings that hold this process' own data, in the text of proc(5)'s smaps."""
    for low, high, resident in _mapping.findall(smaps):
        start, end = int(low, 16), int(high, 16)
        if int(resident) * 1024 >= (end - start) * USED:
            yield start, end


def enlarge() -> int:
    """Move this process' data into large pages, as far as the kernel does that; how many octets were moved."""
    try:
        smaps = SMAPS.read_text("ascii", "replace")
        advise = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return 0
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    moved = 0
    for start, end in anonymous(smaps):
        first, last = -(-start // LARGE) * LARGE, end // LARGE * LARGE      # large pages are aligned
        if advise(start, end - start, MADV_HUGEPAGE) == 0 and first < last:
            moved += last - first if advise(first, last - first, MADV_COLLAPSE) == 0 else 0
    return moved
