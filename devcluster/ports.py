"""Free ports on the loopback interface."""

import errno
import random
import socket

from devcluster.errors import NoFreePort

# Below what Linux (32768) and macOS (49152) give to outgoing connections, so that none of those takes a port
# between our choosing and a child's binding it; and below Kubernetes' node ports (30000).
_FIRST, _LAST = 20000, 29999


class Ports:
    """Hands out ports that are free now, none of them twice."""

    def __init__(self) -> None:
        self._given: set[int] = set()

    def free(self) -> int:
        """A port of 127.0.0.1 that nobody listens on.

        Raises:
            NoFreePort: all are taken.
        """
        # Chosen at random: several clusters that start at once would all see the same first port as free.
        for port in random.sample(range(_FIRST, _LAST + 1), k=_LAST + 1 - _FIRST):
            if port not in self._given and _is_free(port):
                self._given.add(port)
                return port
        raise NoFreePort(first=_FIRST, last=_LAST)


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections are still winding down counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True
