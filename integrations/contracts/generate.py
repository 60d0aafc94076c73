"""Writes validation.json: tokens of a fixed time under fixed keys, each with the verdict that every verifier must give.

The keys beside this file sign nothing but these examples. RS256 is deterministic, so running it again changes nothing:
a test of the Python package does so and compares.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import sys

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

HERE = pathlib.Path(__file__).resolve().parent

#: The time at which the tokens are looked at, in seconds since 1970.
NOW = 1_800_000_000
ISSUER = "https://auth.example.org"
AUDIENCE = "codelab-api"
LEEWAY = 5
USER = "0199e4a0-5b1e-7c3a-9d52-3f0e6a1b2c3d"

GOOD_HEADER = {"alg": "RS256", "kid": "first", "typ": "at+jwt"}
GOOD_CLAIMS = {
    "iss": ISSUER,
    "sub": USER,
    "aud": AUDIENCE,
    "exp": NOW + 900,
    "iat": NOW,
    "nbf": NOW - 5,
    "jti": "5a0c7f52-8d0e-4b7c-8f5e-2a4d1c9b7e60",
    "type": "access",
    "client_id": "codelab-flutter-app",
    "scope": "api:read api:write",
}
#: What a verifier tells its application about a good token.
TOLD = {"sub": USER, "scope": "api:read api:write", "client_id": "codelab-flutter-app"}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def private_key(name: str) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key((HERE / "keys" / f"{name}.pem").read_bytes(), password=None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError(f"{name}.pem is no RSA key")
    return key


KEYS = {name: private_key(name) for name in ("first", "second", "stranger")}


def jwk(name: str) -> dict[str, str]:
    numbers = KEYS[name].public_key().public_numbers()
    return {
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": name,
        "n": b64(numbers.n.to_bytes(256, "big")),
        "e": b64(numbers.e.to_bytes(3, "big")),
    }


def public_pem(name: str) -> bytes:
    return (
        KEYS[name]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def rs256(name: str, signed: bytes) -> bytes:
    return KEYS[name].sign(signed, padding.PKCS1v15(), hashes.SHA256())


def parts(header: object, claims: object) -> bytes:
    raw = [value if isinstance(value, bytes) else compact(value) for value in (header, claims)]
    return ".".join(map(b64, raw)).encode()


def signed(header: object, claims: object, by: str = "first") -> str:
    content = parts(header, claims)
    return f"{content.decode()}.{b64(rs256(by, content))}"


def with_signature(header: object, claims: object, signature: bytes) -> str:
    return f"{parts(header, claims).decode()}.{b64(signature)}"


def hs256(secret: bytes) -> str:
    content = parts({**GOOD_HEADER, "alg": "HS256"}, GOOD_CLAIMS)
    return f"{content.decode()}.{b64(hmac.digest(secret, content, hashlib.sha256))}"


def without(claims: dict[str, object], name: str) -> dict[str, object]:
    return {key: value for key, value in claims.items() if key != name}


def claims(**changed: object) -> dict[str, object]:
    return {**GOOD_CLAIMS, **changed}


def header(**changed: object) -> dict[str, object]:
    return {**GOOD_HEADER, **changed}


def good(**changed: object) -> str:
    return signed(GOOD_HEADER, claims(**changed))


def tampered(token: str) -> str:
    """The same token with another user in it, under the old signature."""
    head, _, signature = token.split(".")
    other = claims(sub="00000000-0000-4000-8000-000000000000")
    return f"{head}.{b64(compact(other))}.{signature}"


def respelled(token: str) -> str:
    """The same bytes by another last letter: of its six bits the signature's 256 bytes leave four over."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + letters[letters.index(token[-1]) ^ 1]


