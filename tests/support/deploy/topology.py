"""deploy/compose.yaml as plain processes: its commands and environments, on loopback."""

import asyncio
import re
from pathlib import Path
from typing import Any, Self

import pytest
import yaml
from dotenv import dotenv_values

from support import ROOT
from support.deploy.front import CADDY, OPENSSL, Front
from support.deploy.prometheus import PROMETHEUS, Prometheus
from support.gateways.processes import Gateway, Process, Simulator
from support.redis.server import REDIS_SERVER, RedisServer, free_port

DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SIMULATOR_ENV = dotenv_values(DEPLOY / "simulator.env")
GATEWAYS = ("gateway-1", "gateway-2")
RULES = (DEPLOY / "prometheus/alerts.yml").read_text(encoding="utf-8")

MISSING = "of redis-server, caddy, openssl and prometheus not all are installed"
needs_topology = pytest.mark.skipif(
    not (REDIS_SERVER and CADDY and OPENSSL and PROMETHEUS), reason=MISSING
)


def mounted(service: str) -> dict[str, Path]:
    """Return the files and folders of deploy/ that a service sees, by where it sees them."""
    volumes = [volume.rsplit(":", 2) for volume in SERVICES[service]["volumes"] if ":ro" in volume]
    return {inside: DEPLOY / _default(outside) for outside, inside, _ in volumes}


def _default(text: str) -> str:
    """Return a text with the defaults of its `${NAME:-default}`."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


class _Redis(RedisServer):
    """The server with the configuration that operators get, moved to loopback."""

    def arguments(self) -> list[str]:
        program, file = SERVICES["redis"]["command"]
        assert program == "redis-server"
        return [str(mounted("redis")[file]), *super().arguments()]


class _Simulator(Simulator):
    """The simulator as a service is started; what a test adds comes last."""

    def __init__(self, folder: Path, *words: str) -> None:
        Process.__init__(self, folder, *SERVICES["simulator"]["command"], *words)


class Topology:
    """All services but Grafana, for a key the simulator.

    Args:
        folder: For what they write.
        simulated: Options of the simulator beside those of its service.
        settings: Of both gateways, beside those of their services.
    """

    def __init__(self, folder: Path, simulated: dict[str, object], **settings: object) -> None:
        self._folder = folder
        self._simulated = simulated
        self._settings = settings
        self._ports = dict.fromkeys(GATEWAYS, 0)
        self._lives = 0
        self._ended: list[Any] = []
        self.gateways: dict[str, Gateway] = {}

    async def started(self) -> Self:
        """Start all, each after what it depends on."""
        folder = self._folder / "redis"
        folder.mkdir()
        self.redis = self._keep(_Redis(folder))
        options = [f"--{name}={value}" for name, value in self._simulated.items()]
        self.simulator = self._keep(
            _Simulator(self._folder / "simulator", "--host=127.0.0.1", "--port=0", *options)
        )
        await self.simulator.started()
        for name in GATEWAYS:
            self._ports[name] = free_port()
            self.gateways[name] = self._serve(name)
        for gateway in self.gateways.values():
            await (await gateway.started()).ready()
        targets = [gateway.url.removeprefix("http://") for gateway in self.gateways.values()]
        environment = SERVICES["front"]["environment"]
        assert environment["GATEWAYS"].split() == [f"{name}:8080" for name in GATEWAYS]
        self.front = self._keep(Front(self._folder / "front", targets))
        self.prometheus = self._keep(Prometheus(self._folder / "prometheus", targets, RULES))
        await asyncio.gather(self.front.started(), self.prometheus.started())
        return self

    async def restart(self, name: str) -> Gateway:
        """Restart a gateway as an upgrade does; return its new life, which is ready."""
        self.gateways[name].terminate()
        assert await self.gateways[name].ended(20) == 0
        self.gateways[name] = self._serve(name)
        return await (await self.gateways[name].started()).ready()

    def end_all(self) -> None:
        for process in reversed(self._ended):
            process.kill()

    def _serve(self, name: str) -> Gateway:
        service = SERVICES[name]
        assert service["command"] == ["serve"]
        self._lives += 1
        chosen = {**SIMULATOR_ENV, **service["environment"]}
        addresses = {
            "REDIS_URL": self.redis.url,
            "KEEPA_BASE_URL": self.simulator.url,
            "HOST": "127.0.0.1",
            "PORT": str(self._ports[name]),
        }
        assert addresses.keys() <= chosen.keys()
        environment = {key.lower(): value for key, value in {**chosen, **addresses}.items()}
        folder = self._folder / f"{name}-{self._lives}"
        return self._keep(Gateway(folder, **{**environment, **self._settings}))

    def _keep(self, process: Any) -> Any:
        self._ended.append(process)
        return process
