"""Variables that look like settings and are none."""

import re

import pytest

from gateway.settings import describe_misspelt
from gateway.settings.misspelt import find_misspelt

SLIPS = {
    "MIN_BALANCE_TRESHOLD": "MIN_BALANCE_THRESHOLD", "min_balance_treshold":
    "MIN_BALANCE_THRESHOLD",
    "KEEPA_KEY": "KEEPA_API_KEY", "KEEPA_APIKEY": "KEEPA_API_KEY", "KEEPA_URL": "KEEPA_BASE_URL",
    "REDIS_URI": "REDIS_URL", "SERVICE_KEY": "SERVICE_KEYS", "SERVICE_POLICY": "SERVICE_POLICIES",
    "MAX_CONCURENCY": "MAX_CONCURRENCY", "MAX_WAIT": "MAX_WAIT_SECONDS",
    "UPSTREAM_TIMEOUT": "UPSTREAM_TIMEOUT_SECONDS", "UPSTREAM_TIMEOUT_MS":
    "UPSTREAM_TIMEOUT_SECONDS", "ADMIN_TOKENS": "ADMIN_TOKEN", "LOGLEVEL": "LOG_LEVEL",
    "KEEPA_GATEWAY_MIN_BALANCE_THRESHOLD": "MIN_BALANCE_THRESHOLD", "ENFORCED": "ENFORCE",
}  # fmt: skip
# What shells, systemd, Docker, Kubernetes, Heroku, CI and other programs of a house set.
COMMON = re.findall(
    r"\w+",
    """
PATH HOME HOSTNAME HOSTTYPE LOGNAME SHELL TERM USER LANG LC_ALL LS_COLORS PWD OLDPWD EDITOR DISPLAY
XDG_SESSION_TYPE XDG_RUNTIME_DIR SSH_AUTH_SOCK INVOCATION_ID JOURNAL_STREAM LISTEN_FDS NOTIFY_SOCKET
MANAGERPID SYSTEMD_EXEC_PID KUBERNETES_SERVICE_HOST KUBERNETES_PORT KUBERNETES_PORT_443_TCP
KEEPA_GATEWAY_SERVICE_HOST KEEPA_GATEWAY_SERVICE_PORT_HTTP KEEPA_GATEWAY_PORT
KEEPA_GATEWAY_PORT_8080_TCP_ADDR KEEPA_API_PORT KEEPA_API_SERVICE_HOST REDIS_SERVICE_HOST
REDIS_SERVICE_PORT REDIS_PORT REDIS_PORT_6379_TCP REDIS_PORT_6379_TCP_ADDR POD_NAME POD_IP
REDIS_HOST REDIS_USER REDIS_PASSWORD REDIS_DB REDIS_TLS_URL REDISCLOUD_URL DATABASE_URL RABBITMQ_URL
AWS_REGION AWS_ACCESS_KEY_ID GITHUB_TOKEN SENTRY_DSN OTEL_SERVICE_NAME OTEL_EXPORTER_OTLP_ENDPOINT
HTTPS_PROXY NO_PROXY PYTHONPATH VIRTUAL_ENV PORTS HTTP_PORT WEB_CONCURRENCY MAX_CONNECTIONS
MAX_WORKERS MAX_RETRIES TIMEOUT_SECONDS API_KEY BASE_URL ACCOUNT_ID ACCOUNT_NAME ACCESS_TOKEN
AUTH_TOKEN ADMIN_PASSWORD ADMIN_EMAIL SERVICE_NAME SERVICE_URL LOG_FILE LOG_DIR LOG_PATH HOST_IP
KEEPA_DOMAIN KEEPA_TOKEN KEEPA_WAIT KEEPA_SERVICE_NAME KEEPA_SERVICE_KEY
    KEEPA_MAX_WAIT_SECONDS WEBHOOK_SECRET DEFAULT_TIMEOUT ALERT_EMAIL ENVIRONMENT
""",
)


@pytest.mark.parametrize(("name", "meant"), SLIPS.items())
def test_a_slip_is_found_with_the_setting_that_is_meant(name, meant):
    """A letter too many or too few, a unit left out, another word for it."""
    assert find_misspelt([name, "PATH", meant]) == [(name.upper(), meant)]


def test_nobody_elses_variable_is_told():
    """What is near to a setting by chance, or is made up by an orchestrator, is left alone."""
    assert find_misspelt(COMMON) == []


def test_environment_and_file_are_looked_at(monkeypatch, tmp_path):
    """A line for each, of `.env` too, whatever its value is; a missing file has none."""
    monkeypatch.setenv("MIN_BALANCE_TRESHOLD", "hunter2")
    file = tmp_path / ".env"
    assert describe_misspelt(file) == [
        "MIN_BALANCE_TRESHOLD is no setting; did you mean MIN_BALANCE_THRESHOLD?"
    ]
    file.write_text("SAFTY_BUFFER=hunter2\nUNRELATED=1\nPORT=1\nMIN_BALANCE_TRESHOLD=5\n")
    assert describe_misspelt(file) == [
        "MIN_BALANCE_TRESHOLD is no setting; did you mean MIN_BALANCE_THRESHOLD?",
        "SAFTY_BUFFER is no setting; did you mean SAFETY_BUFFER?",
    ]


def test_of_many_the_first_are_told(tmp_path):
    """A file of a hundred slips makes no hundred lines."""
    file = tmp_path / "settings.env"
    file.write_text("".join(f"KEEPA_API_KEY{n}=x\n" for n in range(10, 110)))
    lines = describe_misspelt(file)
    assert len(lines) == 6
    assert lines[-1] == "so are 95 more"
