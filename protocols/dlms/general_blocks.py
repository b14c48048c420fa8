"""The server's side of general blocks: requests that come in them, answers that go out in them.

An answer goes out in blocks where it is too long for one APDU or its request came in blocks. The
block that the client repeats because our answer was lost is answered as before, without carrying
anything out again.
"""

from __future__ import annotations

from collections.abc import Callable

from protocols.dlms import gbt


class GeneralBlocks:
    """The blocks of one association; ``limit`` is the longest APDU that the client takes."""

    def __init__(self, limit: int, window: int) -> None:
        self._limit = limit
        self._window = window
        self._transfer = self._begin()
        self._last_block = b""

    def send(self, answer: bytes) -> tuple[bytes, ...]:
        """Answer a request that came whole; what is too long begins to go out in blocks."""
        if len(answer) <= self._limit:
            return (answer,)
        self._transfer = self._begin()
        return self._transfer.send(answer)

    def receive(self, apdu: bytes, handle: Callable[[bytes], bytes | None]) -> tuple[bytes, ...]:
        """Take one block; carry out the request that it completes. Raises `MalformedData`."""
        if apdu == self._last_block:
            return self._transfer.repeat()
        block = gbt.decode_block(apdu)
        transfer = self._begin() if block.data and block.number == 1 else self._transfer
        received = transfer.receive(apdu)
        self._transfer, self._last_block = transfer, apdu
        if received.apdu is None:
            return received.replies
        answer = handle(received.apdu)
        return () if answer is None else transfer.send(answer)

    def _begin(self) -> gbt.BlockTransfer:
        return gbt.BlockTransfer(block_size=self._limit, window=self._window)
