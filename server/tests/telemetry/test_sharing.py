import re
import subprocess
import sys
from pathlib import Path

SECONDS = 30
# Two processes count, each of them twice over: killed, and another in its place. Then a third one adds up.
PROGRAM = """
import os, signal, sys
from pathlib import Path
from authserver.telemetry.sharing import share_metrics, use_share

share_metrics(Path(sys.argv[1]), 2)
from authserver.telemetry import metrics
metrics.create_shares()
at_zero = metrics.scrape()

def count(number):
    pid = os.fork()
    if pid == 0:
        use_share(number)
        metrics.KEY_ROTATION.inc()
        metrics.HTTP_REQUESTS.inc("GET", f"/{number}", "200")
        metrics.INTROSPECTION_DURATION.observe(0.002)
        metrics.ACTIVE_CLIENTS.set(7 + number)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)

for number in (0, 1, 0, 1):
    count(number)
sys.stdout.buffer.write(at_zero + b"=====" + metrics.scrape())
"""
# What the library adds up from the same files, as it is asked by nobody but this test.
COMPARED = (
    PROGRAM.replace("sys.stdout.buffer.write(at_zero", "ignored = (at_zero")
    + """
from prometheus_client.multiprocess import MultiProcessCollector
from authserver.telemetry.sharing import read_shared

def values(metrics):
    return {metric.name: {(each.name, tuple(sorted(each.labels.items()))): each.value for each in metric.samples} for metric in metrics}

for value in (0.0005, 0.3, 700):
    metrics.DB_OPERATION_DURATION.observe(value, "rows_read", "sqlite")
theirs = values(MultiProcessCollector(None, sys.argv[1]).collect())
ours = values(read_shared(metrics.REGISTRY.collect()))
print(len(theirs), [name for name, value in theirs.items() if value and value != ours[name]])
"""
)
# Far more series than the file has room for at first, the early ones counted before and after.
GROWING = """
import sys
from pathlib import Path
from authserver.telemetry.sharing import share_metrics, use_share

share_metrics(Path(sys.argv[1]), 1)
from authserver.telemetry import metrics
use_share(0)
for _ in range(2):
    for number in range(200):
        metrics.HTTP_REQUEST_DURATION.observe(0.2, "GET", f"/{number}", "200")
use_share(0)
metrics.HTTP_REQUEST_DURATION.observe(0.2, "GET", "/0", "200")
print(metrics.scrape().decode())
"""
TOO_LATE = """
import sys
from pathlib import Path
from authserver.telemetry import metrics
from authserver.telemetry.sharing import share_metrics

try:
    share_metrics(Path(sys.argv[1]), 2)
except RuntimeError as exc:
    print(exc)
"""
SUPERVISED = """
import sys
import authserver.cli.supervisor
print("authserver.telemetry.metrics" in sys.modules)
"""
ALONE = "from authserver.telemetry import metrics; print(metrics.scrape().decode())"


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", *arguments], capture_output=True, text=True, timeout=SECONDS, check=True
    )
    return done.stdout


def test_what_processes_counted_is_added_up_whether_or_not_they_live(tmp_path: Path) -> None:
    at_zero, _, after = run(PROGRAM, str(tmp_path)).partition("=====")
    lines = after.splitlines()
    assert "authserver_key_rotation_total 4.0" in lines
    assert "authserver_introspection_duration_seconds_count 4.0" in lines
    assert 'authserver_introspection_duration_seconds_bucket{le="0.001"} 0.0' in lines
    assert 'authserver_introspection_duration_seconds_bucket{le="0.005"} 4.0' in lines
    for number in (0, 1):
        labels = f'http_method="GET",http_route="/{number}",http_status_code="200"'
        assert f"authserver_http_requests_total{{{labels}}} 2.0" in lines
    assert "authserver_active_clients 8.0" in lines, "the figure set last"
    assert "authserver_key_rotation_total 0.0" in at_zero.splitlines()
    files = [path.name for path in tmp_path.iterdir()]
    assert sorted(files) == sorted(
        f"{kind}_{number}.db" for kind in ("counter", "histogram", "gauge_mostrecent") for number in (0, 1)
    )


def test_several_processes_show_what_one_shows(tmp_path: Path) -> None:
    at_zero, _, _ = run(PROGRAM, str(tmp_path)).partition("=====")

    def shown(text: str) -> set[tuple[str, str]]:
        series = re.findall(r"^(\w+)(\{.*\})? ", text, re.MULTILINE)
        return {(name, ",".join(sorted(labels.strip("{}").split(",")))) for name, labels in series} | {
            (line, "") for line in re.findall("^#.*$", text, re.MULTILINE)
        }

    assert shown(at_zero) == shown(run(ALONE))


def test_totals_are_those_of_the_library(tmp_path: Path) -> None:
    count, _, differing = run(COMPARED, str(tmp_path)).partition(" ")
    assert int(count) > 40
    assert differing == "[]\n"


def test_what_was_counted_stays_where_a_file_has_to_grow(tmp_path: Path) -> None:
    lines = run(GROWING, str(tmp_path)).splitlines()
    for number in range(200):
        labels = f'http_method="GET",http_route="/{number}",http_status_code="200"'
        expected = 2.0 if number else 3.0
        assert f"authserver_http_request_duration_seconds_count{{{labels}}} {expected}" in lines
    assert (tmp_path / "histogram_0.db").stat().st_size > 64 * 1024


def test_instruments_that_were_made_before_they_were_shared_are_refused(tmp_path: Path) -> None:
    refused = run(TOO_LATE, str(tmp_path))
    assert refused == "authserver.telemetry.metrics was imported before metrics were shared\n"
    assert list(tmp_path.iterdir()) == []


def test_the_supervisor_makes_no_instrument_before_it_shares_them() -> None:
    assert run(SUPERVISED) == "False\n"
