"""Starts the platform as it is in the middle of the migration, on the ports of the field, and says how to use it."""

import pathlib
import signal
import tempfile

from .processes import ADMIN_PASSWORD, INTERNAL_KEY, Platform

PORTS = {"gateway": 8000, "runtime": 8001, "llm": 8002, "auth": 8003}
SAID = """The platform runs: Gateway {gateway}, Agent Runtime {runtime}, LLM Proxy {llm}, auth service {auth}.

By the shared key:
  curl -H 'X-Internal-Auth: {key}' {gateway}/api/sessions

By a token:
  curl -s {auth}/oauth/token -d grant_type=password -d client_id=codelab-flutter-app \\
       -d username=admin -d password={password}
  curl -H "Authorization: Bearer $ACCESS_TOKEN" {gateway}/api/sessions

How requests were let in:
  curl -s {gateway}/metrics | grep ^auth_method_total

Ctrl-C ends it and throws its data away."""


def main() -> None:
    """Runs until it is interrupted."""
    with tempfile.TemporaryDirectory() as folder, Platform(pathlib.Path(folder), PORTS) as platform:
        platform.start_auth()
        platform.migrate("upgrade", "head")
        for name in ("llm", "runtime", "gateway"):
            platform.deploy(name, USE_JWT_AUTH="true")
        urls = {name: platform.url(name) for name in PORTS}
        print(SAID.format(**urls, key=INTERNAL_KEY, password=ADMIN_PASSWORD), flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
