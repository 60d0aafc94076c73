"""Where a client keeps its tokens between two starts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Tokens:
    """A session: what is presented to services, and what it is renewed by."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    #: When the access token expires, in seconds since 1970, by the clock of this machine.
    expires_at: float
    #: How many seconds the access token lives in all.
    lifetime: float
    #: What may be done: names with spaces between them.
    scope: str


_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
#: Seconds between two looks at a lock that somebody else has.
_LOCK_PAUSE = 0.02


class TokenStorage(Protocol):
    """Keeps the tokens of one session. Whoever shares it, processes as well, holds :meth:`lock` while it refreshes."""

    async def load(self) -> Tokens | None:
        """The tokens, or ``None`` where nobody is signed in."""

    async def save(self, tokens: Tokens | None) -> None:
        """Puts others in their place, for good when it returns; ``None`` forgets them."""

    def lock(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Makes everybody else wait who shares the storage."""


class MemoryStorage:
    """Keeps tokens until the process ends."""

    def __init__(self, tokens: Tokens | None = None) -> None:
        self._tokens = tokens
        self._lock = asyncio.Lock()

    async def load(self) -> Tokens | None:
        """The tokens, or ``None`` where nobody is signed in."""
        return self._tokens

    async def save(self, tokens: Tokens | None) -> None:
        """Puts others in their place; ``None`` forgets them."""
        self._tokens = tokens

    @contextlib.asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Makes other tasks wait."""
        async with self._lock:
            yield


class FileStorage:
    """Keeps tokens in a file of mode 0600, shared by processes of one user on one machine (not on Windows).

    They are not encrypted: who may read the user's files may use them. A desktop application should rather implement
    :class:`TokenStorage` over the system's keyring.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = pathlib.Path(path)
        self._lock = asyncio.Lock()

    async def load(self) -> Tokens | None:
        """The tokens, or ``None`` where nobody is signed in or the file is no longer whole."""
        return await asyncio.to_thread(self._load)

    async def save(self, tokens: Tokens | None) -> None:
        """Puts others in their place, whole or not at all; ``None`` deletes the file."""
        await asyncio.to_thread(self._save, tokens)

    @contextlib.asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Makes other tasks and processes wait, by a lock on a file beside it."""
        async with self._lock:
            descriptor = os.open(self._path.with_name(f"{self._path.name}.lock"), _LOCK_FLAGS, 0o600)
            try:
                # Asked for again and again: a thread that waits could not be called back.
                while not _is_locked(descriptor):
                    await asyncio.sleep(_LOCK_PAUSE)
                yield
            finally:
                os.close(descriptor)

    def _load(self) -> Tokens | None:
        try:
            return Tokens(**json.loads(self._path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def _save(self, tokens: Tokens | None) -> None:
        if tokens is None:
            self._path.unlink(missing_ok=True)
            return
        # mkstemp makes files of mode 0600.
        descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        try:
            with os.fdopen(descriptor, "w") as file:
                json.dump(asdict(tokens), file)
                file.flush()
                os.fsync(file.fileno())
            pathlib.Path(name).replace(self._path)
        except BaseException:
            pathlib.Path(name).unlink(missing_ok=True)
            raise


def _is_locked(descriptor: int) -> bool:
    """Whether the lock is ours now. It ends with the descriptor, and so with the process."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
