"""Values as people paste them: what docker, Kubernetes and Windows editors leave around them."""

import os

import pytest

from gateway.commands.cli import main
from gateway.errors import BadSetting
from gateway.settings import Settings, read_settings

KEY = "realkey0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijk"
# White space of every kind, CR of Windows' editors, a no-break space, a zero-width one, a BOM.
MARGINS = ["\n", "\r\n", " ", "\t", "\r", "\xa0", "\u200b", "\ufeff", " \r\n\n"]
# The last two are curly ones, of a word processor.
QUOTES = ['"{}"', "'{}'", "`{}`", "\u201c{}\u201d", "\u2018{}\u2019"]
# Control characters, a zero-width space, a line's end of Unicode, a byte that is no UTF-8.
UNSEEN = ["\n", "\r", "\t", "\x00", "\x1b", "\x7f", "\u200b", "\u2028", "\udcff"]


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.lower() in Settings.model_fields:
            monkeypatch.delenv(name)
    monkeypatch.setenv("KEEPA_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)


def read(monkeypatch, **environment):
    # Not through the process' own environment, which takes no NUL.
    monkeypatch.setattr(os, "environ", {**os.environ, **environment})
    return read_settings()


def refused(monkeypatch, **environment):
    """Return the one line that a bad environment is told."""
    with pytest.raises(BadSetting) as caught:
        read(monkeypatch, **environment)
    line = str(caught.value)
    assert line.isprintable()
    assert KEY not in line
    return line


@pytest.mark.parametrize("margin", MARGINS, ids=ascii)
def test_white_space_around_a_secret_is_none_of_it(monkeypatch, margin):
    """White space at both ends is taken off: a Kubernetes secret often ends in a newline."""

    def around(text):
        return f"{margin}{text}{margin}"

    settings = read(
        monkeypatch,
        KEEPA_API_KEY=around(KEY),
        ADMIN_TOKEN=around("admin-token"),
        REDIS_URL=around("redis://:pass-of-redis@h/0"),
        ALERT_WEBHOOK_URL=around("https://alerts.example/hook"),
        SERVICE_KEYS=around(f"shop{margin}:{around('of-the-shop')},batch:{around('of-the-batch')}"),
    )
    assert settings.keepa_api_key.get_secret_value() == KEY
    assert settings.admin_token.get_secret_value() == "admin-token"
    assert settings.redis_url.get_secret_value() == "redis://:pass-of-redis@h/0"
    assert settings.alert_webhook_url.get_secret_value() == "https://alerts.example/hook"
    assert settings.service_secrets == {"shop": ("of-the-shop",), "batch": ("of-the-batch",)}


def test_the_account_does_not_depend_on_white_space(monkeypatch):
    """A gateway whose key ends in a newline shares the ledger of one whose key does not."""
    name = read_settings().account_name
    assert read(monkeypatch, KEEPA_API_KEY=f"{KEY}\n").account_name == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KEEPA_API_KEY", "hunter2{}hunter2"), ("ADMIN_TOKEN", "hunter2{}hunter2"),
        ("SERVICE_KEYS", "shop:hunter2{}hunter2"), ("REDIS_URL", "redis://:hunter2{}hunter2@h"),
        ("ALERT_WEBHOOK_URL", "https://h/hunter2{}hunter2"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("char", UNSEEN, ids=ascii)
def test_a_secret_with_a_character_that_nobody_sees_stops_the_start(monkeypatch, name, value, char):
    """Inside a secret such a character is no slip of the margin: one line, without the secret."""
    line = refused(monkeypatch, **{name: value.format(char)})
    assert line.startswith(f"{name}=***: allowed is ")
    assert "hunter2" not in line


@pytest.mark.parametrize("char", ["%0A", "%00", "%E2%80%8B"])
def test_a_password_in_a_url_is_a_secret_too(monkeypatch, char):
    """Percent-encoded at its ends it is taken off, inside it stops the start; quotes do too."""
    url = read(monkeypatch, REDIS_URL=f"redis://:hunter2{char}@h").redis_url
    assert "hunter2" not in str(url)
    for password in (f"hun{char}ter2", "%22hunter2%22", "'hunter2'"):
        line = refused(monkeypatch, REDIS_URL=f"redis://:{password}@h")
        assert line.startswith("REDIS_URL=***: allowed is as password, ")
        assert "ter2" not in line


@pytest.mark.parametrize("quotes", QUOTES)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KEEPA_API_KEY", "hunter2"), ("ADMIN_TOKEN", "hunter2hunter2"),
        ("SERVICE_KEYS", "shop:hunter2"), ("REDIS_URL", "redis://:hunter2@h"),
        ("ALERT_WEBHOOK_URL", "https://h/hunter2"), ("HOST", "127.0.0.1"), ("PORT", "8080"),
        ("KEEPA_BASE_URL", "https://api.keepa.com"), ("SERVICE_POLICIES", "{}"), ("ACCOUNT", "a"),
        ("ENDPOINT_COSTS", "{}"), ("ENFORCE", "false"), ("LOG_LEVEL", "INFO"),
    ],
)  # fmt: skip
def test_quotes_around_a_value_stop_the_start(monkeypatch, quotes, name, value):
    """`docker run --env-file` keeps them; one line says to leave them out."""
    line = refused(monkeypatch, **{name: quotes.format(value)})
    assert line.startswith(f"{name}=")
    assert line.endswith(": allowed is the same without the quotes around it")
    assert "hunter2" not in line


