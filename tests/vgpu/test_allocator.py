import platform
import subprocess
import sys

from vgpu.allocator import give_back_large_blocks

# Large blocks with small ones between them that stay, after glibc has seen a block that was larger still.
_LEFT = """
import sys
from pathlib import Path
from vgpu.allocator import give_back_large_blocks

if sys.argv[1] == "give back":
    give_back_large_blocks()
larger = bytearray(30 << 20)
del larger
blocks, small = [], []
for _ in range(30):
    blocks.append(bytearray(4 << 20))
    small.append(bytearray(64 << 10))
del blocks
print(int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20)
"""


def _megabytes_left(*, how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _LEFT, how], check=True, capture_output=True, text=True, timeout=30
    )
    return int(done.stdout)


def test_the_memory_of_large_blocks_goes_back_to_the_system() -> None:
    kept, given_back = (_megabytes_left(how=how) for how in ("keep", "give back"))
    assert given_back < 60
    assert given_back <= kept


def test_it_is_told_whether_the_c_library_knows_of_it() -> None:
    assert give_back_large_blocks() is (platform.libc_ver()[0] == "glibc")
