"""Large pages: which memory is moved, and that it arrives there whole."""

import subprocess
import sys

import pytest

from pbxcore.large_pages import LARGE, anonymous

SMAPS = """\
00400000-00420000 r-xp 00000000 fe:00 1041 /usr/bin/python3.11
Size:                128 kB
Rss:                 128 kB
00a00000-00c00000 rw-p 00000000 fe:00 1041 /usr/bin/python3.11
Size:               2048 kB
Rss:                2048 kB
02a00000-03a00000 rw-p 00000000 00:00 0                                  [heap]
Size:              16384 kB
KernelPageSize:        4 kB
MMUPageSize:           4 kB
Rss:                8192 kB
7f0000000000-7f0000800000 rw-p 00000000 00:00 0
Size:               8192 kB
Rss:                  52 kB
7f1000000000-7f1000400000 rw-p 00000000 00:00 0
Size:               4096 kB
Rss:                4096 kB
7f2000000000-7f2000400000 ---p 00000000 00:00 0
Size:               4096 kB
Rss:                   0 kB
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]
Size:                132 kB
Rss:                 132 kB
"""

MOVED = """
import pathlib, re
from pbxcore.large_pages import enlarge
kept = [str(number) for number in range(400_000)]
moved = enlarge()
said = re.findall(r"AnonHugePages: *([0-9]+) kB", pathlib.Path("/proc/self/smaps").read_text())
assert kept == [str(number) for number in range(400_000)]
print(moved, sum(map(int, said)) * 1024)
"""


def test_the_heap_and_what_is_in_use_are_moved_but_no_files_stacks_or_reserves() -> None:
    assert list(anonymous(SMAPS)) == [(0x02A00000, 0x03A00000), (0x7F1000000000, 0x7F1000400000)]


@pytest.mark.skipif(sys.platform != "linux", reason="large pages are asked for on Linux")
def test_a_process_finds_its_objects_unchanged_in_large_pages() -> None:
    done = subprocess.run([sys.executable, "-c", MOVED], check=True, capture_output=True, text=True)
    moved, large = map(int, done.stdout.split())
    assert moved % LARGE == 0
    assert large >= moved, "what the kernel says it moved is in large pages"
