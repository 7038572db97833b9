"""What Prometheus scrapes, and how: jobs come from a file, so that they change without a restart."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True, slots=True)
class Scraping:
    """Prometheus' configuration in `folder`."""

    folder: Path

    @property
    def configuration(self) -> Path:
        """The file that Prometheus starts with."""
        return self.folder / "prometheus.yaml"

    def write(self, *, interval: float) -> None:
        """Write the configuration; each target is scraped every `interval` seconds."""
        every = f"{round(interval * 1000)}ms"
        job = {
            "job_name": "devcluster",
            # The exporter's own pod and namespace labels stay what they are.
            "honor_labels": True,
            "file_sd_configs": [{"files": [str(self._targets)], "refresh_interval": "1s"}],
        }
        timing = {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every}
        self.configuration.write_text(yaml.safe_dump({"global": timing, "scrape_configs": [job]}))

    def set_targets(self, targets: Mapping[str, Sequence[str]]) -> None:
        """Scrape these from now on: job name to `host:port`s. Takes up to ten seconds to be felt."""
        groups = [{"targets": list(hosts), "labels": {"job": job}} for job, hosts in targets.items()]
        # Prometheus may read at any moment: it must never see half of a file.
        aside = self._targets.with_suffix(".new")
        aside.write_text(json.dumps(groups, indent=2))
        aside.replace(self._targets)

    @property
    def _targets(self) -> Path:
        return self.folder / "targets.json"
