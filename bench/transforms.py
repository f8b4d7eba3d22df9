"""SmartModules: records a second through a filter and a chain, the cost of a call, a warm start, memory over calls."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.figures import Figure
from headwater.core.record import Record
from headwater.transforms.abi import encode_input
from headwater.transforms.chain import Chain, Step
from headwater.transforms.wasm import Host, WasmStage

# The modules are those of the tests, made from their text.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from transforms import guests

VALUE = (b'{"id":1,"fact":"A cat sleeps through about two thirds of its life.","pad":"' + b"x" * 200)[:198] + b'"}'
RUNS = 7
CALLS = 100_000


def _median(work: Callable[[], object], times: int) -> float:
    """Return the seconds of one go, the median of seven rounds of so many."""
    rounds = []
    for _ in range(RUNS):
        began = time.perf_counter()
        for _ in range(times):
            work()
        rounds.append((time.perf_counter() - began) / times)
    return statistics.median(rounds)


def _begun(host: Host, code: bytes) -> WasmStage:
    stage = host.load(code, "guest").stage()
    stage.begin(None)
    return stage


def _chain(host: Host, *codes: bytes) -> Chain:
    return Chain([Step(f"{number}", f"{number}", _begun(host, code)) for number, code in enumerate(codes)])


def _rates(host: Host) -> list[Figure]:
    figures = []
    code = guests.plain_filter()
    stage = _begun(host, code)
    for count, promise in ((1, 20_000), (100, 250_000), (1000, 250_000)):
        records = [Record(VALUE)] * count
        data = encode_input(records)
        guest = stage._ready()  # noqa: SLF001 - the call alone, without our coding, is the bound
        times = max(3, 20_000 // count)
        took = _median(partial(stage.call, records), times)
        bare = _median(partial(guest.call, "filter", data, 22), times)
        figures.append(
            Figure(
                name=f"filter in WebAssembly, batches of {count}, 200-byte JSON",
                value=f"{count / took:,.0f}/s ({bare / took:.2f} of the bound)",
                bound=f"{count / bare:,.0f}/s (the call alone)",
                promise=f"at least {promise:,}/s",
                good=count / took >= promise,
            )
        )
    records = [Record(VALUE)] * 1000
    one, two = _chain(host, code), _chain(host, code, code)
    single = _median(lambda: one.run(records, base_timestamp=0), 20)
    double = _median(lambda: two.run(records, base_timestamp=0), 20)
    figures.append(
        Figure(
            name="a chain of two filters against one, 1,000 records",
            value=f"{double / single:.2f} times",
            bound=f"{single * 1e3:.2f} ms (one)",
            promise="less than 2",
            good=double / single < 2,
        )
    )
    empty = _median(lambda: stage.call(()), 5000)
    figures.append(
        Figure(
            name="a call of a filter with an empty batch",
            value=f"{empty * 1e6:.0f} us",
            bound="-",
            promise="at most 50 us",
            good=empty <= 50e-6,
        )
    )
    return figures


def _warm_start() -> Figure:
    with tempfile.TemporaryDirectory() as directory:
        # A module of the size that published ones have: the same filter with much beside it.
        work = "(i32.const 7) (i32.mul) (i32.const 3) (i32.add) " * 60
        ballast = f"(func (param i32) (result i32) (local.get 0) {work})" * 1500
        code = guests.compiled(guests.walker("filter", guests.KEEP, more=ballast))
        began = time.perf_counter()
        Host(Path(directory)).load(code, "guest")
        cold = time.perf_counter() - began
        warm = []
        for _ in range(RUNS):
            host = Host(Path(directory))
            began = time.perf_counter()
            stage = host.load(code, "guest").stage()
            stage.begin(None)
            warm.append(time.perf_counter() - began)
    took = statistics.median(warm)
    return Figure(
        name=f"warm start of a cached module of {len(code) // 1024:,} KiB",
        value=f"{took * 1e3:.1f} ms",
        bound=f"{cold * 1e3:.0f} ms (compiled anew)",
        promise="at most 5 ms",
        good=took <= 5e-3,
    )


def _memory(host: Host) -> Figure:
    stage = _begun(host, guests.leaky(frees=True))
    record = [Record(b"x")]
    stage.call(record)
    before, resident = stage.memory, _resident()
    for _ in range(CALLS):
        stage.call(record)
    grown = _resident() - resident
    return Figure(
        name=f"memory over {CALLS:,} calls with outputs of 20 kB",
        value=f"guest {(stage.memory - before) / 1024:+.0f} KiB, process {grown / 1024:+.0f} KiB",
        bound=f"{CALLS * 20 / 1e3:,.0f} MB of outputs",
        promise="flat: under 4 MiB",
        good=stage.memory == before and grown < 4 * 1024 * 1024,
    )


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def measure(say: Callable[[str], None]) -> list[Figure]:
    """Measure transforms."""
    host = Host()
    say("transforms: records through filters")
    rates = _rates(host)
    say("transforms: starts and memory")
    return [*rates, _warm_start(), _memory(host)]
