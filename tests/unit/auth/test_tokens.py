"""`auth.tokens`: what a token must look like to be believed, and every way in which it is not."""

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import example, given
from hypothesis import strategies as st

from auth.errors import KeyUnusable, TokenExpired, Unauthenticated
from auth.principal import Access
from auth.tokens import MAX_TOKEN, Claims, Key, mint, private_key, public_key, secret_key, verify

NOW = 1_800_000_000.0
SECRET = "correct horse battery staple, and more"
KEY = secret_key(SECRET)
CLAIMS: dict[str, Any] = {"sub": "alice", "room": "notes", "role": "write", "exp": NOW + 60}


def _pem(key: Any) -> tuple[bytes, bytes]:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


RSA_PRIVATE, RSA_PUBLIC = _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))
EC_PRIVATE, EC_PUBLIC = _pem(ec.generate_private_key(ec.SECP256R1()))
ED_PRIVATE, ED_PUBLIC = _pem(ed25519.Ed25519PrivateKey.generate())
PAIRS = {"RS256": (RSA_PRIVATE, RSA_PUBLIC), "ES256": (EC_PRIVATE, EC_PUBLIC), "EdDSA": (ED_PRIVATE, ED_PUBLIC)}


def _part(data: object) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forge(header: object, payload: object, secret: bytes = SECRET.encode()) -> str:
    """A token with exactly these parts, correctly signed by HMAC-SHA256 whatever its header says."""
    signed = f"{_part(header)}.{_part(payload)}"
    return f"{signed}.{_part(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def hs256(**changes: Any) -> str:
    """A correctly signed token whose claims differ from good ones by `changes` (None removes a claim)."""
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    return forge({"alg": "HS256", "typ": "JWT"}, claims)


def check(token: str, *keys: Key, now: float = NOW, audience: str | None = None, issuer: str | None = None) -> Claims:
    return verify(token, keys or (KEY,), now, audience, issuer, leeway=10)


def test_a_good_token_says_who_where_and_what() -> None:
    assert check(hs256(name="Alice Ä")) == Claims("alice", "Alice Ä", "notes", Access.WRITE, NOW + 60)
    assert check(hs256(room=["a/*", "b"])).rooms == ("a/*", "b")
    assert check(hs256()).name == "alice"


@pytest.mark.parametrize("algorithm", ["HS256", *PAIRS])
def test_what_is_minted_is_believed(algorithm: str) -> None:
    private, public = PAIRS.get(algorithm, (b"", b""))
    signing = private_key(private) if private else KEY
    checking = public_key(public) if public else KEY
    token = mint(
        signing,
        subject="bob",
        name="Bob",
        rooms=["x"],
        role="comment",
        now=NOW,
        ttl=30,
        audience="syncd",
        issuer="app",
    )
    assert jwt.get_unverified_header(token)["alg"] == algorithm == checking.algorithm
    claims = check(token, checking, audience="syncd", issuer="app")
    assert claims == Claims("bob", "Bob", ("x",), Access.COMMENT, NOW + 30)


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": ""},
        {"sub": "x" * 300},
        {"rooms": ""},
        {"rooms": []},
        {"role": "admin"},
        {"rooms": ["x"] * 101},
        {"ttl": -60.0},
    ],
)
def test_nothing_is_minted_that_would_be_refused(changes: dict[str, Any]) -> None:
    good: dict[str, Any] = {"subject": "bob", "rooms": "x", "role": "read", "ttl": 60.0}
    changes = {("subject" if name == "sub" else name): value for name, value in changes.items()}
    with pytest.raises(ValueError, match="would be refused"):
        mint(KEY, now=NOW, **(good | changes))


def test_a_public_key_signs_nothing() -> None:
    with pytest.raises(KeyUnusable):
        mint(public_key(ED_PUBLIC), subject="bob", rooms="x", role="read", now=NOW, ttl=60)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "HS384", "HS512", "RS256", "hs256", None, 1])
def test_the_token_does_not_choose_its_algorithm(algorithm: object) -> None:
    header = {"alg": algorithm, "typ": "JWT"}
    signed = f"{_part(header)}.{_part(CLAIMS)}"
    for token in (forge(header, CLAIMS), f"{signed}.", signed, f"{signed}.{_part(b'x')}"):
        with pytest.raises(Unauthenticated):
            check(token)
    with pytest.raises(Unauthenticated):
        check(forge(header, CLAIMS), public_key(RSA_PUBLIC))


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("variant", [bytes, bytes.strip, lambda pem: pem.replace(b"\n", b"\r\n")])
def test_a_public_key_is_never_taken_for_a_shared_secret(name: str, variant: Any) -> None:
    public = PAIRS[name][1]
    token = forge({"alg": "HS256", "typ": "JWT"}, CLAIMS, secret=variant(public))
    with pytest.raises(Unauthenticated):
        check(token, public_key(public))