def test_quotes_around_one_secret_of_several_stop_the_start(monkeypatch):
    """The rule is each secret's, not only that of the whole variable."""
    line = refused(monkeypatch, SERVICE_KEYS="shop:of-the-shop,batch:'hunter2'")
    assert (
        line == "SERVICE_KEYS=***: allowed is of each secret, the same without the quotes around it"
    )


def test_a_quote_inside_or_at_one_end_may_be_the_secrets_own(monkeypatch):
    """A made-up password may have any printable characters."""
    for key in ('a"b', "'ab", 'ab"', "\"ab'", "p\xe4ss w\xf6rd", '"'):
        assert read(monkeypatch, KEEPA_API_KEY=key).keepa_api_key.get_secret_value() == key


@pytest.mark.parametrize(
    ("token", "is_long"), [("x" * 7, False), (" 1234567\n", False), ("x" * 8, True)]
)
def test_a_short_admin_token_stops_the_start(monkeypatch, token, is_long):
    """Eight characters at least, white space not counted; without one there is none."""
    if is_long:
        assert read(monkeypatch, ADMIN_TOKEN=token).admin_token.get_secret_value() == token
        return
    assert (
        refused(monkeypatch, ADMIN_TOKEN=token)
        == "ADMIN_TOKEN=***: allowed is 8 characters or more"
    )


@pytest.mark.parametrize("name", Settings.model_fields)
def test_blanks_alone_are_the_default(monkeypatch, name):
    """A variable with nothing but blanks in it is not set."""
    if name == "keepa_api_key":
        assert refused(monkeypatch, KEEPA_API_KEY=" \r\n").startswith("KEEPA_API_KEY is empty")
        return
    before = getattr(read_settings(), name)
    assert getattr(read(monkeypatch, **{name.upper(): " \r\n"}), name) == before


@pytest.mark.parametrize(
    ("name", "value", "read_as"),
    [("HOST", "127.0.0.2", "127.0.0.2"), ("PORT", "9001", 9001), ("ACCOUNT", "shop", "shop"),
     ("KEEPA_BASE_URL", "http://h/", "http://h"), ("LOG_LEVEL", "DEBUG", "DEBUG"),
     ("ENFORCE", "false", False), ("MAX_WAIT_SECONDS", "2.5", 2.5),
     ("OVERDRAFT", "when_full", "when_full"), ("ENDPOINT_COSTS", '{"deal": 7}', {"deal": 7})],
)  # fmt: skip
def test_a_windows_line_end_is_no_part_of_any_value(monkeypatch, name, value, read_as):
    """What holds for secrets holds for all."""
    assert getattr(read(monkeypatch, **{name: f" {value}\r"}), name.lower()) == read_as


@pytest.mark.parametrize(
    ("content", "port"),
    [
        (b"\xef\xbb\xbfPORT=9001\r\nADMIN_TOKEN=of-the-admin\r\n", 9001),
        (b"PORT=\"9001\"\nADMIN_TOKEN='of-the-admin'\n", 9001),
        (b"export PORT=9001 # for now\nADMIN_TOKEN = of-the-admin  \n", 9001),
    ],
    ids=["Windows", "quotes", "shell"],
)
def test_an_env_file_is_read_as_editors_write_it(tmp_path, content, port):
    """A byte order mark, CR, quotes, blanks and `export` are no part of names or values."""
    (tmp_path / ".env").write_bytes(content)
    settings = read_settings()
    assert (settings.port, settings.admin_token.get_secret_value()) == (port, "of-the-admin")


@pytest.mark.parametrize("command", ["serve", "check"])
def test_the_command_ends_with_one_line_and_2(monkeypatch, capsys, command):
    """No traceback: one line on standard error, without the secret."""
    monkeypatch.setenv("ADMIN_TOKEN", "hunter2\x1bhunter2")
    assert main([command]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("ADMIN_TOKEN=***: ")
    assert "hunter2" not in err
