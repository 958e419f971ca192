"""Settings that the environment has no say in, and the ledger that no simulator may touch."""

import pytest

from gateway.commands.demo import demo_settings
from gateway.errors import BadSetting
from gateway.settings import Settings, read_settings

KEEPA = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path


def test_the_demo_has_its_own_settings_whatever_is_set(monkeypatch, empty_folder):
    """Nonsense in every variable and in `.env` changes nothing; PORT is heard."""
    before = demo_settings(KEEPA)
    names = [name.upper() for name in Settings.model_fields if name != "port"]
    (empty_folder / ".env").write_text("".join(f"{name}=of-the-file\n" for name in names))
    for name in names:
        monkeypatch.setenv(name, "of-the-environment")
    assert demo_settings(KEEPA) == before
    assert before.port == 0
    monkeypatch.setenv("PORT", "8123")
    assert demo_settings(KEEPA) == before.model_copy(update={"port": 8123})
    monkeypatch.setenv("PORT", "eighty")
    with pytest.raises(BadSetting, match="PORT=eighty"):
        demo_settings(KEEPA)


def test_a_simulator_never_writes_the_ledger_of_a_real_key(monkeypatch):
    """With the built-in simulator the key says nothing about the account; ACCOUNT still does."""
    monkeypatch.setenv("KEEPA_API_KEY", "k" * 64)
    monkeypatch.setenv("KEEPA_BASE_URL", "simulator")
    assert read_settings().account_name == "simulator"
    monkeypatch.setenv("ACCOUNT", "shop-1")
    assert read_settings().account_name == "shop-1"
