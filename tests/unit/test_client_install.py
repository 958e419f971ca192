"""Routing the stock `keepa` package to a gateway: what is replaced, put back and refused."""

import inspect
import json
import subprocess
import sys

import aiohttp
import keepa
import keepa.keepa_async
import keepa.keepa_sync
import pytest
import requests
from support import ROOT

import keepa_gateway_client as client
from gateway import client as old_name
from keepa_gateway_client.stock import WAYS

URL = "http://gateway:8080"


def parts():
    """All of keepa that an installation may touch."""
    return (
        keepa.keepa_sync.requests,
        keepa.keepa_async.aiohttp,
        keepa.Keepa._request,
        keepa.AsyncKeepa._request,
    )


STOCK = parts()
SOURCES = {name: inspect.getsource(sys.modules[name]) for name in WAYS}


@pytest.fixture(autouse=True)
def _put_back(monkeypatch):
    for name in (
        "KEEPA_BASE_URL", "KEEPA_SERVICE_NAME", "KEEPA_SERVICE_KEY", "KEEPA_WAIT",
        "KEEPA_MAX_WAIT_SECONDS", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    yield
    client.uninstall()
    assert parts() == STOCK


def test_import_needs_the_standard_library_only():
    """A bare interpreter, without any package, imports the client and nothing but Python's own."""
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import keepa_gateway_client\n"
        "print(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, ROOT / "client"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert loaded - sys.stdlib_module_names - {"__main__"} == {"keepa_gateway_client"}


def test_the_first_name_goes_on_to_work():
    """`gateway.client` is the same code under the name that it had first."""
    assert old_name.__all__ == client.__all__
    assert all(getattr(old_name, name) is getattr(client, name) for name in client.__all__)


def test_install_and_uninstall():
    """Four names change, and come back."""
    installation = client.install(URL)
    assert installation.base_url == URL
    assert all(part is not stock for part, stock in zip(parts(), STOCK, strict=True))
    client.uninstall()
    assert parts() == STOCK
    client.uninstall()


def test_installing_twice_is_harmless():
    """The last arguments count, and one uninstall undoes both."""
    client.install(URL)
    client.install("http://other:1")
    client.uninstall()
    assert parts() == STOCK


def test_end_of_the_block_brings_back_what_was_before(monkeypatch):
    """After an inner block calls go where they went outside; after the outer one, to Keepa."""
    asked = []

    def get(url, *_, **__):
        asked.append(url)
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "get", get)

    def call():
        with pytest.raises(requests.ConnectionError):
            keepa.Keepa("k").update_status()

    with client.install("http://outer:1"):
        with client.install("http://inner:1/path/"):
            call()
        call()
    assert asked == ["http://inner:1/path/token/?", "http://outer:1/token/?"]
    assert parts() == STOCK


def test_nothing_else_is_redirected(monkeypatch):
    """A call that is not for Keepa goes where it would have gone, as it is."""
    monkeypatch.setattr(requests, "get", lambda *given, **options: (given, options))
    with client.install(URL, prefer_wait_seconds=5, ca_file=None):
        for address in ("https://example.com/", "https://api.keepa.com.example/token"):
            sent = keepa.keepa_sync.requests.get(address, {"a": 1}, timeout=3)
            assert sent == ((address, {"a": 1}), {"timeout": 3})


@pytest.mark.parametrize(("timeout", "longer"), [(10.0, 30.0), (0.0, 0.0)])
def test_wait_in_the_gateways_line(monkeypatch, timeout, longer):
    """Each call asks to wait there, and its time-out, where it has one, begins after the wait."""
    sent = {}

    def get(url, params, **options):
        sent.update(options, url=url, params=params)
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "get", get)
    with client.install(URL, prefer_wait_seconds=20), pytest.raises(requests.ConnectionError):
        keepa.Keepa("k", timeout=timeout).update_status()
    assert (sent["url"], sent["params"]) == (f"{URL}/token/?", {"key": "k"})
    assert (sent["headers"]["Prefer"], sent["timeout"]) == ("wait=20", longer)
    assert "gzip" in sent["headers"]["Accept-Encoding"]


class Asked(Exception):
    """What `requests.get` was asked."""

    def __init__(self, params, options):
        self.params, self.headers = params, options["headers"]


@pytest.fixture
def ask(monkeypatch):
    """Return what makes one call, and tells what it would have sent."""

    def get(_url, params, **options):
        raise Asked(params, options)

    def call():
        with pytest.raises(Asked) as asked:
            keepa.Keepa("key-of-the-program").update_status()
        return asked.value

    monkeypatch.setattr(requests, "get", get)
    return call


@pytest.mark.parametrize("where", ["arguments", "environment"])
def test_service_is_named_for_the_program(monkeypatch, ask, where):
    """A service's name and key, in headers, take the place of the key that the program has."""
    if where == "arguments":
        client.install(URL, service_name="shop-1", service_key="s3cret")
    else:
        monkeypatch.setenv("KEEPA_SERVICE_NAME", "shop-1")
        monkeypatch.setenv("KEEPA_SERVICE_KEY", " s3cret\n")
        client.install(URL)
    asked = ask()
    assert asked.headers.items() >= {"X-Service-Name": "shop-1", "X-Api-Key": "s3cret"}.items()
    assert "key" not in asked.params


