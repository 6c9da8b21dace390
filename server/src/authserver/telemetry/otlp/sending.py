"""Sends what is gathered, in a thread of its own: no request waits for a collector, and none is held in memory for it."""

import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import TELEMETRY_DROPPED

_log = get_logger("telemetry")

MOST_WAITING = 4096
_MOST_IN_MESSAGE = 256
_CALL_SECONDS = 5.0
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 16.0
_TRIES = 6
# What the specification of OTLP says may succeed another time.
_RETRIED = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
# As for all requests of ours: no proxy from the environment.
_OPTIONS = (("grpc.enable_http_proxy", 0),)

T = TypeVar("T")
Encode = Callable[[Sequence[T]], bytes]


class Source(Protocol):
    """What there is to send.

    Attributes:
        is_much: Is set when it should be sent now.
    """

    is_much: threading.Event

    def messages(self) -> Iterator[tuple[bytes, int]]:
        """Yield the messages that are due, each with the number of records in it."""
        ...


class Gathered(Generic[T]):
    """Records that wait to be sent; of any number, so many are kept."""

    def __init__(self, encode: Encode[T], signal: str) -> None:
        """Begin with nothing.

        Args:
            encode: Makes a message of records.
            signal: ``traces`` or ``logs``, for counting.
        """
        self._encode = encode
        self._waiting: deque[T] = deque()
        self._dropped = TELEMETRY_DROPPED.child(signal)
        self.is_much = threading.Event()

    def put(self, record: T) -> None:
        """Take a record, from any thread."""
        waiting = len(self._waiting)
        if waiting >= MOST_WAITING:
            self._dropped.inc()
            return
        self._waiting.append(record)
        if waiting == _MOST_IN_MESSAGE:
            self.is_much.set()

    def messages(self) -> Iterator[tuple[bytes, int]]:
        """Yield all that waits, some hundred records at a time."""
        while self._waiting:
            records = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_IN_MESSAGE))]
            try:
                yield self._encode(records), len(records)
            except Exception:  # noqa: BLE001  nothing that a caller sends may end the thread
                yield from self._each(records)

    def _each(self, records: list[T]) -> Iterator[tuple[bytes, int]]:
        """Yield every record by itself, without those that no message can hold."""
        for record in records:
            try:
                message = self._encode([record])
            except Exception as exc:  # noqa: BLE001  as above
                self._dropped.inc()
                _log.warning("telemetry record left out", cause=type(exc).__name__)
            else:
                yield message, 1


class Measured:
    """Figures that are read anew each time."""

    def __init__(self, encode: Callable[[], bytes]) -> None:
        self._encode = encode
        self.is_much = threading.Event()

    def messages(self) -> Iterator[tuple[bytes, int]]:
        """Yield the figures of now, if they can be read."""
        try:
            message = self._encode()
        except Exception as exc:  # noqa: BLE001  the next ones may be
            _log.warning("metrics cannot be told", cause=type(exc).__name__)
            return
        yield message, 0


class Sender:
    """A thread that sends what a source has, again and again."""

    def __init__(
        self, channel: grpc.Channel, method: str, source: Source, *, signal: str, endpoint: str, interval: float
    ) -> None:
        """Begin.

        Args:
            channel: To the collector; closed in the end.
            method: What is called there.
            source: What is sent.
            signal: ``traces``, ``metrics`` or ``logs``.
            endpoint: The collector, for the log.
            interval: Seconds between two looks at the source.
        """
        self._channel = channel
        self._call = channel.unary_unary(method)
        self._source = source
        self._signal = signal
        self._endpoint = endpoint
        self._interval = interval
        self._is_failing = False
        self._stop = threading.Event()
        self._dropped = TELEMETRY_DROPPED.child(signal)
        self._thread = threading.Thread(target=self._run, name=f"otlp-{signal}", daemon=True)
        self._thread.start()

    def begin_to_stop(self) -> None:
        """Have what waits sent, and nothing after it."""
        self._stop.set()
        self._source.is_much.set()

    def stop(self, seconds: float) -> None:
        """Wait for that; what takes longer is given up."""
        self._thread.join(seconds)
        self._channel.close()
        self._thread.join(1)

    def _run(self) -> None:
        while True:
            is_last = self._stop.is_set()
            for message, count in self._source.messages():
                self._deliver(message, count)
            if is_last:
                return
            self._source.is_much.wait(self._interval)
            if not self._stop.is_set():
                self._source.is_much.clear()

    def _deliver(self, message: bytes, count: int) -> None:
        """Send a message, several times if need be; figures only once, as those of the next time say the same."""
        pause = _FIRST_PAUSE_SECONDS
        for _ in range(_TRIES if count else 1):
            is_last = self._stop.is_set()
            error = self._send(message, count)
            self._tell(error)
            if error is None:
                return
            if error not in _RETRIED or is_last:
                break
            self._stop.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        if count:
            self._dropped.inc(count)

    def _send(self, message: bytes, count: int) -> grpc.StatusCode | None:
        """Send a message; return what went wrong, or None: then its collector took all but what it says it did not."""
        try:
            answer: bytes = self._call(message, timeout=_CALL_SECONDS)
        except grpc.RpcError as exc:
            code: grpc.StatusCode = exc.code()
            return code
        except ValueError:
            # The channel was closed: the process ends.
            return grpc.StatusCode.ABORTED
        # Whatever it says, no more than there were.
        if rejected := min(_count_rejected(answer), count):
            self._dropped.inc(rejected)
        return None

    def _tell(self, error: grpc.StatusCode | None) -> None:
        """Log the first failure, and the first success after it."""
        if error is not None and not self._is_failing:
            _log.error(
                "telemetry is not taken by its collector",
                signal=self._signal,
                error=error.name,
                endpoint=self._endpoint,
            )
        if error is None and self._is_failing:
            _log.info("telemetry is taken again", signal=self._signal)
        self._is_failing = error is not None


def _count_rejected(answer: bytes) -> int:
    """Return how many records of a message its collector did not take; the answers of all signals have one form."""
    try:
        rejected: int = ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans
    except Exception:  # noqa: BLE001  an answer that is none
        return 0
    return max(0, rejected)


def open_channel(endpoint: str, *, is_insecure: bool) -> grpc.Channel:
    """Return a channel to a collector; nothing is connected yet.

    Args:
        endpoint: ``host:port``.
        is_insecure: Without TLS; with it, the certificates are trusted that the system trusts.
    """
    if is_insecure:
        return grpc.insecure_channel(endpoint, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(root_certificates=_read_trusted())
    return grpc.secure_channel(endpoint, credentials, options=_OPTIONS)


def _read_trusted() -> bytes | None:
    """Return the certificates that OpenSSL trusts here; None, where there are none, stands for those that gRPC brings."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile:
        return Path(paths.cafile).read_bytes()
    files = sorted(Path(paths.capath).glob("*.[0-9]")) if paths.capath else []
    return b"\n".join(file.read_bytes() for file in files) or None
