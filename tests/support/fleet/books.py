"""The ledger's books, read past its scripts and held against themselves."""

from dataclasses import dataclass, field

from support.fleet.homes import Home


@dataclass
class Books:
    """What stands in the store."""

    epoch: int = 0
    consumed: int = 0
    held: int = 0
    live: dict[str, int] = field(default_factory=dict)
    """Tokens of each live hold."""
    services: dict[str, tuple[int, int]] = field(default_factory=dict)
    """What is noted of each service: tokens held, number of live holds."""
    owners: dict[str, str] = field(default_factory=dict)
    """Service of each live hold."""

    def held_by(self, service: str) -> tuple[int, int]:
        """Return tokens and number of the service's holds, by the holds themselves."""
        costs = [self.live[id_] for id_, owner in self.owners.items() if owner == service]
        return sum(costs), len(costs)


class Auditor:
    """Compares the books with those of the step before.

    At any time: held is the sum of the live holds, each service's held and live are the sum and
    number of its own, and no index lacks or outlives its hold. Within an epoch: C never falls, no
    id is resolved twice, and C rises by what was resolved.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._last = Books()
        self._resolved: set[tuple[int, str]] = set()
        self._ending = ("", 0, 0)

    def expect_end(self, id_: str, consumed: int, epoch: int) -> None:
        """This step ends that call, whose reserve was of that epoch."""
        self._ending = (id_, consumed, epoch)

    async def start_over(self) -> None:
        """The data were replaced: what stood there is no measure any more."""
        self._last = await self._read()

    async def check(self) -> None:
        before, now = self._last, await self._read()
        assert now.held == sum(now.live.values()), "held is not the sum of the live holds"
        for service in {*now.services, *now.owners.values()}:
            noted, held_by_it = now.services.get(service), now.held_by(service)
            assert noted == held_by_it, f"{service} is noted to hold other than its live holds"
        ended = before.live.keys() - now.live.keys()
        if now.epoch and now.epoch == before.epoch:
            self._compare(before, now, ended)
        else:
            self._resolved |= {(now.epoch, id_) for id_ in {*ended, self._ending[0]}}
        self._last, self._ending = now, ("", 0, 0)

    def _compare(self, before: Books, now: Books, ended: set[str]) -> None:
        assert now.consumed >= before.consumed, "C fell within an epoch"
        for id_ in ended:
            assert (now.epoch, id_) not in self._resolved, f"{id_} was resolved twice"
            self._resolved.add((now.epoch, id_))
        id_, consumed, epoch = self._ending
        reaped = sum(before.live[other] for other in ended if other != id_)
        rose = now.consumed - before.consumed - reaped
        may = {0}
        if id_ in ended:
            # By its own settle or release, or reaped as that began.
            may = {consumed, before.live[id_]}
        elif id_ and epoch != now.epoch and (now.epoch, id_) not in self._resolved:
            # Without its hold once, or not at all where a snapshot brought its marker along.
            self._resolved.add((now.epoch, id_))
            may = {0, consumed}
        assert rose in may, f"C rose by {rose} where {may} was resolved"

    async def _read(self) -> Books:
        keys = self._home.keys
        # At once: after each step, it takes longer than the step.
        async with self._home.client.pipeline(transaction=False) as reads:
            reads.hgetall(keys[0]).hgetall(keys[1]).hgetall(keys[4])
            reads.zrange(keys[2], 0, -1).zrange(keys[3], 0, -1)
            book, all_holds, all_services, all_expiries, all_starts = await reads.execute()
        holds = {id_.decode(): record.decode().split("|") for id_, record in all_holds.items()}
        expiries = {id_.decode() for id_ in all_expiries}
        starts = {id_.decode() for id_ in all_starts}
        records = {id_: record for id_, record in holds.items() if record != ["resolved"]}
        live = {id_: int(record[0]) for id_, record in records.items()}
        owners = {id_: record[4] for id_, record in records.items()}
        services = {
            name.decode(): _read_held(record)
            for name, record in all_services.items()
            if b"|" not in name
        }
        assert expiries == holds.keys(), "a hold or marker without an end, or an end without one"
        assert starts == live.keys(), "a start without its hold, or a hold without its start"
        epoch, consumed, held = (int(book.get(name) or 0) for name in _NUMBERS)
        return Books(epoch, consumed, held, live, services, owners)


def _read_held(record: bytes) -> tuple[int, int]:
    """Return held and live of "used|held|live|hour|its tokens|day|its tokens"."""
    _, held, live, *_ = record.split(b"|")
    return int(held), int(live)


_NUMBERS = (b"epoch", b"consumed", b"held")
