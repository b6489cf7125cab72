"""What a running control tells of itself: Prometheus metrics and a health page, on the loopback interface only."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from deployment.field.guard import Mode
from plumbing.errors import InputError

HOST = "127.0.0.1"
SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class Metrics:
    """Counters and gauges of one run."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self.mode = Gauge("intergreen_mode", "1 for the mode that is on", ["mode"], registry=own)
        self.polls = Counter("intergreen_polls", "Polls of the controller that were answered", registry=own)
        self.lost = Counter("intergreen_polls_lost", "Polls without an answer", registry=own)
        self.repeated = Gauge("intergreen_requests_repeated", "Requests that were sent again", registry=own)
        self.ignored = Gauge(
            "intergreen_datagrams_ignored", "Datagrams that were no answer of the controller", registry=own
        )
        self.decisions = Counter("intergreen_decisions", "Decisions that were taken", registry=own)
        self.changes = Counter("intergreen_phase_changes", "New phases that were asked for", registry=own)
        self.writes = Counter("intergreen_writes", "Commands that were sent and read back", registry=own)
        self.releases = Counter("intergreen_releases", "Times that control ended", registry=own)
        self.late = Counter("intergreen_beats_late", "Beats that came too late to decide", registry=own)
        self.bad_lanes = Gauge("intergreen_bad_lanes", "Lanes whose detectors are not believed", registry=own)
        self.phase = Gauge("intergreen_phase", "Phase that is green or comes next", registry=own)
        self.age = Gauge("intergreen_reading_age_seconds", "Age of the oldest value needed", registry=own)
        self.inference = Histogram(
            "intergreen_inference_seconds", "Policy and its checks", buckets=SECONDS, registry=own
        )
        self.cycle = Histogram("intergreen_cycle_seconds", "Look to read-back", buckets=SECONDS, registry=own)

    def show_mode(self, mode: Mode) -> None:
        """Set the gauge of every mode."""
        for other in Mode:
            self.mode.labels(str(other)).set(other is mode)


class Page:
    """Serves /metrics and /health; the latter is 200 while all is in order, else 503."""

    def __init__(self, metrics: Metrics, health: Callable[[], tuple[bool, Mapping[str, Any]]], port: int) -> None:
        """See the class.

        Args:
            port: 0 chooses a free one; `port` then tells which.

        Raises:
            InputError: the port is taken.
        """

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._send(200, CONTENT_TYPE_LATEST, generate_latest(metrics.registry))
                elif self.path == "/health":
                    well, content = health()
                    self._send(200 if well else 503, "application/json", json.dumps(content).encode() + b"\n")
                else:
                    self._send(404, "text/plain", b"/metrics or /health\n")

            def _send(self, status: int, kind: str, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: the event log is elsewhere."""

        try:
            self._server = ThreadingHTTPServer((HOST, port), Handler)
        except (OSError, OverflowError) as error:
            raise InputError(f"--metrics-port {port}: {error}; choose a free port") from error
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True, name="metrics").start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
