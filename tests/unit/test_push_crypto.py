"""Keys, encryption and tokens of Web Push do what the RFCs and other people's libraries say."""

from __future__ import annotations

import base64
import os

import http_ece
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st
from py_vapid import Vapid02, jwt

from monitor.pipeline.push.encryption import MAX_PAYLOAD_BYTES, encrypt, encrypt_with
from monitor.pipeline.push.endpoints import InvalidSubscriptionError, PushSubscription, encode_base64url
from monitor.pipeline.push.keys import InvalidVapidKeyError, application_server_key, generate, load_private_key
from monitor.pipeline.push.vapid import MAX_CACHED_TOKENS, RENEW_BEFORE_SECONDS, TOKEN_LIFETIME_SECONDS, VapidSigner

NOW = 1_769_040_000
FCM = "https://fcm.googleapis.com"


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def subscriber() -> tuple[ec.EllipticCurvePrivateKey, bytes, PushSubscription]:
    key, auth = ec.generate_private_key(ec.SECP256R1()), os.urandom(16)
    return key, auth, PushSubscription("https://x.test/y", application_server_key(key), encode_base64url(auth))


BROWSER_KEY, BROWSER_AUTH, SUBSCRIPTION = subscriber()
KEY = load_private_key(generate())


def test_the_example_of_rfc_8291_comes_out_byte_for_byte() -> None:
    # RFC 8291, section 5 and appendix A
    subscription = PushSubscription(
        endpoint="https://x.test/y",
        p256dh="BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
        auth="BTBZMqHH6r4Tts7J_aSIgg",
    )
    sender = load_private_key("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw")
    body = encrypt_with(
        b"When I grow up, I want to be a watermelon", subscription, sender, unb64("DGv6ra1nlYgDCS1FRnbzlw")
    )
    assert encode_base64url(body) == (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3"
        "jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )


@given(st.binary(max_size=MAX_PAYLOAD_BYTES))
def test_what_is_encrypted_is_what_another_library_decrypts(payload: bytes) -> None:
    body = encrypt(payload, SUBSCRIPTION)
    assert http_ece.decrypt(body, private_key=BROWSER_KEY, auth_secret=BROWSER_AUTH) == payload


def test_no_two_messages_share_a_salt_or_a_key() -> None:
    headers = {encrypt(b"the same", SUBSCRIPTION)[:86] for _ in range(20)}
    assert len({header[:16] for header in headers}) == len({header[21:] for header in headers}) == 20


def test_another_browser_cannot_decrypt_it() -> None:
    stranger, auth, _ = subscriber()
    with pytest.raises(http_ece.ECEException):
        http_ece.decrypt(encrypt(b"secret", SUBSCRIPTION), private_key=stranger, auth_secret=auth)


def test_the_longest_payload_fits_the_body_that_every_push_service_takes() -> None:
    assert len(encrypt(bytes(MAX_PAYLOAD_BYTES), SUBSCRIPTION)) <= 4096


def test_a_longer_payload_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="payload: at most 3072 bytes"):
        encrypt(bytes(MAX_PAYLOAD_BYTES + 1), SUBSCRIPTION)


def test_keys_that_went_bad_are_named() -> None:
    with pytest.raises(InvalidSubscriptionError, match=r"keys\.p256dh"):
        encrypt(b"x", PushSubscription("https://x.test/y", SUBSCRIPTION.p256dh[:-4], SUBSCRIPTION.auth))


def test_a_generated_key_can_be_loaded() -> None:
    text = generate()
    assert len(unb64(text)) == 32
    assert load_private_key(text).curve.name == "secp256r1"


def test_all_forms_of_a_key_give_the_same_public_key() -> None:
    text = generate()
    key = load_private_key(text)
    vapid = Vapid02(key)
    der = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    forms = [text, text + "=", f" {text}\n", vapid.private_pem().decode(), encode_base64url(der)]
    assert {application_server_key(load_private_key(form)) for form in forms} == {application_server_key(key)}
    assert unb64(application_server_key(key)) == vapid.public_key.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, password: bytes | None = None) -> str:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hunter2-hunter2",
        "hunter2 hunter2",
        "A",
        encode_base64url(bytes(32)),
        encode_base64url(b"\xff" * 32),
        encode_base64url(bytes(31)),
        "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\u00e9",
        pem(ec.generate_private_key(ec.SECP384R1())),
        pem(ed25519.Ed25519PrivateKey.generate()),
        pem(ec.generate_private_key(ec.SECP256R1()), b"password"),
    ],
)
def test_a_bad_key_names_the_setting_and_never_the_value(text: str) -> None:
    with pytest.raises(InvalidVapidKeyError, match="VAPID_PRIVATE_KEY") as caught:
        load_private_key(text)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@given(st.text())
def test_no_text_makes_loading_a_key_fail_in_another_way(text: str) -> None:
    try:
        load_private_key(text)
    except InvalidVapidKeyError:
        return
    assert len(text.strip()) >= 43


@pytest.fixture
def signer() -> VapidSigner:
    return VapidSigner(load_private_key(generate()), "mailto:oncall@example.com")


def claims_of(header: str) -> dict[str, object]:
    assert Vapid02.verify(header.replace(", ", ","))
    parameters = dict(part.split("=", 1) for part in header.removeprefix("vapid ").split(", "))
    claims: dict[str, object] = jwt.decode(parameters["t"], parameters["k"])
    return claims


def test_another_library_accepts_the_token(signer: VapidSigner) -> None:
    assert claims_of(signer.sign(FCM, NOW + 60)) == {"aud": FCM, "exp": NOW + 60, "sub": "mailto:oncall@example.com"}


def test_a_token_is_signed_once_for_each_audience(signer: VapidSigner) -> None:
    first = signer.authorization(FCM, NOW)
    other = signer.authorization("https://web.push.apple.com", NOW)
    assert claims_of(first)["aud"] == FCM
    assert claims_of(other)["aud"] == "https://web.push.apple.com"
    assert signer.authorization(FCM, NOW + 3600) == first


@given(st.integers(0, 3 * TOKEN_LIFETIME_SECONDS))
def test_a_token_in_use_is_always_valid_for_a_while_and_never_for_more_than_a_day(later: int) -> None:
    signer = VapidSigner(KEY, "mailto:oncall@example.com")
    signer.authorization(FCM, NOW)
    expires_at = claims_of(signer.authorization(FCM, NOW + later))["exp"]
    assert isinstance(expires_at, int)
    assert RENEW_BEFORE_SECONDS < expires_at - (NOW + later) <= 24 * 3600


def test_a_token_signed_while_the_clock_was_ahead_is_not_used_when_it_is_right_again(signer: VapidSigner) -> None:
    signer.authorization(FCM, NOW + 30 * 86_400)
    assert claims_of(signer.authorization(FCM, NOW))["exp"] == NOW + TOKEN_LIFETIME_SECONDS


def test_tokens_for_many_audiences_do_not_pile_up(signer: VapidSigner) -> None:
    for number in range(MAX_CACHED_TOKENS + 5):
        signer.authorization(f"https://n{number}.notify.windows.com", NOW)
    assert len(signer._tokens) == MAX_CACHED_TOKENS
