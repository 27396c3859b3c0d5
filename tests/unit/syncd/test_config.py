"""`syncd.config`: where a setting comes from, what is refused, and that no secret is ever shown."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from syncd import config
from syncd.config import ConfigError, Settings, load, unknown_variables

SECRET = "a-secret-of-more-than-thirty-two-bytes"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SYNCD_")]:
        monkeypatch.delenv(name)


def test_defaults_are_those_of_the_documentation() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.store) == ("127.0.0.1", 8000, "sqlite:///syncd.db")
    assert (settings.prefix, settings.auth) == ("/ws/", "open")
    assert settings.max_message == settings.max_update == 16 * 1024 * 1024


def test_constructing_settings_does_not_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCD_PORT", "9")
    assert Settings().port == 8000
    assert load().port == 9


def test_arguments_win_over_environment_over_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "syncd.toml"
    file.write_text('port = 1\nhost = "127.0.0.2"\nprefix = "/rooms/"\n')
    monkeypatch.setenv("SYNCD_CONFIG", str(file))
    monkeypatch.setenv("SYNCD_PORT", "2")
    monkeypatch.setenv("SYNCD_HOST", "127.0.0.3")
    settings = load(host="127.0.0.4", port=None)
    assert (settings.host, settings.port, settings.prefix) == ("127.0.0.4", 2, "/rooms/")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("64KiB", 65536), ("64 kib", 65536), ("1.5MiB", 1572864), ("2g", 2 * 1024**3), ("500kB", 500_000)],
)
def test_sizes_may_have_units(text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCD_CHUNK_BYTES", text)
    assert load().chunk_bytes == size


def test_max_update_follows_max_message_unless_set() -> None:
    assert load(max_message="1MiB").max_update == 1024 * 1024
    assert load(max_message="1MiB", max_update=5).max_update == 5


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCD_ALLOWED_ORIGINS", "https://a.example, http://b.example:8080,")
    assert load().allowed_origins == ("https://a.example", "http://b.example:8080")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"port": 70000}, "port"),
        ({"max_message": "a lot"}, "max_message"),
        ({"max_message": 0}, "max_message"),
        ({"prefix": "ws"}, "prefix"),
        ({"prefix": "/a//b/"}, "prefix"),
        ({"prefix": "/a%2F/"}, "prefix"),
        ({"allowed_origins": "app.example"}, "allowed_origins"),
        ({"allowed_origins": "https://app.example/path"}, "allowed_origins"),
        ({"outbox_low": 10, "outbox_high": 10}, "outbox_low"),
        ({"flush_min_ms": 20, "flush_max_ms": 10}, "flush_min_ms"),
        ({"max_message": 10, "max_update": 11}, "max_update"),
        ({"keepalive": "inf"}, "keepalive"),
        ({"auth": "own"}, "auth"),
        ({"no_such_thing": 1}, "no_such_thing: is not a setting"),
    ],
)
def test_a_wrong_value_is_refused_by_name(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load(**arguments)


def test_a_refusal_is_one_line_and_repeats_no_value() -> None:
    with pytest.raises(ConfigError) as caught:
        load(auth="external", jwt_secret="too-short-to-use", port="hunter2")
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        load(auth="external", jwt_secret="too-short-to-use")
    assert "too-short-to-use" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_open_access_may_listen_on_this_machine(host: str) -> None:
    assert Settings(host=host).auth == "open"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "syncd.example"])
def test_open_access_to_the_network_must_be_asked_for(host: str) -> None:
    with pytest.raises(ConfigError, match="--allow-open-network"):
        load(host=host)
    assert load(host=host, allow_open_network=True).host == host
    assert load(host=host, auth="external", jwt_secret=SECRET).host == host


@pytest.mark.parametrize(
    "arguments",
    [
        {"auth": "external"},
        {"auth": "external", "jwt_secret": SECRET, "jwt_public_key": "key.pem"},
        {"auth": "external", "jwt_secret": "x" * 31},
        {"auth": "open", "jwt_secret": SECRET},
    ],
)
def test_access_settings_that_contradict_each_other_are_refused(arguments: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="jwt_secret"):
        load(**arguments)


def test_shown_settings_hide_the_secret() -> None:
    settings = Settings(auth="external", jwt_secret=SecretStr(SECRET))
    shown = settings.shown()
    assert shown["jwt_secret"] == "***"
    assert SECRET not in repr(settings) + str(settings) + repr(shown)
    assert shown.keys() == Settings.model_fields.keys()


def test_a_file_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "syncd.toml"
    file.write_text("prot = 1\n")
    with pytest.raises(ConfigError, match="prot: is not a setting"):
        load(file)


@pytest.mark.parametrize("content", ["port = ", "[", "\xff"])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "syncd.toml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=str(file)):
        load(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "absent.toml")


def test_variables_that_name_no_setting_are_found() -> None:
    environment = {"SYNCD_PORT": "1", "SYNCD_CONFIG": "x", "SYNCD_PROT": "1", "PATH": "/bin"}
    assert unknown_variables(environment) == ["SYNCD_PROT"]


def test_every_setting_says_what_it_does() -> None:
    assert [name for name, field in config.Settings.model_fields.items() if not field.description] == []
