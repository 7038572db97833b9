"""Runs a program that ends when its parent ends: `python -I -S launcher.py PARENT_PID PROGRAM ARGUMENT...`.

On Linux the kernel is asked (PR_SET_PDEATHSIG) to kill this process when its parent goes, whatever ends the
parent, kill -9 included. That is done here, in a program of its own, because code that runs in the forked
child of a program with threads may deadlock. The request survives exec. Other systems have no such request:
there the parent's own clean-up is all there is, and kill -9 of the parent leaves its children running.

The request is bound to the *thread* that forked: start programs from a thread that lives as long as they do.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def tied_to_us(command: list[str]) -> list[str]:
    """The command line that runs `command` as a program that ends when this process ends."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main(arguments: list[str]) -> None:
    """Bind this process to its parent, then become the program."""
    parent, *command = arguments
    if sys.platform == "linux":
        _die_with_parent(int(parent))
    # Python ignores SIGPIPE and exec passes that on; the program starts with the system's defaults.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - becoming the program is the purpose
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201 - into the program's log
        sys.exit(127)


def _die_with_parent(parent: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.exit(f"cannot bind the process to its parent: {os.strerror(ctypes.get_errno())}")
    # The parent may have gone before the request was made; then nobody will send the signal.
    if os.getppid() != parent:
        sys.exit("the parent is gone")


if __name__ == "__main__":
    main(sys.argv[1:])
