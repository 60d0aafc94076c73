"""The auth service and the three services of the platform as processes, on loopback.

A service is exchanged without losing a connection: the socket it listens on belongs to this program, the next process
takes it over, and only then does the last one stop.
"""

import contextlib
import os
import pathlib
import re
import socket
import sqlite3
import subprocess
import sys
import time

import httpx

HERE = pathlib.Path(__file__).resolve().parent.parent
ROOT = HERE.parents[1]
ISSUER = "https://auth.codelab.local"
INTERNAL_KEY = "the-key-that-everybody-has"
ADMIN_PASSWORD = "Pencil-and-Paper-9"
#: How long anything may take that is over in a second on a machine with nothing else to do, in seconds.
PATIENCE = 90
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
        with contextlib.ExitStack() as ends:
            for listening in self._sockets.values():
                ends.callback(listening.close)
            ends.callback(self.stop_auth)
            for process in self._running.values():
                ends.callback(_end, process)

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

    def stop_auth(self) -> None:
        """Stops the auth service; it can be started again, with all that it knows."""
        if self._auth is not None:
            _end(self._auth)
            self._auth = None

    def auth(self, *arguments: str, stdin: str | None = None) -> None:
        """A command of the auth service."""
        environment = self._auth_environment()
        command = [str(auth_binary()), *arguments]
        subprocess.run(
            command, env=environment, cwd=self._folder, input=stdin, text=True, check=True, stdout=subprocess.DEVNULL
        )

    def migrate(self, *arguments: str) -> None:
        """Changes the Runtime's schema: `upgrade REVISION` or `downgrade REVISION`."""
        environment = {**os.environ, "DATABASE_URL": f"sqlite:///{self._database}"}
        command = [sys.executable, "-m", "alembic", "-c", str(HERE / "alembic.ini"), *arguments]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)

    def owners(self) -> dict[str, str | None]:
        """Every session that the Runtime has, and whose it is; before there are owners, nobody's."""
        with contextlib.closing(sqlite3.connect(self._database, timeout=PATIENCE)) as database:
            database.row_factory = sqlite3.Row
            rows = [dict(row) for row in database.execute("SELECT * FROM sessions")]
        return {row["id"]: row.get("user_id") for row in rows}

    def deploy(self, name: str, **switches: str) -> None:
        """Puts a service with these switches in the place of the one that runs."""
        descriptor = self._sockets[name].fileno()
        command = [sys.executable, "-m", "platform_demo.serve", MODULES[name], str(descriptor)]
        path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, **self._environment(), **switches, "PYTHONPATH": path}
        process = subprocess.Popen(command, env=environment, pass_fds=[descriptor], cwd=self._folder)
        before, self._running[name] = self._running.get(name), process
        # Both answer for a moment: which it was the answer says.
        self._wait_for(f"{self.url(name)}/health", process, pid=process.pid)
        if before is not None:
            _end(before)

    def _wait_for(
        self, url: str, process: subprocess.Popen[str] | subprocess.Popen[bytes], pid: int | None = None
    ) -> None:
        until = time.monotonic() + PATIENCE
        # No connection is kept: it would go on to the process that is to stop.
        with httpx.Client(limits=httpx.Limits(max_keepalive_connections=0)) as http:
            while time.monotonic() < until:
                if process.poll() is not None:
                    sys.exit(f"the service for {url} ended with {process.returncode}")
                with contextlib.suppress(httpx.TransportError):
                    answer = http.get(url)
                    if answer.status_code == 200 and pid in (None, answer.json().get("pid")):
                        return
                time.sleep(0.05)
        sys.exit(f"nobody answers at {url}")

    @property
    def _database(self) -> pathlib.Path:
        return self._folder / "runtime.db"

    def _environment(self) -> dict[str, str]:
        return {
            "INTERNAL_API_KEY": INTERNAL_KEY,
            "AUTH_URL": self.url("auth"),
            "JWT_ISSUER": ISSUER,
            "RUNTIME_URL": self.url("runtime"),
            "LLM_URL": self.url("llm"),
            "DATABASE_URL": f"sqlite:///{self._database}",
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


def _end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """Lets a process finish what it is at; one that does not end is ended, and that is a fault."""
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        sys.exit(f"a service did not stop within {PATIENCE} s: {process.args}")
