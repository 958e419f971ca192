"""A small scope, all of it: two gateways, three calls, one lump, one fault; every order of events.

Each state is what Redis holds, what Keepa has, and how far each call is; each step runs the real
Lua. States are hashed, so that none is walked twice. `python -m simulation.scope` walks all faults
and says how many states that are.

Times stand still but for three steps: to the lump, past the learning time, past the holds' life.
"""

import argparse
import hashlib
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from gateway.ledger import scripts
from gateway.ledger.replies import Code, Reply, read_reply
from gateway.ledger.values import Ask, Hold, Observation, Terms
from simulation.data import CommandError, Data
from simulation.redis import Engine

SECOND = 1_000_000
BEGIN = 1_800_000_000 * SECOND
FLOOR, RATE, TOKENS = 10, 20, 90
LUMP_IN, HOLD, LEARNING = 10 * SECOND, 30 * SECOND, 2_500_000
KEYS = [f"scope:{{scope}}:{number}" for number in range(len(scripts.name_keys("x")) + 1)]
# Of each call: whose it is, what it may cost, what Keepa charges.
CALLS = ((0, 50, 44), (1, 30, 30), (0, 26, 26))
FAULTS = (
    "none", "emptied", "set back", "gateway dies", "settled twice", "reply lost", "late reserve",
    "clock set back", "answer lost",
)  # fmt: skip


@dataclass(frozen=True)
class Call:
    """How far one call is: new, held, charged, told, ended.

    Attributes:
        seen: Keepa's balance and the moment, when its answer's head left.
        doubtful: Its hold stays until it expires.
    """

    stage: str = "new"
    epoch: int = 0
    consumed_then: int = 0
    seen: tuple[int, int] | None = None
    doubtful: bool = False
    is_settled: bool = False


@dataclass(frozen=True)
class State:
    """Everything; `data` is never changed, only copied."""

    data: Data
    true: int
    now: int
    calls: tuple[Call, ...]
    token: tuple[int, int, int, int] | None = None
    tokens_asked: int = 0
    lumped: bool = False
    learned: bool = False
    """Whether the learning time of the epoch now has passed."""
    kept: frozenset[int] = frozenset()
    """Gateways that have named their holds since the store lost some."""
    lost: bool = False
    dead: frozenset[int] = frozenset()
    fault_left: bool = True
    run_id: int = 1
    behind: int = 0
    """By how much Redis' clock is behind."""
    backup: Data | None = None

    def digest(self) -> bytes:
        """Name the state: equal states have equal names."""
        parts = [
            (key, sorted(value.items()) if isinstance(value, dict) else value.order)
            for key, value in sorted(self.data.keys.items())
        ]
        rest = replace(self, data=None, backup=None)  # type: ignore[arg-type]
        text = repr((parts, rest, self.backup is not None))
        return hashlib.blake2b(text.encode(), digest_size=12).digest()


class Broken(Exception):
    """A promise that is broken, and how it came to that."""


