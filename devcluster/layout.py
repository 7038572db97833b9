"""Where everything of one cluster lies: one folder, made anew at each start."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from devcluster.errors import DirectoryInUse, DirectoryNotOurs, DirectoryNotWritable

_MARK = ".vgpu-autoscaler-cluster"


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders and files of a cluster below `root`, an absolute path."""

    root: Path

    @property
    def certificates(self) -> Path:
        """Certificates and keys."""
        return self.root / "certificates"

    @property
    def kubeconfigs(self) -> Path:
        """One kubeconfig for each client."""
        return self.root / "kubeconfigs"

    @property
    def logs(self) -> Path:
        """One log for each process."""
        return self.root / "logs"

    @property
    def etcd(self) -> Path:
        """The data of etcd."""
        return self.root / "etcd"

    @property
    def prometheus(self) -> Path:
        """Configuration, targets and data of Prometheus."""
        return self.root / "prometheus"

    @property
    def kubectl_cache(self) -> Path:
        """What kubectl keeps about the API server; the person's own cache is left alone."""
        return self.root / "kubectl-cache"

    def folders(self) -> tuple[Path, ...]:
        """All folders of ours below the root."""
        return (
            self.certificates,
            self.kubeconfigs,
            self.logs,
            self.etcd,
            self.prometheus,
            self.kubectl_cache,
        )

    @contextmanager
    def occupied(self) -> Iterator[None]:
        """Make the folders, empty, and keep other clusters out of them until left.

        Raises:
            DirectoryNotOurs: the root holds something else.
            DirectoryInUse: another cluster runs in it.
            DirectoryNotWritable: it cannot be made or written.
        """
        lock = FileLock(self.root / _MARK)
        with self.writing():
            try:
                self.root.mkdir(parents=True, exist_ok=True)
                self._require_ours()
                lock.acquire(timeout=0)
            except Timeout:
                raise DirectoryInUse(directory=self.root) from None
        try:
            with self.writing():
                self._make_anew()
            yield
        finally:
            lock.release()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around whatever writes into the folders: what the system refuses names the root.

        Raises:
            DirectoryNotWritable: it cannot be made or written, or its disk is full.
        """
        try:
            yield
        except OSError as error:
            raise DirectoryNotWritable(directory=self.root, reason=error.strerror or str(error)) from None

    def _require_ours(self) -> None:
        names = {entry.name for entry in self.root.iterdir()}
        if names and _MARK not in names:
            raise DirectoryNotOurs(directory=self.root)

    def _make_anew(self) -> None:
        for folder in self.folders():
            if folder.exists():
                shutil.rmtree(folder)
            # Keys, tokens and the data of etcd (Secrets) are for the owner only.
            folder.mkdir(mode=0o700)
