"""A batch of logged updates against the blocks before it: what is new in it. Runs in the sandbox's child."""

from collections.abc import Sequence

from crdt.block import Block
from crdt.errors import ProtocolError
from crdt.gate import Verdict, judge, split
from crdt.index import Index
from crdt.update import parse_update


class Batch:
    """The new part of logged updates.

    The log may say things twice: a client that reconnects sends what another node has logged already. Were it merged as
    it is, a segment could hold an old piece and a new piece of a client and lack what is between them, because that
    stands in an older block.

    Attributes:
        fresh: updates that say what is new, each building only on the blocks and the updates before it.
    """

    def __init__(self, blocks: Sequence[bytes], updates: Sequence[bytes]) -> None:
        """Sort the updates out. Raises ProtocolError: bad bytes, or `hole`: something builds on what is not there."""
        self._updates = updates
        self._index = _known(blocks)
        self.fresh: list[bytes] = []
        # Logged in causal order by one node; records of several nodes may overtake one another, so what is early is
        # tried again as long as that leads anywhere.
        waiting = list(updates)
        while waiting:
            early = [update for update in waiting if not self._admit(update)]
            if len(early) == len(waiting):
                raise ProtocolError("hole", f"{len(early)} updates build on what the room does not have")
            waiting = early

    def _admit(self, data: bytes) -> bool:
        update = parse_update(data)
        verdict = judge(update, self._index)
        if verdict is Verdict.KNOWN:
            return True
        if verdict is not Verdict.READY:
            cut = split(data, self._index)
            if cut.rest is not None:
                return False
            if cut.ready is None:
                return True
            data, update = cut.ready, parse_update(cut.ready)
        self._index.add(update)
        self.fresh.append(data)
        return True

    def verify(self, blocks: Sequence[bytes]) -> None:
        """Raise ProtocolError unless the blocks know all structs and all deletes of the updates as they were logged."""
        index = _known(blocks)
        for data in self._updates:
            if judge(parse_update(data), index) is not Verdict.KNOWN:
                raise ProtocolError("verify", "the new block lacks something of an update")


def _known(blocks: Sequence[bytes]) -> Index:
    index = Index()
    for block in map(Block.from_bytes, blocks):
        index.add_state(block.state, block.deletes)
    return index