def accepted() -> list[dict[str, object]]:
    two = {**TOLD, "scope": ""}
    cases: list[tuple[str, str, dict[str, str]]] = [
        ("an access token is accepted", good(), TOLD),
        ("an access token of type JWT is accepted", signed(header(typ="JWT"), GOOD_CLAIMS), TOLD),
        ("the case of typ does not matter", signed(header(typ="AT+JWT"), GOOD_CLAIMS), TOLD),
        ("typ may have its prefix", signed(header(typ="application/at+jwt"), GOOD_CLAIMS), TOLD),
        ("a token of the next key is accepted", signed(header(kid="second"), GOOD_CLAIMS, "second"), TOLD),
        ("one audience of several is enough", good(aud=["somebody-else", AUDIENCE]), TOLD),
        ("a token that expires within the leeway is accepted", good(exp=NOW - LEEWAY + 1), TOLD),
        ("a token that begins within the leeway is accepted", good(nbf=NOW + LEEWAY), TOLD),
        ("a token without nbf is accepted", signed(GOOD_HEADER, without(GOOD_CLAIMS, "nbf")), TOLD),
        ("a token issued in the future is accepted", good(iat=NOW + 3_600), TOLD),
        ("a token without scope may do nothing", signed(GOOD_HEADER, without(GOOD_CLAIMS, "scope")), two),
        ("further claims are passed over", good(roles=["admin"], sid="s"), TOLD),
        (
            "keys that a header names are passed over",
            signed(
                header(jku="https://evil.example/keys", jwk=jwk("stranger"), x5u="https://evil.example"), GOOD_CLAIMS
            ),
            TOLD,
        ),
    ]
    return [{"name": name, "token": token, "accepted": told} for name, token, told in cases]


def refused_for_form() -> list[tuple[str, str, str]]:
    token = good()
    head, body, signature = token.split(".")
    return [
        ("no token at all", "", "malformed"),
        ("no dots", "token", "malformed"),
        ("two parts", f"{head}.{body}", "malformed"),
        ("four parts", f"{token}.{signature}", "malformed"),
        ("an encrypted token's five parts", f"{head}.{body}.{body}.{body}.{signature}", "malformed"),
        ("white space before", f" {token}", "malformed"),
        ("a line end after", f"{token}\n", "malformed"),
        ("padding", f"{token}==", "malformed"),
        ("the other base64 alphabet", f"{head}.{body}.{'+/' * 171}", "malformed"),
        ("a header that is no JSON", signed(b"{alg", GOOD_CLAIMS), "malformed"),
        ("a header that is a list", signed(["RS256"], GOOD_CLAIMS), "malformed"),
        ("claims that are no JSON", signed(GOOD_HEADER, b"sub"), "malformed"),
        ("claims that are a list", signed(GOOD_HEADER, [USER]), "malformed"),
        ("claims in UTF-16", signed(GOOD_HEADER, json.dumps(GOOD_CLAIMS).encode("utf-16")), "malformed"),
        ("claims after a byte order mark", signed(GOOD_HEADER, b"\xef\xbb\xbf" + compact(GOOD_CLAIMS)), "malformed"),
        ("claims that are no UTF-8", signed(GOOD_HEADER, compact(GOOD_CLAIMS)[:-1] + b',"x":"\xff"}'), "malformed"),
        ("a number that is none", signed(GOOD_HEADER, compact(GOOD_CLAIMS)[:-1] + b',"x":NaN}'), "malformed"),
        ("another spelling of the signature", respelled(token), "malformed"),
        ("a token longer than 8 KiB", good(padding="x" * 8_192), "malformed"),
    ]


def refused_for_signature() -> list[tuple[str, str, str]]:
    token = good()
    content = parts(GOOD_HEADER, GOOD_CLAIMS)
    return [
        ("no algorithm", with_signature(header(alg="none"), GOOD_CLAIMS, b""), "malformed"),
        ("no algorithm, with a signature", with_signature(header(alg="none"), GOOD_CLAIMS, b"x"), "algorithm"),
        ("no algorithm in other letters", with_signature(header(alg="nOnE"), GOOD_CLAIMS, b"x"), "algorithm"),
        ("a header without alg", signed(without(GOOD_HEADER, "alg"), GOOD_CLAIMS), "algorithm"),
        ("alg in lower case", signed(header(alg="rs256"), GOOD_CLAIMS), "algorithm"),
        ("the public key as a shared secret", hs256(public_pem("first")), "algorithm"),
        ("the modulus as a shared secret", hs256(jwk("first")["n"].encode()), "algorithm"),
        ("another RSA algorithm", signed(header(alg="RS512"), GOOD_CLAIMS), "algorithm"),
        ("an unknown kid", signed(header(kid="third"), GOOD_CLAIMS, "stranger"), "unknown_key"),
        ("no kid", signed(without(GOOD_HEADER, "kid"), GOOD_CLAIMS), "unknown_key"),
        ("a kid that is no text", signed(header(kid=["first"]), GOOD_CLAIMS), "unknown_key"),
        ("a kid that is a path", signed(header(kid="../../first"), GOOD_CLAIMS), "unknown_key"),
        ("signed by another published key", signed(header(kid="second"), GOOD_CLAIMS), "signature"),
        ("signed by a stranger", signed(GOOD_HEADER, GOOD_CLAIMS, "stranger"), "signature"),
        ("signed by the key in its header", signed(header(jwk=jwk("stranger")), GOOD_CLAIMS, "stranger"), "signature"),
        ("changed claims", tampered(token), "signature"),
        ("a signature cut short", with_signature(GOOD_HEADER, GOOD_CLAIMS, rs256("first", content)[:-1]), "signature"),
        ("a signature of zeros", with_signature(GOOD_HEADER, GOOD_CLAIMS, bytes(256)), "signature"),
        ("an extension that must be understood", signed(header(crit=["exp"], exp=NOW), GOOD_CLAIMS), "malformed"),
    ]


