"""The key set is asked for rarely, once at a time, and kept while nobody answers."""

import asyncio
import contextlib
import json

import httpx
import prometheus_client
import pytest

from codelab_auth import KeySetCache, KeysUnavailable, PrometheusMetrics, TokenVerifier
from codelab_auth.keys import parse
from contracts import DOCUMENT

URL = "https://auth.example.org/.well-known/jwks.json"
FIRST, SECOND = DOCUMENT["key_set"]["keys"]


class Server:
    """Answers by a key set, as told, and counts."""

    def __init__(self, *keys):
        self.keys = list(keys)
        self.answer = None
        self.asked = 0
        self.gate = None

    async def __call__(self, _request):
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or httpx.Response(200, json={"keys": self.keys})


class World:
    """A cache over such a server, and the time."""

    def __init__(self, *keys):
        self.now = 1_000.0
        self.server = Server(*keys)
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(self.server))
        self.cache = KeySetCache(URL, http=self.http, clock=lambda: self.now)

    async def settle(self):
        """Lets a request in the background come to its end."""
        while self.cache._fetching is not None:
            await asyncio.wait({self.cache._fetching})


@pytest.fixture
async def world():
    world = World(FIRST)
    async with world.http:
        yield world
        await world.cache.aclose()


async def test_for_an_hour_one_request_is_enough(world):
    for _ in range(3):
        assert await world.cache.find("first") is not None
        world.now += 1_199
    assert world.server.asked == 1


async def test_after_an_hour_the_old_keys_serve_while_new_ones_are_fetched(world):
    await world.cache.find("first")
    world.now += 3_600
    world.server.gate = asyncio.Event()
    assert await world.cache.find("first") is not None
    world.server.keys = [SECOND]
    world.server.gate.set()
    await world.settle()
    assert await world.cache.find("second") is not None
    assert world.server.asked == 2
    assert await world.cache.find("first") is None


async def test_an_unknown_key_is_asked_for_once_in_thirty_seconds(world):
    await world.cache.find("first")
    assert await world.cache.find("second") is None
    for name in range(100):
        assert await world.cache.find(f"invented-{name}") is None
    assert world.server.asked == 2
    world.server.keys.append(SECOND)
    world.now += 29.9
    assert await world.cache.find("second") is None
    world.now += 0.1
    assert await world.cache.find("second") is not None
    assert world.server.asked == 3


async def test_of_fifty_who_wait_one_asks(world):
    world.server.gate = asyncio.Event()
    waiting = [asyncio.create_task(world.cache.find("first")) for _ in range(50)]
    await asyncio.sleep(0)
    world.server.gate.set()
    assert None not in await asyncio.gather(*waiting)
    assert world.server.asked == 1


async def test_who_hangs_up_takes_nobody_along(world):
    world.server.gate = asyncio.Event()
    leaves, stays = (asyncio.create_task(world.cache.find("first")) for _ in range(2))
    await asyncio.sleep(0)
    leaves.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leaves
    world.server.gate.set()
    assert await stays is not None


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("away"),
        httpx.Response(503, json={"error": "temporarily_unavailable"}),
        httpx.Response(302, headers={"location": "https://evil.example/keys"}),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"keys": []}),
        httpx.Response(200, json={"keys": [{"kty": "oct", "kid": "first", "k": "c2VjcmV0"}]}),
        httpx.Response(200, text=json.dumps({"keys": [FIRST], "padding": "x" * 300_000})),
    ],
    ids=["no connection", "503", "redirect", "no JSON", "a list", "no keys", "no RSA key", "too long"],
)
async def test_known_keys_serve_on_while_no_key_set_can_be_had(world, answer):
    await world.cache.find("first")
    world.server.answer = answer
    world.now += 3_600
    for _ in range(3):
        assert await world.cache.find("first") is not None
        await world.settle()
        world.now += 1_000
    assert await world.cache.find("second") is None


async def test_keys_that_are_a_day_old_serve_no_longer(world):
    await world.cache.find("first")
    world.server.answer = httpx.ConnectError("away")
    world.now += 86_400
    with pytest.raises(KeysUnavailable):
        await world.cache.find("first")
    world.server.answer = None
    world.now += 1
    assert await world.cache.find("first") is not None


async def test_without_any_key_a_second_passes_between_two_requests(world):
    world.server.answer = httpx.ConnectError("away")
    for _ in range(10):
        with pytest.raises(KeysUnavailable):
            await world.cache.find("first")
    assert world.server.asked == 1
    world.server.answer = None
    world.now += 1
    assert await world.cache.find("first") is not None


async def test_a_server_that_never_answers_is_waited_for_for_a_time_only():
    async def silent(_request):
        await asyncio.Event().wait()

    async with httpx.AsyncClient(transport=httpx.MockTransport(silent)) as http:
        with pytest.raises(KeysUnavailable):
            await KeySetCache(URL, http=http, timeout=0.01).find("first")


async def test_hits_and_misses_are_counted(world):
    registry = prometheus_client.CollectorRegistry()
    cache = KeySetCache(URL, http=world.http, clock=lambda: world.now, metrics=PrometheusMetrics(registry))
    for kid in ("first", "first", "first", "second"):
        await cache.find(kid)
    assert registry.get_sample_value("jwks_cache_hits_total") == 2
    assert registry.get_sample_value("jwks_cache_misses_total") == 2


async def test_a_validation_that_is_given_up_is_not_counted_as_accepted(world):
    registry = prometheus_client.CollectorRegistry()
    world.server.gate = asyncio.Event()
    verifier = TokenVerifier(world.cache, **DOCUMENT["policy"], metrics=PrometheusMetrics(registry))
    waiting = asyncio.create_task(verifier.verify(DOCUMENT["cases"][0]["token"]))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert registry.get_sample_value("jwt_validation_total", {"result": "accepted"}) is None
    assert registry.get_sample_value("jwt_validation_total", {"result": "abandoned"}) == 1
    world.server.gate.set()


def test_keys_for_other_uses_are_passed_over():
    others = [
        {**FIRST, "kid": "encryption", "use": "enc"},
        {**FIRST, "kid": "other-algorithm", "alg": "RS512"},
        {**FIRST, "kid": 7},
        {**FIRST, "kid": "private", "d": "AQAB"},
        {**FIRST, "kid": "broken", "n": "!"},
        "first",
    ]
    assert list(parse({"keys": [*others, FIRST]})) == ["first"]
