"""What several tests need."""

import pytest

from auth_server import AuthServer


@pytest.fixture
def auth_server(tmp_path):
    """A server of the test's own."""
    server = AuthServer(tmp_path)
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory):
    """A server for tests that change nothing of it."""
    server = AuthServer(tmp_path_factory.mktemp("auth"))
    try:
        yield server.start()
    finally:
        server.stop()
