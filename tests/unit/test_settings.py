"""The settings: where they come from, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main
from pydantic import SecretStr

from monitor.cli import app
from monitor.pipeline.push.keys import generate
from monitor.settings import CLIENT_VARIABLES, PREFIX, Settings, SettingsError, is_secret, load, reference
from monitor.settings_page import reference_page

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"
TOKEN = "a-token-of-these-tests"
SECRET = "a-secret-of-these-tests-that-is-long-enough"


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run in an empty directory, with none of our variables."""
    for name in (*CLIENT_VARIABLES, *(name for name, _, _ in reference())):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
    monkeypatch.chdir(tmp_path)


def set_all(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(PREFIX + name.upper(), value)


def refusal(monkeypatch: pytest.MonkeyPatch, **values: str) -> str:
    set_all(monkeypatch, **values)
    with pytest.raises(SettingsError) as caught:
        load()
    return str(caught.value)


def test_nothing_has_to_be_set() -> None:
    settings = load()
    assert (settings.host, settings.port, settings.platform) == ("127.0.0.1", 8080, "embedded")
    assert settings.on_loopback
    assert settings.embedded
    assert settings.api_tokens == ()


def test_the_defaults_are_those_of_the_contract() -> None:
    defaults = {name.removeprefix(PREFIX): default for name, default, _ in reference()}
    expected = {
        "HOST": "127.0.0.1",
        "PORT": "8080",
        "DATABASE_URL": "sqlite:///./booking-monitor.db",
        "PLATFORM": "embedded",
        "GRACE_CHAT_ROOM": "5",
        "GRACE_NOTIFICATION": "10",
        "GRACE_REALTIME": "10",
        "RESPONSE_DEADLINE": "300",
        "CHAT_ROOM_LIFETIME": "1500",
        "CANARY_INTERVAL": "60",
    }
    assert {name: defaults[name] for name in expected} == expected


def test_the_environment_wins_over_the_file_env(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("BOOKING_MONITOR_PORT=8081\nBOOKING_MONITOR_LOG_LEVEL=error\nOTHER=1\n", encoding="utf-8")
    set_all(monkeypatch, port="8082")
    settings = load()
    assert (settings.port, settings.log_level) == (8082, "error")


def test_a_secret_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("secret").write_text(f"{SECRET}\n", encoding="utf-8")
    Path("tokens").write_text(f"{TOKEN}, {TOKEN}-2\n", encoding="utf-8")
    Path(".env").write_text("BOOKING_MONITOR_API_TOKENS_FILE=tokens\n", encoding="utf-8")
    set_all(monkeypatch, provider_token_secret_file="secret")
    settings = load()
    assert settings.provider_token_secret == SecretStr(SECRET)
    assert [token.get_secret_value() for token in settings.api_tokens] == [TOKEN, f"{TOKEN}-2"]


def test_a_variable_wins_over_its_file_and_the_file_over_env(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("tokens").write_text(f"{TOKEN}-of-the-file", encoding="utf-8")
    Path(".env").write_text(f"BOOKING_MONITOR_API_TOKENS={TOKEN}-of-env\n", encoding="utf-8")
    set_all(monkeypatch, api_tokens_file="tokens")
    assert load().api_tokens == (SecretStr(f"{TOKEN}-of-the-file"),)
    set_all(monkeypatch, api_tokens=TOKEN)
    assert load().api_tokens == (SecretStr(TOKEN),)


def test_a_file_that_cannot_be_read_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("binary").write_bytes(b"\xff\xfe\x00")
    for path in ("absent", ".", "binary"):
        message = refusal(monkeypatch, api_tokens_file=path)
        assert message.startswith(f"BOOKING_MONITOR_API_TOKENS_FILE: cannot read {path}: ")


def test_every_line_of_the_file_env_that_cannot_be_read_is_named_and_not_shown() -> None:
    Path(".env").write_text(
        'A=1\n\n\nAPI TOKENS=hunter2\n# a comment\nexport B="two\nlines"\n\nC="hunter2\nD\n', encoding="utf-8"
    )
    with pytest.raises(SettingsError) as caught:
        load()
    assert str(caught.value).splitlines() == [f".env, line {line}: is not NAME=value" for line in (4, 9)]


def test_a_name_that_is_no_setting_is_refused_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("BOOKING_MONITOR_PROT=1\n", encoding="utf-8")
    set_all(monkeypatch, hosts="x", port_file="x")
    monkeypatch.setenv("booking_monitor_grace", "5")
    assert refusal(monkeypatch).splitlines() == [
        f"{PREFIX}{name}: there is no such setting" for name in ("GRACE", "HOSTS", "PORT_FILE", "PROT")
    ]


def test_the_variables_of_the_commands_that_call_an_instance_are_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    names: set[str] = set()
    for command in typer.main.get_group(app).commands.values():
        for parameter in command.params:
            names |= {parameter.envvar} if isinstance(parameter.envvar, str) else set(parameter.envvar or ())
    assert names == set(CLIENT_VARIABLES)
    for name in names:
        monkeypatch.setenv(name, "x")
    load()


BAD = [
    ("port", "http", "a valid integer"),
    ("port", "65536", "less than or equal to 65535"),
    ("port", "-1", "greater than or equal to 0"),
    ("host", "", "at least 1 character"),
    ("platform", "parse", "'embedded'"),
    ("environment", "two words", "match pattern"),
    ("grace_realtime", "0", "greater than 0"),
    ("grace_realtime", "nan", ""),
    ("grace_realtime", "inf", "less than or equal to 31622400"),
    ("canary_interval", "-1", "greater than or equal to 0"),
    ("retention_counts", "3600", "greater than or equal to 262800"),
    ("log_level", "loud", "'debug', 'info', 'warning' or 'error'"),
    ("default_currency", "XXX", "ISO 4217"),
    ("legacy_timezone", "Mars/Olympus", "IANA database, as Asia/Jakarta"),
    ("legacy_timezone", "../../etc/passwd", "IANA database, as Asia/Jakarta"),
    ("legacy_timezone", "Asia", "IANA database, as Asia/Jakarta"),
    ("legacy_timezone", "x" * 300, "IANA database, as Asia/Jakarta"),
    ("vapid_subject", "me", "match pattern"),
    ("public_url", "http://", "is a URL with a host"),
    ("grafana_url", "https://grafana:99999", "is a URL with a host"),
    ("alertmanager_url", "http://alert manager", "is a URL with a host"),
    ("writer_group_limit", "0", "greater than or equal to 1"),
]
BROKEN_PEM = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----"
BAD_SECRETS = [
    ("database_url", "mysql://u:hunter2@h/d", "starts with sqlite:/// or postgresql://"),
    ("database_url", "sqlite:///:memory:", "names a file after sqlite:///"),
    ("database_url", "sqlite:///", "names a file after sqlite:///"),
    ("database_url", "sqlite:///hunter2.db?mode=ro", "names a file after sqlite:///, and nothing else"),
    ("database_url", "sqlite:///hunter2\udcff.db", "is made of printable characters"),
    ("database_url", "postgresql://u:hunter2@h:/d", "Port"),
    ("database_url", "postgresql://u:hunter2@h:port/d", "Port"),
    ("webhook_url", "hunter2", "is a URL with a host"),
    ("heartbeat_url", "ftp://hunter2", "is a URL with a host"),
    ("api_tokens", "hunter2", "each token has at least 16 characters"),
    ("api_tokens", "sha256:hunter2", "followed by 64 lower-case hexadecimal digits"),
    ("provider_token_secret", "hunter2", "at least 32 characters"),
    ("vapid_private_key", "hunter2", "a private key on the curve P-256"),
    ("vapid_private_key", BROKEN_PEM, "a private key on the curve P-256"),
    ("vapid_private_key", "", "a private key on the curve P-256"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), BAD)
def test_a_bad_value_is_refused_with_its_setting_what_was_given_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    (line,) = refusal(monkeypatch, **{name: value}).splitlines()
    assert line.startswith(f"{PREFIX}{name.upper()}: ")
    assert allowed in line
    assert line.endswith(f"; given {value!r}")


@pytest.mark.parametrize(("name", "value", "allowed"), BAD_SECRETS)
def test_a_bad_secret_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    (line,) = refusal(monkeypatch, **{name: value}).splitlines()
    assert line.startswith(f"{PREFIX}{name.upper()}: ")
    assert allowed in line
    assert line.endswith("; given (hidden)")
    assert "hunter2" not in line


def test_a_bad_push_host_is_refused_before_the_service_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    line = refusal(monkeypatch, push_allowed_hosts="push.example,https://push.example/")
    assert line.startswith(f"{PREFIX}PUSH_ALLOWED_HOSTS: 'https://push.example/': allowed is host, *.host or host:port")


def test_a_key_that_was_made_for_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, vapid_private_key=generate(), push_allowed_hosts="push.example,*.push.example")
    assert load().push_allowed_hosts == ("push.example", "*.push.example")


def test_all_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = refusal(monkeypatch, port="x", grace_chat_room="-1", api_tokens="short", nonsense="1").splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == [
        f"{PREFIX}{name}" for name in ("API_TOKENS", "GRACE_CHAT_ROOM", "NONSENSE", "PORT")
    ]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "booking.example"])  # noqa: S104 - nothing is bound
