"""Serves one of the services on a socket that is given to it, and stops without cutting anybody off."""

import asyncio
import logging
import socket
import sys
import time

import uvicorn

#: How long a stop waits for those who are being served, in seconds.
PATIENCE = 30.0


class Server(uvicorn.Server):
    """uvicorn closes connections at a stop whose request it has not read yet; here they are served first."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Takes no more connections, waits for those there are, and then stops as uvicorn does."""
        for listening in self.servers:
            listening.close()
        until = time.monotonic() + PATIENCE
        # One turn at least: a connection may have been accepted that nobody has been told of yet.
        await asyncio.sleep(0.1)
        while self.server_state.connections and time.monotonic() < until:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)


def is_true(record: logging.LogRecord) -> bool:
    """uvicorn says of each WebSocket that is answered 401 that it was not answered."""
    return "without completing handshake" not in record.getMessage()


def main(module: str, descriptor: str) -> None:
    """Serves the application of a module of this package."""
    config = uvicorn.Config(f"platform_demo.{module}:app", log_level="error", ws="websockets-sansio")
    logging.getLogger("uvicorn.error").addFilter(is_true)
    Server(config).run([socket.socket(fileno=int(descriptor))])


if __name__ == "__main__":
    main(*sys.argv[1:])