def refused_for_claims() -> list[tuple[str, str, str]]:
    refresh = claims(type="refresh", aud=ISSUER, exp=NOW + 2_592_000)
    return [
        ("a refresh token", signed(header(typ="rt+jwt"), refresh), "type"),
        ("a refresh token of the older service", signed(header(typ="JWT"), claims(type="refresh")), "type"),
        ("no typ", signed(without(GOOD_HEADER, "typ"), GOOD_CLAIMS), "type"),
        ("an identity token's typ", signed(header(typ="id+jwt"), GOOD_CLAIMS), "type"),
        ("no type", signed(GOOD_HEADER, without(GOOD_CLAIMS, "type")), "type"),
        ("another issuer", good(iss="https://auth.example.com"), "issuer"),
        ("the issuer with a slash", good(iss=f"{ISSUER}/"), "issuer"),
        ("no issuer", signed(GOOD_HEADER, without(GOOD_CLAIMS, "iss")), "issuer"),
        ("several issuers", good(iss=[ISSUER]), "issuer"),
        ("another audience", good(aud="somebody-else"), "audience"),
        ("no audience", signed(GOOD_HEADER, without(GOOD_CLAIMS, "aud")), "audience"),
        ("an empty list of audiences", good(aud=[]), "audience"),
        ("an audience that begins like ours", good(aud=f"{AUDIENCE}-2"), "audience"),
        ("expired by the leeway", good(exp=NOW - LEEWAY), "expired"),
        ("expired long ago", good(exp=1), "expired"),
        ("no expiry", signed(GOOD_HEADER, without(GOOD_CLAIMS, "exp")), "claims"),
        ("an expiry that is a text", good(exp=str(NOW + 900)), "claims"),
        ("an expiry that is true", good(exp=True), "claims"),
        ("not yet valid", good(nbf=NOW + LEEWAY + 1), "not_yet_valid"),
        ("a beginning that is a text", good(nbf="0"), "claims"),
        ("no user", signed(GOOD_HEADER, without(GOOD_CLAIMS, "sub")), "claims"),
        ("an empty user", good(sub=""), "claims"),
        ("a user with a NUL", good(sub=f"{USER}\0"), "claims"),
        ("a user that is a number", good(sub=7), "claims"),
        ("no client", signed(GOOD_HEADER, without(GOOD_CLAIMS, "client_id")), "claims"),
        ("a scope that is a list", good(scope=["api:read"]), "claims"),
    ]


def document() -> dict[str, object]:
    refused = refused_for_form() + refused_for_signature() + refused_for_claims()
    cases = accepted() + [{"name": name, "token": token, "refused": why} for name, token, why in refused]
    names = [case["name"] for case in cases]
    if len(names) != len(set(names)):
        raise ValueError("a name is there twice")
    return {
        "about": "Written by generate.py; README.md says what it means.",
        "now": NOW,
        "policy": {"issuer": ISSUER, "audience": AUDIENCE, "leeway": LEEWAY},
        "key_set": {"keys": [jwk("first"), jwk("second")]},
        "cases": cases,
    }


def text() -> str:
    return json.dumps(document(), indent=2) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(
            0 if (HERE / "validation.json").read_text() == text() else "validation.json is not what generate.py writes"
        )
    (HERE / "validation.json").write_text(text())
