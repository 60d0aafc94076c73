"""The Gateway's validation of access tokens, as it is in the field, run on tokens from standard input.

Reads one JSON object: the address of the key set, the issuer, the audience, and tokens by name. Writes one: for each
name, what the Gateway reads off the token it accepts, or why it refuses.
"""

import json
import sys
import time
import urllib.request

from jose import JWTError, jwt

FETCH_TIMEOUT_S = 5
KEYS_ARE_GOOD_FOR_S = 3600


class Keys:
    """The server's key set: fetched once an hour, and never again for the sake of an unknown `kid`."""

    def __init__(self, url):
        self._url = url
        self._keys = None
        self._fetched_at = 0.0

    def get(self):
        if self._keys is None or time.monotonic() - self._fetched_at >= KEYS_ARE_GOOD_FOR_S:
            with urllib.request.urlopen(self._url, timeout=FETCH_TIMEOUT_S) as answer:
                self._keys = json.load(answer)
            self._fetched_at = time.monotonic()
        return self._keys


class Validator:
    def __init__(self, keys, issuer, audience):
        self._keys = keys
        self._issuer = issuer
        self._audience = audience

    def validate(self, token):
        """No leeway: `exp` and `nbf` are checked against this machine's clock as it stands."""
        kid = jwt.get_unverified_header(token).get("kid")
        key = next((key for key in self._keys.get()["keys"] if key["kid"] == kid), None)
        if key is None:
            raise JWTError("no key of that kid")
        claims = jwt.decode(token, key, algorithms=["RS256"], audience=self._audience, issuer=self._issuer)
        if claims.get("type") != "access":
            raise JWTError("not an access token")
        return {"user": claims["sub"], "scope": claims["scope"], "client": claims["client_id"]}


def judge(validator, token):
    try:
        return {"accepted": validator.validate(token)}
    except JWTError as error:
        return {"refused": str(error)}


def main():
    order = json.load(sys.stdin)
    validator = Validator(Keys(order["key_set"]), order["issuer"], order["audience"])
    json.dump({name: judge(validator, token) for name, token in order["tokens"].items()}, sys.stdout)


if __name__ == "__main__":
    main()
