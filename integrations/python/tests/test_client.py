"""What becomes of many callers, of those who hang up, and of storages that are shared."""

import asyncio
import contextlib
import json

import httpx
import pytest

from codelab_auth import AuthClient, FileStorage, MemoryStorage, Tokens, Unavailable


class Server(httpx.AsyncBaseTransport):
    """A token endpoint that takes each refresh token once, and answers when it is let."""

    def __init__(self):
        self.asked = 0
        self.consumed = set()
        self.gate = asyncio.Event()
        self.answer = None

    async def handle_async_request(self, request):
        self.asked += 1
        form = httpx.QueryParams((await request.aread()).decode())
        if self.answer is None:
            assert form["refresh_token"] not in self.consumed, "presented twice"
            self.consumed.add(form["refresh_token"])
        await self.gate.wait()
        if self.answer is not None:
            return self.answer
        tokens = {"access_token": f"access-{self.asked}", "refresh_token": f"refresh-{self.asked}", "expires_in": 900}
        return httpx.Response(200, json=tokens)


def tokens(expires_at):
    return Tokens("access-0", "refresh-0", expires_at, 900.0, "")


@pytest.fixture
async def server():
    return Server()


def client(server, storage, now=1_000.0):
    http = httpx.AsyncClient(transport=server)
    return AuthClient("https://auth.example.org", "a", storage=storage, http=http, clock=lambda: now)


async def test_who_hangs_up_burns_no_refresh_token(server):
    storage = MemoryStorage(tokens(0.0))
    subject = client(server, storage)
    leaves, *stay = [asyncio.create_task(subject.access_token()) for _ in range(50)]
    while not server.asked:
        await asyncio.sleep(0)
    leaves.cancel()
    server.gate.set()
    assert await asyncio.gather(*stay) == ["access-1"] * 49
    assert (await storage.load()).refresh_token == "refresh-1"


async def test_a_refresh_that_nobody_waits_for_any_more_is_stored_all_the_same(server):
    storage = MemoryStorage(tokens(0.0))
    subject = client(server, storage)
    only = asyncio.create_task(subject.access_token())
    while not server.asked:
        await asyncio.sleep(0)
    only.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await only
    server.gate.set()
    assert await subject.access_token() == "access-1"
    assert server.asked == 1


async def test_fifty_callers_share_one_failure(server):
    server.answer = httpx.Response(503, json={"error": "temporarily_unavailable"}, headers={"retry-after": "9"})
    server.gate.set()
    subject = client(server, MemoryStorage(tokens(0.0)))
    got = await asyncio.gather(*(subject.access_token() for _ in range(50)), return_exceptions=True)
    assert {(type(fault), fault.retry_after) for fault in got} == {(Unavailable, 9)}
    assert server.asked == 1
    with pytest.raises(Unavailable):
        await subject.access_token()
    assert server.asked == 1


async def test_tokens_that_the_storage_does_not_take_are_used_and_stored_when_it_does(server):
    class Full(MemoryStorage):
        is_full = True

        async def save(self, tokens):
            if self.is_full:
                raise OSError("full")
            await super().save(tokens)

    storage = Full(tokens(0.0))
    subject = client(server, storage)
    server.gate.set()
    for _ in range(3):
        assert await subject.access_token() == "access-1"
    assert server.asked == 1
    storage.is_full = False
    assert await subject.access_token() == "access-1"
    assert (await storage.load()).refresh_token == "refresh-1"


@pytest.mark.parametrize("lifetime", ["900", True, 0, -1, 1e999, None])
async def test_an_answer_without_a_lifetime_is_none(server, lifetime):
    body = f'{{"access_token":"a","refresh_token":"r","expires_in":{json.dumps(lifetime)}}}'
    server.answer = httpx.Response(200, text=body, headers={"content-type": "application/json"})
    server.gate.set()
    storage = MemoryStorage(tokens(0.0))
    with pytest.raises(Unavailable):
        await client(server, storage).access_token()
    assert (await storage.load()).refresh_token == "refresh-0"


async def test_a_wait_for_the_file_that_is_given_up_holds_nothing(tmp_path):
    path = tmp_path / "session.json"
    first, second = FileStorage(path), FileStorage(path)
    async with first.lock():
        waiting = asyncio.create_task(second.lock().__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(10), first.lock():
        pass


async def test_many_storages_of_one_file_get_their_turns(server, tmp_path):
    path = tmp_path / "session.json"
    await FileStorage(path).save(tokens(0.0))
    server.gate.set()
    clients = [client(server, FileStorage(path)) for _ in range(40)]
    async with asyncio.timeout(30):
        got = await asyncio.gather(*(subject.access_token() for subject in clients))
    assert set(got) == {"access-1"}
    assert server.asked == 1


async def test_a_file_that_is_no_longer_whole_is_nobody_signed_in(tmp_path):
    path = tmp_path / "session.json"
    path.write_text('{"access_token"')
    assert await FileStorage(path).load() is None
    await FileStorage(path).save(None)
    assert not path.exists()