def test_without_a_service_the_program_s_key_names_it(ask):
    """What nobody set is not sent."""
    client.install(URL)
    asked = ask()
    assert asked.params == {"key": "key-of-the-program"}
    assert not {"X-Service-Name", "X-Api-Key", "Prefer"} & set(asked.headers)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"KEEPA_SERVICE_NAME": "The Shop"}, "KEEPA_SERVICE_NAME=The Shop: it has to be"),
        ({"KEEPA_SERVICE_KEY": "s3cret\nX: y"}, "KEEPA_SERVICE_KEY has a character that no"),
        ({"KEEPA_WAIT": "perhaps"}, "KEEPA_WAIT=perhaps: it has to be true or false"),
        ({"KEEPA_MAX_WAIT_SECONDS": "long"}, "KEEPA_MAX_WAIT_SECONDS=long: it has to be a number"),
        ({"KEEPA_MAX_WAIT_SECONDS": "-1"}, "KEEPA_MAX_WAIT_SECONDS=-1: it has to be a number"),
    ],
)
def test_bad_values(monkeypatch, changes, told):
    """What cannot be meant is told in one sentence, without a secret, and nothing is replaced."""
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(client.NotRouted, match=f"^{told}") as raised:
        client.install(URL)
    assert "s3cret" not in str(raised.value)
    assert parts() == STOCK


def test_other_calls_are_not_possible():
    """What is not routed fails, instead of reaching Keepa."""
    with client.install(URL):
        for name in ("post", "request", "Session"):
            assert not hasattr(keepa.keepa_sync.requests, name)
        assert not hasattr(keepa.keepa_async.aiohttp, "request")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (None, "No gateway: set KEEPA_BASE_URL"),
        ("simulator", "has to be a gateway's URL"),
        ("gateway:8080", "has to be a gateway's URL"),
        ("http://", "has to be a gateway's URL"),
        ("http://gateway:port", "has to be a gateway's URL"),
        ("http://gateway/?key=1", "has to be a gateway's URL"),
        ("https://api.keepa.com", "Keepa's own address"),
    ],
)
def test_bad_url(url, told):
    """A URL that is not a gateway's is told in one sentence, and nothing is replaced."""
    with pytest.raises(client.NotRouted, match=told):
        client.install(url)
    assert parts() == STOCK


def test_url_of_the_environment(monkeypatch):
    """Without an argument `KEEPA_BASE_URL` says where the gateway is."""
    monkeypatch.setenv("KEEPA_BASE_URL", f"{URL}/")
    with client.install() as installation:
        assert installation.base_url == URL


@pytest.mark.parametrize("content", [None, "no certificate"])
@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", None])
def test_bad_certificates(monkeypatch, tmp_path, variable, content):
    """A file that has no certificates is told at once, by its name."""
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    if variable:
        monkeypatch.setenv(variable, str(path))
    with pytest.raises(client.NotRouted, match=str(path)):
        client.install(URL, ca_file=None if variable else path)
    assert parts() == STOCK


CHANGES = {
    "another verb": ("keepa.keepa_sync", "requests.get(", "requests.post("),
    "a session": ("keepa.keepa_sync", "requests.get(", "requests.Session().get("),
    "another library": ("keepa.keepa_sync", "requests.get(", "httpx.get("),
    "a constant": ("keepa.keepa_sync", 'f"https://api.keepa.com/{request_type}/?"', "URL"),
    "another host": ("keepa.keepa_sync", "https://api.keepa.com/{", "https://api2.keepa.com/{"),
    "another verb, async": ("keepa.keepa_async", "session.get(", "session.post("),
    "another library, async": ("keepa.keepa_async", "aiohttp.Client", "httpx.Client"),
    "more of aiohttp": ("keepa.keepa_async", "import aiohttp", "import aiohttp; aiohttp.request"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_keepa_that_looks_different(monkeypatch, change):
    """A keepa that makes its calls in another way is refused, by its version, and left alone."""
    name, old, new = CHANGES[change]
    assert old in SOURCES[name]
    sources = SOURCES | {name: SOURCES[name].replace(old, new)}
    monkeypatch.setattr(inspect, "getsource", lambda module: sources[module.__name__])
    with pytest.raises(client.NotRouted, match=f"^keepa {keepa.__version__} is not built as"):
        client.install(URL)
    assert parts() == STOCK


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [
        (keepa.keepa_sync, "requests", None),
        (keepa.keepa_async, "aiohttp", requests),
        (keepa.AsyncKeepa, "_request", lambda self, url: None),
    ],
)
def test_parts_that_are_not_the_stock_ones(monkeypatch, owner, name, value):
    """A part that somebody else has replaced is not replaced again."""
    with monkeypatch.context() as changes:
        changes.setattr(owner, name, value)
        with pytest.raises(client.NotRouted, match="is not built as keepa"):
            client.install(URL)
    assert parts() == STOCK


def test_missing_parts(monkeypatch):
    """A keepa without the class or the library is refused as well, and so is none at all."""
    with monkeypatch.context() as changes:
        changes.delattr(keepa.keepa_sync, "Keepa")
        with pytest.raises(client.NotRouted, match="is not built as keepa"):
            client.install(URL)
    monkeypatch.setitem(sys.modules, "keepa.keepa_async", None)
    with pytest.raises(client.NotRouted, match=f"^keepa {keepa.__version__} does not import"):
        client.install(URL)


def test_address_in_another_file(monkeypatch, tmp_path):
    """A keepa that names its address in a further file is refused."""
    (tmp_path / "http.py").write_text('URL = "https://api.keepa.com/"')
    monkeypatch.setattr(keepa.keepa_sync, "__file__", str(tmp_path / "keepa_sync.py"))
    # The source is found by that name as well.
    monkeypatch.setattr(inspect, "getsource", lambda module: SOURCES[module.__name__])
    with pytest.raises(client.NotRouted, match=r"http\.py names"):
        client.install(URL)


def test_stand_ins_belong_to_the_libraries():
    """keepa still finds what its annotations name."""
    with client.install(URL):
        assert keepa.keepa_sync.requests.Response is requests.Response
        assert keepa.keepa_async.aiohttp is not aiohttp
