"""integrations/contracts/validation.json, case by case."""

import subprocess
import sys
from base64 import urlsafe_b64encode

import pytest

from codelab_auth import KeysUnavailable, TokenRefused, TokenVerifier
from contracts import DOCUMENT, FOLDER, FixedKeys

CASES = DOCUMENT["cases"]


def verifier():
    return TokenVerifier(FixedKeys(DOCUMENT["key_set"]), clock=lambda: DOCUMENT["now"], **DOCUMENT["policy"])


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
async def test_a_token_gets_the_verdict_of_the_contract(case):
    if "accepted" in case:
        identity = await verifier().verify(case["token"])
        told = {"sub": identity.user_id, "scope": identity.scope, "client_id": identity.client_id}
        assert told == case["accepted"]
    else:
        with pytest.raises(TokenRefused) as refused:
            await verifier().verify(case["token"])
        assert refused.value.refusal == case["refused"]


def test_the_contract_is_what_its_generator_writes():
    ran = subprocess.run(
        [sys.executable, FOLDER / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


async def test_without_keys_nobody_is_judged():
    class NoKeys:
        async def find(self, kid):
            raise KeysUnavailable

    with pytest.raises(KeysUnavailable):
        await TokenVerifier(NoKeys(), issuer="https://auth.example.org").verify(CASES[0]["token"])


@pytest.mark.parametrize("claims", [b'{"type":"refresh","type":"access"}', b'{"a":{"b":1,"b":2}}'])
async def test_members_that_are_named_twice_are_no_claims(claims):
    token = f"{CASES[0]['token'].split('.')[0]}.{urlsafe_b64encode(claims).rstrip(b'=').decode()}.AAAA"
    with pytest.raises(TokenRefused) as refused:
        await verifier().verify(token)
    assert refused.value.refusal == "malformed"