class Walk:
    """Walks all orders for one fault.

    Attributes:
        states: How many different ones there are.
        steps: How many steps led from one to another.
        ends: How many of them are over.
    """

    def __init__(self, fault: str, calls: int = 3) -> None:
        self.fault, self.call_count = fault, calls
        self.states = self.steps = self.ends = self.lowest = 0
        self.is_whole = True
        self._now = BEGIN
        self._engine = Engine(Data(lambda: self._now))
        for text in scripts.TEXTS:
            self._engine.load(text.encode())

    def run(self, at_most: int) -> None:
        """Walk until all is seen, or so many states; raises Broken."""
        first = self._begin()
        seen = {first.digest()}
        waiting: list[tuple[State, tuple[str, ...]]] = [(first, ())]
        self.lowest = first.true
        chance = random.Random(1)
        while waiting:
            if len(seen) >= at_most:
                self.is_whole = False
                break
            # From anywhere, so that a bounded walk sees some of everything.
            at = chance.randrange(len(waiting))
            waiting[at], waiting[-1] = waiting[-1], waiting[at]
            state, path = waiting.pop()
            following = list(self._steps(state))
            if not following:
                self.ends += 1
                self._look_at_end(state, path)
            for name, after in following:
                self.steps += 1
                self.lowest = min(self.lowest, after.true)
                if after.true < FLOOR:
                    raise Broken(f"{after.true} tokens left: {', '.join((*path, name))}")
                mark = after.digest()
                if mark not in seen:
                    seen.add(mark)
                    waiting.append((after, (*path, name)))
        self.states = len(seen)

    # --- scripts ---
    def _script(self, state: State, script: scripts.Script, *arguments: Any) -> tuple[Data, Reply]:
        data = state.data.copy()
        self._now = state.now - state.behind
        self._engine.data = data
        words = [str(word).encode() for word in scripts.words_of([(script, arguments)])]
        keys = [key.encode() for key in KEYS]
        reply = self._engine.run(
            script.sha.encode(),
            [b"%d" % len(keys), *keys, b"%d" % state.run_id, b"%d" % LEARNING, *words],
        )
        if isinstance(reply, CommandError):
            raise Broken(f"{script.name}: {reply}")
        return data, read_reply(reply[0] if script.is_of_batch else reply)

    def _reserve(self, state: State, number: int) -> tuple[Data, Reply]:
        gateway, cost, _ = CALLS[number]
        ask = Ask(f"call{number}", cost, Terms(FLOOR), "service", "product")
        rules = f"{HOLD}|{300 * SECOND}|0|0|gateway{gateway}"
        return self._script(state, scripts.RESERVE, ask.record, ask.terms.record, rules)

    def _hold(self, number: int, call: Call) -> Hold:
        return Hold(
            f"call{number}", CALLS[number][1], "service", "product", call.epoch,
            call.consumed_then, 0.0,
        )  # fmt: skip

    def _record(self, state: State, left: int, moment: int) -> str:
        seen_at = moment / SECOND - BEGIN / SECOND
        told = Observation(left, self._refill_in(state, moment), RATE, 0, seen_at)
        return told.record(state.now / SECOND - BEGIN / SECOND)

    def _settle(self, state: State, number: int) -> Data:
        call, consumed = state.calls[number], CALLS[number][2]
        ended = self._hold(number, call).ended_record(consumed)
        told = self._record(state, *(call.seen or (0, 0)))
        return self._script(state, scripts.SETTLE, ended, told)[0]

    def _refill_in(self, state: State, moment: int) -> int:
        lump = BEGIN + LUMP_IN
        while lump <= moment:
            lump += 60 * SECOND
        return (lump - moment) // 1000

    def _observe(self, state: State, token: tuple[int, int, int, int]) -> tuple[Data, Reply]:
        epoch, consumed, left, moment = token
        told = self._record(state, left, moment)
        return self._script(state, scripts.OBSERVE, epoch, consumed, told)

    def _ask(self, state: State) -> tuple[Data, tuple[int, int, int, int]]:
        data, reply = self._script(state, scripts.CLAIM_REFRESH, 0, 2 * SECOND)
        return data, (reply.epoch, reply.balance.consumed, state.true, state.now)

    # --- steps ---
    def _begin(self) -> State:
        """Return the first state: 90 tokens are known, and no epoch is young."""
        state = State(Data(lambda: self._now), TOKENS, BEGIN, (Call(),) * self.call_count)
        data, token = self._ask(state)
        state = replace(state, data=data)
        state = replace(state, data=self._observe(state, token)[0], now=BEGIN + 3 * SECOND)
        return replace(state, learned=True)

    def _steps(self, state: State) -> Iterator[tuple[str, State]]:
        for number, call in enumerate(state.calls):
            yield from self._call_steps(state, number, call)
        yield from self._time_steps(state)
        yield from self._store_steps(state)
        if state.fault_left:
            yield from self._fault_steps(state)

    def _with(self, state: State, number: int, call: Call, **more: Any) -> State:
        calls = (*state.calls[:number], call, *state.calls[number + 1 :])
        return replace(state, calls=calls, **more)

    def _call_steps(self, state: State, number: int, call: Call) -> Iterator[tuple[str, State]]:
        gateway, _, charged = CALLS[number]
        is_alive = gateway not in state.dead
        if call.stage == "new" and is_alive:
            data, reply = self._reserve(state, number)
            if reply.code == Code.DONE:
                held = replace(
                    call, stage="held", epoch=reply.epoch, consumed_then=reply.balance.consumed
                )
                yield f"{number} reserves", self._with(state, number, held, data=data)
            elif reply.code != Code.UNKNOWN:
                ended = replace(call, stage="ended", is_settled=True)
                yield f"{number} is refused", self._with(state, number, ended, data=data)
        elif call.stage == "held":
            after = replace(call, stage="charged")
            # Keepa runs any call while there is anything left.
            cost = charged if state.true > 0 else 0
            left = state.true - cost
            yield f"Keepa charges {number}", self._with(state, number, after, true=left)
        elif call.stage == "charged" and is_alive:
            told = replace(call, stage="told", seen=(state.true, state.now))
            yield f"the head of {number} leaves", self._with(state, number, told)
        elif call.stage == "told" and is_alive:
            ended = replace(call, stage="ended", is_settled=True)
            data = self._settle(state, number)
            yield f"{number} settles", self._with(state, number, ended, data=data)

    def _time_steps(self, state: State) -> Iterator[tuple[str, State]]:
        lump = BEGIN + LUMP_IN
        if not state.lumped:
            true = max(state.true, min(state.true + RATE, 60 * RATE))
            yield "the lump", replace(state, lumped=True, true=true, now=max(state.now, lump))
        if not state.learned and (state.now < lump - 4 * SECOND or state.lumped):
            # Whoever lives, and can reach the store, names its holds within the learning time.
            owing = {CALLS[n][0] for n, call in enumerate(state.calls) if self._is_live(call)}
            if owing - state.dead <= state.kept:
                yield "time to learn", replace(state, learned=True, now=state.now + 2_600_000)

    def _is_live(self, call: Call) -> bool:
        return call.stage in {"held", "charged", "told"} or call.doubtful

    def _store_steps(self, state: State) -> Iterator[tuple[str, State]]:
        if state.token:
            data, _ = self._observe(state, state.token)
            yield "the balance is observed", replace(state, data=data, token=None)
        elif state.tokens_asked < 2:
            data, token = self._ask(state)
            yield (
                "/token is asked",
                replace(state, data=data, token=token, tokens_asked=state.tokens_asked + 1),
            )
        for gateway in (0, 1):
            if state.lost and gateway not in state.kept and gateway not in state.dead:
                yield f"gateway {gateway} names its holds", self._keep(state, gateway)

    def _keep(self, state: State, gateway: int) -> State:
        holds = [
            self._hold(number, call).live_record(0, HOLD)
            for number, call in enumerate(state.calls)
            if CALLS[number][0] == gateway and self._is_live(call)
        ]
        data, _ = self._script(state, scripts.RESTORE_HOLDS, *holds)
        return replace(state, data=data, kept=state.kept | {gateway})

    def _fault_steps(self, state: State) -> Iterator[tuple[str, State]]:
        after = replace(state, fault_left=False)
        lost = replace(
            after, lost=True, learned=False, run_id=state.run_id + 1, tokens_asked=0,
            kept=frozenset(),
        )  # fmt: skip
        match self.fault:
            case "emptied":
                yield "the store is emptied", replace(lost, data=Data(lambda: self._now))
            case "set back":
                if state.backup is None:
                    yield "a snapshot", replace(state, backup=state.data.copy())
                else:
                    yield "the store is set back", replace(lost, data=state.backup, backup=None)
            case "clock set back":
                yield (
                    "the clock falls",
                    replace(after, behind=5 * SECOND, learned=False, lost=True, tokens_asked=0),
                )
            case "gateway dies":
                yield "gateway 0 dies", replace(after, dead=frozenset({0}))
            case _:
                yield from self._call_faults(state, after)

    def _call_faults(self, state: State, after: State) -> Iterator[tuple[str, State]]:
        for number, call in enumerate(state.calls):
            if self.fault == "settled twice" and call.is_settled and call.seen:
                data = self._settle(state, number)
                yield f"{number} settles again", replace(after, data=data)
            elif self.fault == "reply lost" and call.stage == "new":
                # It ran, or did not; the caller is given up, and its id released.
                data, _ = self._reserve(state, number)
                yield f"the reply to {number} is lost", self._release(after, number, data)
            elif self.fault == "late reserve" and call.stage == "new":
                released = self._release(after, number, state.data)
                data, _ = self._reserve(released, number)
                yield f"{number} reserves too late", replace(released, data=data)
            elif self.fault == "answer lost" and call.stage == "charged":
                ended = replace(call, stage="ended", doubtful=True)
                yield f"the answer to {number} is lost", self._with(after, number, ended)

    def _release(self, state: State, number: int, data: Data) -> State:
        data, _ = self._script(replace(state, data=data), scripts.RELEASE, f"call{number}|0|")
        ended = Call(stage="ended", is_settled=True)
        return self._with(state, number, ended, data=data)

    # --- the end ---
    def _look_at_end(self, state: State, path: tuple[str, ...]) -> None:
        """In quiet, after one observation, the balance is Keepa's, and nothing is held."""
        now = state.now + 3 * HOLD
        lumps = (now - BEGIN - LUMP_IN) // (60 * SECOND) + 1 - state.lumped
        true = max(state.true, min(state.true + lumps * RATE, 60 * RATE))
        quiet = replace(state, now=now, true=true)
        for _ in range(2):
            data, token = self._ask(quiet)
            quiet = replace(quiet, data=data)
            data, reply = self._observe(quiet, token)
            quiet = replace(quiet, data=data, now=quiet.now + 3 * SECOND)
        balance = reply.balance
        if (balance.tokens, balance.held) != (true, 0):
            told = f"{balance.tokens} tokens and {balance.held} held, Keepa has {true}"
            raise Broken(f"{told}: {', '.join(path)}")


def main() -> int:
    """Walk all faults; return 0 where nothing was broken."""
    parser = argparse.ArgumentParser(prog="simulation.scope")
    parser.add_argument("--states", type=int, default=1_000_000, help="at most, for each fault")
    parser.add_argument("--fault", choices=FAULTS, help="only this")
    parser.add_argument("--mutant", help="a fault of the product to put in; see mutants.py")
    options = parser.parse_args()
    if options.mutant:
        from simulation.mutants import MUTANTS  # noqa: PLC0415

        MUTANTS[options.mutant].put_in()
    total = 0
    for fault in [options.fault] if options.fault else FAULTS:
        walk = Walk(fault)
        try:
            walk.run(at_most=options.states)
        except Broken as broken:
            print(f"{fault}: BROKEN: {broken}")
            return 1
        total += walk.states
        whole = "all of it" if walk.is_whole else "a part"
        print(
            f"{fault}: {walk.states} states, {walk.steps} steps, {walk.ends} ends, lowest balance "
            f"{walk.lowest}, {whole}", flush=True,
        )  # fmt: skip
    print(f"{total} states")
    return 0


if __name__ == "__main__":
    sys.exit(main())