def test_the_service_is_not_offered_to_others_without_tokens(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    assert f"{PREFIX}API_TOKENS" in refusal(monkeypatch, host=host)
    assert f"{PREFIX}PROVIDER_TOKEN_SECRET" in refusal(monkeypatch, api_tokens=TOKEN)
    set_all(monkeypatch, provider_token_secret=SECRET)
    assert load().host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_on_loopback_no_tokens_are_needed(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    set_all(monkeypatch, host=host)
    assert load().on_loopback


def test_a_token_may_be_given_by_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = "sha256:" + "0a" * 32
    set_all(monkeypatch, api_tokens=f" {digest} ,, {TOKEN} ")
    assert [token.get_secret_value() for token in load().api_tokens] == [digest, TOKEN]


def test_replicas_are_joined_only_over_a_store_that_they_can_share(monkeypatch: pytest.MonkeyPatch) -> None:
    message = refusal(monkeypatch, nats_url="nats://127.0.0.1:4222")
    assert f"{PREFIX}NATS_URL" in message
    assert f"{PREFIX}DATABASE_URL" in message
    set_all(monkeypatch, database_url="postgresql://u:p@127.0.0.1/d")
    assert not load().embedded


def test_settings_never_tell_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(
        monkeypatch,
        database_url="postgresql://u:hunter2@127.0.0.1/d",
        api_tokens=f"{TOKEN}-hunter2",
        provider_token_secret=f"{SECRET}-hunter2",
    )
    assert "hunter2" not in repr(load())
    assert "hunter2" not in str(load())


def test_what_has_a_secret_in_its_name_is_a_secret() -> None:
    for name in Settings.model_fields:
        if re.search(r"(secret|api_tokens|private_key|api_key|routing_key|database_url|nats_url|webhook_url)$", name):
            assert is_secret(name), name


def test_every_setting_is_explained() -> None:
    for name, _, meaning in reference():
        assert meaning.endswith("."), name
        assert len(meaning) > 15, name


def test_every_length_of_time_says_its_unit() -> None:
    for name, field in Settings.model_fields.items():
        if field.annotation is float:
            assert re.match(r"Seconds ", field.description or ""), name


def test_the_reference_in_the_docs_is_that_of_the_code() -> None:
    assert DOCS.read_text(encoding="utf-8") == reference_page(), "make it anew: `make generated`"


def test_a_secret_file_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOKING_MONITOR_API_TOKENS_FILE", "/dev/zero")
    with pytest.raises(SettingsError, match="BOOKING_MONITOR_API_TOKENS_FILE: cannot read /dev/zero: it has more than"):
        load()


@pytest.mark.parametrize("tokens", [",", " , ,"])
def test_a_list_of_tokens_that_names_none_is_refused(monkeypatch: pytest.MonkeyPatch, tokens: str) -> None:
    monkeypatch.setenv("BOOKING_MONITOR_API_TOKENS", tokens)
    with pytest.raises(SettingsError, match="names nothing"):
        load()
