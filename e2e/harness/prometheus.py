"""A real Prometheus that scrapes a server each second, with the alert rules that are shipped."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from e2e.harness.installation import ROOT, ending_on_failure
from e2e.harness.processes import Process, free_port, wait_until
from prometheus_programs import prometheus_program

SECONDS = 40
JOB = "authserver"
_CONFIGURATION = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: {job}
    static_configs: [{{targets: ["{target}"]}}]
"""


class Prometheus:
    """It runs."""

    def __init__(self, url: str) -> None:
        self._http = httpx2.Client(base_url=url, timeout=SECONDS)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Return what an instant query finds."""
        answer = self._http.post("/api/v1/query", data={"query": expr}).json()
        assert answer["status"] == "success", f"{expr}: {answer}"
        return list(answer["data"]["result"])

    def series(self, selector: str) -> dict[str, float]:
        """Return the newest values, by name and labels as in ``name{a="b"}``; without job and instance."""
        return {_spell(found["metric"]): float(found["value"][1]) for found in self.query(selector)}

    def history(self, selector: str) -> dict[str, list[float]]:
        """Return every sample of the last ten minutes, by name and labels."""
        return {
            _spell(found["metric"]): [float(value) for _, value in found["values"]]
            for found in self.query(f"{selector}[10m]")
        }

    def wait_for_scrape(self) -> None:
        """Return when a scrape that began after this moment has succeeded."""
        begin = time.time()

        def has_scraped() -> bool:
            # Of anything but a plain selector, `timestamp` is the time of the query.
            found = self.query(f'timestamp(up{{job="{JOB}"}}) and up{{job="{JOB}"}} == 1')
            return bool(found) and float(found[0]["value"][1]) > begin

        wait_until(has_scraped, seconds=SECONDS, what="Prometheus scrapes the server")


def _spell(metric: dict[str, str]) -> str:
    labels = ",".join(
        f"{n}={json.dumps(v)}" for n, v in sorted(metric.items()) if n not in {"__name__", "job", "instance"}
    )
    return metric["__name__"] + (f"{{{labels}}}" if labels else "")


@contextlib.contextmanager
def running_prometheus(directory: Path, target: str) -> Iterator[Prometheus]:
    """Run one on loopback, its data in a directory."""
    rules = ROOT / "deploy" / "prometheus" / "authplane.rules.yml"
    configuration = directory / "prometheus.yml"
    configuration.write_text(_CONFIGURATION.format(rules=rules, job=JOB, target=target))
    address = f"127.0.0.1:{free_port()}"
    process = Process(
        [
            prometheus_program("prometheus"),
            f"--config.file={configuration}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={address}",
        ],
        log=directory / "prometheus.log",
        environment={},
        directory=directory,
    )
    with process:
        with ending_on_failure(process):
            process.wait_for(f"http://{address}/-/ready")
        prometheus = Prometheus(f"http://{address}")
        prometheus.wait_for_scrape()
        yield prometheus
        prometheus.close()
