"""The auth service and the three services of the platform as processes, on loopback.

A service is exchanged without losing a connection: the socket it listens on belongs to this program, the next process
takes it over, and only then does the last one stop.
"""

import contextlib
import os
import pathlib
import re
import socket
import subprocess
import sys
import time

import httpx

HERE = pathlib.Path(__file__).resolve().parent.parent
ROOT = HERE.parents[1]
ISSUER = "https://auth.codelab.local"
INTERNAL_KEY = "the-key-that-everybody-has"
ADMIN_PASSWORD = "Pencil-and-Paper-9"  # noqa: S105 - of a database that is thrown away
MODULES = {"gateway": "gateway", "runtime": "runtime", "llm": "llm_proxy"}


def auth_binary() -> pathlib.Path:
    """The auth service that this repository builds; AUTH_E2E_BINARY may name another."""
    path = pathlib.Path(os.environ.get("AUTH_E2E_BINARY", ROOT / "target" / "debug" / "auth-service"))
    if not path.exists():
        sys.exit(f"{path} is not there: `cargo build --package auth-server` makes it")
    return path


class Platform:
    """All of it, in a folder of its own."""

    def __init__(self, folder: pathlib.Path, ports: dict[str, int] | None = None) -> None:
        self._folder = folder
        self._sockets = {name: self._listen((ports or {}).get(name, 0)) for name in MODULES}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._auth: subprocess.Popen[str] | None = None
        self._auth_port = (ports or {}).get("auth", 0)

    def __enter__(self) -> "Platform":
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*self._running.values(), *([self._auth] if self._auth else [])]:
            process.terminate()
            process.wait(30)
        for listening in self._sockets.values():
            listening.close()

    def url(self, name: str) -> str:
        """Where a service is."""
        if name == "auth":
            return f"http://127.0.0.1:{self._auth_port}"
        return f"http://127.0.0.1:{self._sockets[name].getsockname()[1]}"

    def start_auth(self) -> None:
        """Starts the auth service, whose first start makes the built-in clients and the user `admin`."""
        command = [str(auth_binary()), "serve"]
        environment = {**self._auth_environment(), "AUTH_SERVICE__PORT": str(self._auth_port)}
        self._auth = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=self._folder)
        for line in self._auth.stdout or ():
            if said := re.search(r"listens on http://127\.0\.0\.1:(\d+)", line):
                self._auth_port = int(said[1])
                break
        self._wait_for(f"{self.url('auth')}/ready", self._auth)

    def auth(self, *arguments: str, stdin: str | None = None) -> None:
        """A command of the auth service."""
        environment = self._auth_environment()
        command = [str(auth_binary()), *arguments]
        subprocess.run(command, env=environment, cwd=self._folder, input=stdin, text=True, check=True, capture_output=True)

    def migrate(self, *arguments: str) -> None:
        """Changes the Runtime's schema: `upgrade REVISION` or `downgrade REVISION`."""
        environment = {**os.environ, "DATABASE_URL": self._database()}
        command = [sys.executable, "-m", "alembic", "-c", str(HERE / "alembic.ini"), *arguments]
        subprocess.run(command, env=environment, check=True, capture_output=True)

    def deploy(self, name: str, **switches: str) -> None:
        """Puts a service with these switches in the place of the one that runs."""
        descriptor = self._sockets[name].fileno()
        command = [sys.executable, "-m", "platform_demo.serve", MODULES[name], str(descriptor)]
        environment = {**os.environ, **self._environment(), **switches, "PYTHONPATH": str(HERE)}
        process = subprocess.Popen(command, env=environment, pass_fds=[descriptor], cwd=self._folder)
        before, self._running[name] = self._running.get(name), process
        # Both answer for a moment: which it was the answer says.
        self._wait_for(f"{self.url(name)}/health", process, pid=process.pid)
        if before is not None:
            before.terminate()
            before.wait(30)

    def _wait_for(self, url: str, process: subprocess.Popen[str] | subprocess.Popen[bytes], pid: int | None = None) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if process.poll() is not None:
                sys.exit(f"the service for {url} ended with {process.returncode}")
            with contextlib.suppress(httpx.TransportError):
                answer = httpx.get(url)
                if answer.status_code == 200 and pid in (None, answer.json().get("pid")):
                    return
            time.sleep(0.02)
        sys.exit(f"nobody answers at {url}")

    def _database(self) -> str:
        return f"sqlite:///{self._folder / 'runtime.db'}"

    def _environment(self) -> dict[str, str]:
        return {
            "INTERNAL_API_KEY": INTERNAL_KEY,
            "AUTH_URL": self.url("auth"),
            "JWT_ISSUER": ISSUER,
            "RUNTIME_URL": self.url("runtime"),
            "LLM_URL": self.url("llm"),
            "DATABASE_URL": self._database(),
        }

    def _auth_environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AUTH_SERVICE")}
        settings = {
            "DB_URL": f"sqlite:///{self._folder / 'auth.db'}",
            "KEYS_DIR": str(self._folder / "keys"),
            "JWT_ISSUER": ISSUER,
            "MASTER_KEY": ADMIN_PASSWORD,
            "ENABLE_RATE_LIMITING": "false",
            "LOG_LEVEL": "error",
        }
        return {**kept, **{f"AUTH_SERVICE__{name}": value for name, value in settings.items()}}

    @staticmethod
    def _listen(port: int) -> socket.socket:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen(128)
        return listening