def test_a_token_of_one_key_is_not_believed_under_another() -> None:
    other_private, _ = _pem(ed25519.Ed25519PrivateKey.generate())
    token = mint(private_key(other_private), subject="a", rooms="x", role="own", now=NOW, ttl=60)
    for key in (public_key(ED_PUBLIC), public_key(EC_PUBLIC), public_key(RSA_PUBLIC), KEY):
        with pytest.raises(Unauthenticated, match="not signed with a known key"):
            check(token, key)


def test_any_of_several_keys_will_do() -> None:
    token = mint(private_key(EC_PRIVATE), subject="a", rooms="x", role="own", now=NOW, ttl=60)
    assert check(token, KEY, public_key(RSA_PUBLIC), public_key(EC_PUBLIC)).role is Access.OWN


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "HS256", "kid": "../../../../dev/null"},
        {"alg": "HS256", "kid": "http://127.0.0.1:1/key"},
        {"alg": "HS256", "jku": "http://127.0.0.1:1/jwks", "x5u": "file:///etc/passwd"},
        {"alg": "HS256", "jwk": {"kty": "oct", "k": _part(b"x" * 32)}},
    ],
)
def test_keys_named_or_carried_by_a_token_are_not_looked_at(header: dict[str, Any]) -> None:
    assert check(forge(header, CLAIMS)).subject == "alice"
    with pytest.raises(Unauthenticated):
        check(forge(header, CLAIMS, secret=b"x" * 32))
    with pytest.raises(Unauthenticated):
        check(forge(header, CLAIMS, secret=b""))


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        ({"alg": "HS256", "crit": ["exp"]}, CLAIMS),
        ({"alg": "HS256", "crit": ["b64"], "b64": False}, CLAIMS),
        ({"alg": "HS256", "b64": False}, CLAIMS),
        (b'{"alg":"none","alg":"HS256"}', CLAIMS),
        (b'{"alg":"HS256"', CLAIMS),
        (b'["HS256"]', CLAIMS),
        (b"\xff\xfe", CLAIMS),
        (b"[" * 5000, CLAIMS),
        ({"alg": "HS256"}, b"[" * 5000),
        ({"alg": "HS256"}, b""),
        ({"alg": "HS256"}, b"null"),
        ({"alg": "HS256"}, [CLAIMS]),
        ({"alg": "HS256"}, b'{"sub":"alice","sub":"bob","room":"x","role":"own","exp":1900000000}'),
        ({"alg": "HS256"}, b'{"sub":"alice","room":"a","room":"b","role":"own","exp":1900000000}'),
        ({"alg": "HS256"}, b'{"sub":"a","room":"x","role":"own","exp":1900000000,"x":{"y":1,"y":2}}'),
        ({"alg": "HS256"}, b'{"sub":"alice","room":"x","role":"own","exp":Infinity}'),
        ({"alg": "HS256"}, b'{"sub":"alice","room":"x","role":"own","exp":NaN}'),
        ({"alg": "HS256"}, json.dumps(CLAIMS).encode("utf-16")),
    ],
)
def test_malformed_or_ambiguous_json_is_refused_though_signed(header: object, payload: object) -> None:
    with pytest.raises(Unauthenticated, match="malformed token"):
        check(forge(header, payload))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"exp": str(NOW + 60)},
        {"exp": True},
        {"exp": []},
        {"exp": NOW - 10},
        {"nbf": NOW + 11},
        {"nbf": "0"},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 257},
        {"sub": "a\x00b"},
        {"sub": "a\nb"},
        {"sub": "\ud800"},
        {"name": ""},
        {"name": 7},
        {"room": None},
        {"room": ""},
        {"room": []},
        {"room": [""]},
        {"room": [["x"]]},
        {"room": {"x": 1}},
        {"room": 7},
        {"room": ["x"] * 101},
        {"room": "x" * 1025},
        {"room": "a\x00"},
        {"role": None},
        {"role": "none"},
        {"role": "WRITE"},
        {"role": ["own"]},
        {"role": 3},
        {"aud": "somebody-else"},
        {"aud": ["somebody-else"]},
        {"aud": 7},
    ],
)
def test_claims_that_do_not_hold_are_refused_though_signed(changes: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        check(hs256(**changes))


def test_an_exponent_beyond_all_floats_is_not_forever() -> None:
    payload = json.dumps(CLAIMS | {"exp": 0}).replace('"exp": 0', '"exp": 1e999').encode()
    with pytest.raises(Unauthenticated, match="wrong exp"):
        check(forge({"alg": "HS256"}, payload))


def test_time_is_tolerant_by_the_leeway_and_no_more() -> None:
    token = hs256(exp=NOW, nbf=NOW)
    assert check(token, now=NOW + 9.9).expires_at == NOW
    assert check(token, now=NOW - 10).expires_at == NOW
    with pytest.raises(TokenExpired):
        check(token, now=NOW + 10)
    with pytest.raises(Unauthenticated, match="not valid yet"):
        check(token, now=NOW - 10.1)


def test_only_a_token_that_was_good_counts_as_expired() -> None:
    with pytest.raises(Unauthenticated) as caught:
        check(forge({"alg": "HS256"}, CLAIMS | {"exp": NOW - 60}, secret=b"y" * 32))
    assert not isinstance(caught.value, TokenExpired)
    with pytest.raises(Unauthenticated) as caught:
        check(hs256(exp=NOW - 60, iss="other"), issuer="app")
    assert not isinstance(caught.value, TokenExpired)


@pytest.mark.parametrize("aud", [None, "other", ["other"], [], "", ["syncd2"], "Syncd", {"syncd": 1}])
def test_a_token_for_another_audience_is_refused(aud: object) -> None:
    assert check(hs256(aud=["other", "syncd"]), audience="syncd").subject == "alice"
    with pytest.raises(Unauthenticated, match="another audience"):
        check(hs256(aud=aud), audience="syncd")


@pytest.mark.parametrize("iss", [None, "", "app2", ["app"]])
def test_a_token_of_another_issuer_is_refused(iss: object) -> None:
    assert check(hs256(iss="app"), issuer="app").subject == "alice"
    with pytest.raises(Unauthenticated, match="another issuer"):
        check(hs256(iss=iss), issuer="app")


def test_a_huge_token_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr("auth.tokens._signed_payload", fail)
    with pytest.raises(Unauthenticated, match="too long"):
        check("a" * (MAX_TOKEN + 1))
    with pytest.raises(Unauthenticated, match="too long"):
        check("a" * 1_000_000)


def test_one_changed_character_anywhere_is_noticed() -> None:
    token = hs256()
    for index, old in enumerate(token):
        if index == len(token) - 1:
            continue  # the last character of 43 carries two bits that belong to no byte
        new = "A" if old != "A" else "B"
        with pytest.raises(Unauthenticated):
            check(token[:index] + new + token[index + 1 :])


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
@example("")
@example(".")
@example("..")
@example("....")
@example("e30.e30.")
@example("\ud800.\ud800.\ud800")
def test_any_text_is_refused_with_our_own_error(text: str) -> None:
    with pytest.raises(Unauthenticated):
        check(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    ),
    st.sampled_from(["sub", "name", "room", "role", "exp", "nbf", "aud", "iss"]),
)
def test_any_signed_claim_is_believed_or_refused_but_never_breaks(value: object, name: str) -> None:
    try:
        claims = check(forge({"alg": "HS256"}, CLAIMS | {name: value}))
    except Unauthenticated:
        return
    assert claims.subject
    assert claims.rooms
    assert claims.expires_at > NOW - 10


@pytest.mark.parametrize(
    "make",
    [
        lambda: secret_key("short"),
        lambda: secret_key(RSA_PUBLIC),
        lambda: public_key(RSA_PRIVATE),
        lambda: public_key("not a key"),
        lambda: public_key(SECRET),
        lambda: private_key(RSA_PUBLIC),
        lambda: private_key("not a key"),
        lambda: public_key(_pem(ec.generate_private_key(ec.SECP384R1()))[1]),
        lambda: public_key(_pem(rsa.generate_private_key(public_exponent=65537, key_size=1024))[1]),
    ],
)
def test_a_key_that_would_not_protect_is_refused(make: Any) -> None:
    with pytest.raises(KeyUnusable):
        make()


def test_a_key_does_not_show_itself() -> None:
    assert SECRET not in repr(KEY)
