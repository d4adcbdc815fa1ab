"""Ask a running server what a caller asks, and say what it answered: python3 ops/ask_server.py ADDRESS MODELS_FOLDER.

Only the standard library: it runs next to a container, on a machine that has nothing of ours installed. Exit status 1, with
a sentence, where an answer is another than was expected.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

WAIT = 30.0  # seconds until a server that has just been started must be ready
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy stands between us and this machine


def ask(address: str, body: Any = None) -> Any:
    """The JSON of an answer; raises OSError where there is none, or its status is an error."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"content-type": "application/json"})  # noqa: S310 - by whoever calls
    with OPENER.open(request, timeout=5) as response:
        return json.load(response)


def wait_until_ready(address: str) -> Any:
    """The answer of /ready, as soon as it is 200; raises OSError when that takes longer than WAIT seconds."""
    end = time.monotonic() + WAIT
    while True:
        try:
            return ask(f"{address}/ready")
        except OSError as error:  # a refused connection, or 503
            if time.monotonic() > end:
                answer = error.read().decode() if isinstance(error, urllib.error.HTTPError) else ""
                raise OSError(f"/ready is not 200 after {WAIT:g} s ({error}). {answer}") from error
        time.sleep(0.1)


def check(address: str, models: Path) -> list[str]:
    """What was asked and answered, in lines; raises OSError, ValueError (not JSON) or AssertionError."""
    ready = wait_until_ready(address)
    health = ask(f"{address}/health")
    champion = json.loads((models / "champion.json").read_text(encoding="utf-8"))["model"][:12]
    golden = json.loads((models / "releases" / champion / "bundle/golden.json").read_text(encoding="utf-8"))[0]
    answer = ask(f"{address}/predict", golden["request"])
    if answer["model"] != champion or answer["degraded"]:
        raise AssertionError(f"/predict was answered by {answer['model']}, the champion is {champion}")
    if abs(answer["probability"] - golden["probability"]) > 1e-9:
        raise AssertionError(f"/predict gives {answer['probability']!r}, golden.json has {golden['probability']!r}")
    return [f"/ready: {ready}", f"/health: {health}", f"/predict: {answer}"]


def main(arguments: list[str]) -> int:
    """Run from the command line."""
    if len(arguments) != 2:
        print("ask_server: expected ADDRESS and MODELS_FOLDER, as in http://127.0.0.1:8000 models", file=sys.stderr)
        return 2
    address, models = arguments[0].rstrip("/"), Path(arguments[1])
    try:
        print("\n".join(check(address, models)))
    except (OSError, ValueError, KeyError, AssertionError) as error:
        print(f"ask_server: {address}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
