"""A notifier that delivers into a list, and fails when told to."""

from __future__ import annotations

from headend.ports import Clock, DeliveryEvidence, NoticeMessage


class FakeNotifier:
    """Keeps what it delivered; ``failing`` recipients or stages get no evidence.

    ``explode`` makes the next delivery raise, as an adapter with a defect would.
    """

    channel = "fake"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.delivered: list[NoticeMessage] = []
        self.refused: list[NoticeMessage] = []
        self.failing_recipients: set[str] = set()
        self.failing_stages: set[str] = set()
        self.explode: Exception | None = None

    async def deliver(self, message: NoticeMessage) -> DeliveryEvidence | None:
        """Deliver with evidence, or refuse as arranged."""
        if self.explode is not None:
            error, self.explode = self.explode, None
            raise error
        if message.recipient in self.failing_recipients or message.stage in self.failing_stages:
            self.refused.append(message)
            return None
        self.delivered.append(message)
        reference = f"{self.channel}#{len(self.delivered)}"
        return DeliveryEvidence(self.channel, reference, self._clock.now())
