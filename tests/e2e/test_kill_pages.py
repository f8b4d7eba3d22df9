"""kill -9 between the pages of rounds: each item is in the topic once, and a round goes on in its middle."""

from __future__ import annotations

import json
import os
import random
import threading

import pytest

from commandline import CommandLine
from headwater.core.checkpoint import decode_checkpoint
from headwater.fluvio.batch import decode_records
from headwater.log import LogReader
from headwater.testing import Answer, Received, ScriptedServer, background

SIZE = 2


class Growing:
    """A list of numbers to which more are added while it is read: by tokens, from behind a number that is asked for."""

    def __init__(self) -> None:
        self.count = 7
        self._lock = threading.Lock()

    def __call__(self, request: Received) -> Answer:
        """Answer with a page; some numbers are new in each round, and some come while it is read."""
        with self._lock:
            since, start = int(request.query["since"]), request.query.get("token")
            position = since if start is None else int(start)
            self.count += 6 if start is None else position % 3 == 0
            items = list(range(position + 1, min(self.count, position + SIZE) + 1))
            following = position + len(items)
            more = following < self.count
            return Answer.json({"items": [{"n": it} for it in items], "token": str(following) if more else None})


CONFIG = """
apiVersion: 0.1.0
meta: {{name: numbers, topic: numbers}}
http:
  endpoint: {url}
  interval: 20ms
  params: {{since: "${{{{ cursor.last }}}}"}}
  records: {{split: /items}}
  cursor: {{last: {{from: /n, initial: 0}}}}
  pagination: {{type: cursor, next: /token, param: token}}
"""


def check(headwater: CommandLine) -> tuple[list[int], bool]:
    """Return the numbers in the topic, which must be all and each once, and whether a round is under way."""
    with LogReader(headwater.data) as reader:
        end = reader.offsets("numbers", 0)[1]
        values: list[bytes] = []
        while len(values) < end:
            for batch in reader.read("numbers", 0, len(values), 1 << 20):
                values += [record.value for record in decode_records(batch.data)]
        stored = reader.checkpoint("numbers")
    numbers = [json.loads(value)["n"] for value in values]
    assert numbers == list(range(1, len(numbers) + 1))
    progress = None if stored is None else decode_checkpoint(stored).progress
    return numbers, bool(progress and progress.page.get("token"))


def campaign(headwater: CommandLine, kills: int) -> int:
    """Kill a running process so many times at random moments; return how often that was in the middle of a round."""
    seed = int(os.environ.get("HEADWATER_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
    print(f"HEADWATER_SEED={seed}")
    chance = random.Random(seed)
    growing, midway = Growing(), 0
    with background(ScriptedServer()) as server:
        config = headwater.config(CONFIG.format(url=server.route("/x", growing)))
        for _ in range(kills):
            before = len(server.received)
            process = headwater.start("run", config)
            try:
                server.wait_for(before + chance.randint(1, 12))
                for _ in range(chance.randrange(20_000)):
                    pass
            finally:
                process.kill()
                process.wait()
            midway += check(headwater)[1]
        before = len(server.received)
        last = headwater.start("run", config)
        server.wait_for(before + 10)
        assert headwater.stop(last)[0] == 130
    assert len(check(headwater)[0]) >= 7
    return midway


def test_five_kills(headwater: CommandLine) -> None:
    """Five kills lose and double nothing."""
    campaign(headwater, 5)


@pytest.mark.long
def test_forty_kills(headwater: CommandLine) -> None:
    """Forty kills lose and double nothing, and some of them are between two pages."""
    assert campaign(headwater, 40) > 3
