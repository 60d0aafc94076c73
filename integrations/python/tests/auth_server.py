"""The real server, built from this repository: AUTH_E2E_BINARY names the program."""

import os
import pathlib
import re
import signal
import subprocess
import time

import httpx

ADMIN_PASSWORD = "Pencil-and-Paper-9"
ROOT = pathlib.Path(__file__).resolve().parents[3]


def binary():
    given = os.environ.get("AUTH_E2E_BINARY")
    path = pathlib.Path(given) if given else ROOT / "target" / "debug" / "auth-service"
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: `cargo build --package auth-server` makes it")
    return path


class AuthServer:
    """An installation of its own in a folder; may be stopped and started again on the same port."""

    def __init__(self, folder, **settings):
        self._folder = folder
        self._port = 0
        self._process = None
        self._settings = {
            "DB_URL": f"sqlite:///{folder}/auth.db",
            "KEYS_DIR": str(folder / "keys"),
            "MASTER_KEY": ADMIN_PASSWORD,
            "JWT_ISSUER": "https://auth.example.org",
            "ENABLE_RATE_LIMITING": "false",
            "LOG_LEVEL": "error",
            **settings,
        }

    @property
    def url(self):
        return f"http://127.0.0.1:{self._port}"

    @property
    def jwks_url(self):
        return f"{self.url}/.well-known/jwks.json"

    def start(self):
        self._process = subprocess.Popen(
            [binary(), "serve"],
            env={**self._environment(), "AUTH_SERVICE__PORT": str(self._port)},
            cwd=self._folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        for line in self._process.stdout:
            if said := re.search(r"listens on http://127\.0\.0\.1:(\d+)", line):
                self._port = int(said[1])
                break
        else:
            raise RuntimeError("the server did not start")
        self._wait_until_ready()
        return self

    def stop(self, how=signal.SIGTERM):
        if self._process is not None:
            self._process.send_signal(how)
            self._process.communicate(timeout=30)
            self._process = None

    def run(self, *arguments, stdin=None):
        """A command of the program, over the same settings."""
        ran = subprocess.run(
            [binary(), *arguments],
            env=self._environment(),
            cwd=self._folder,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            raise RuntimeError(ran.stderr)
        return ran.stdout

    def tokens(self, scope=None, client_id="codelab-flutter-app"):
        form = {"grant_type": "password", "client_id": client_id, "username": "admin", "password": ADMIN_PASSWORD}
        answer = httpx.post(f"{self.url}/oauth/token", data={**form, **({"scope": scope} if scope else {})})
        answer.raise_for_status()
        return answer.json()

    def _environment(self):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AUTH_SERVICE")}
        return {**kept, **{f"AUTH_SERVICE__{name}": value for name, value in self._settings.items()}}

    def _wait_until_ready(self):
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                if httpx.get(f"{self.url}/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
        raise RuntimeError("the server does not become ready")
