"""An S3 server in a process of its own, started when first asked for: moto's, which honours the conditions of writes."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from functools import cache
from itertools import count
from typing import Literal

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIATESTKEY",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}
"""What a client of the server has in its environment."""
_PROGRAM = """
import sys, threading
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
strong = DomainDispatcherApplication(create_backend_app)
def weak(environ, start_response):
    for name in ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"):
        environ.pop(name, None)
    return strong(environ, start_response)
server = make_server("127.0.0.1", 0, weak if sys.argv[1] == "weak" else strong, threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()
"""
Kind = Literal["strong", "weak"]
_PATIENCE = 60.0
_buckets = count()
_processes: list[subprocess.Popen[str]] = []


def endpoint(kind: Kind = "strong") -> str:
    """Return the URL of the server, which runs until `stop` and not without us; a weak one ignores the conditions of writes."""
    return _started(kind)


@cache
def _started(kind: Kind) -> str:
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    _processes.append(process)
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    assert port, "the S3 server does not start"
    return f"http://127.0.0.1:{port}"


def new_bucket(kind: Kind = "strong") -> str:
    """Return the name of a bucket that nobody has used."""
    name = f"bucket-{next(_buckets)}"
    _request(f"{endpoint(kind)}/{name}", "PUT")
    return name


def stop() -> None:
    """End the server, if it was started."""
    for process in _processes:
        process.kill()
        process.communicate(timeout=_PATIENCE)
    _processes.clear()
    _started.cache_clear()


def _request(url: str, method: str) -> None:
    headers = {"Authorization": "AWS4-HMAC-SHA256 Credential=AKIATESTKEY/20260101/us-east-1/s3/aws4_request"}
    with urllib.request.urlopen(urllib.request.Request(url, method=method, headers=headers), timeout=10):
        pass
