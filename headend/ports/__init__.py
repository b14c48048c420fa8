"""The ports: what services need from meters, storage, clock and notifiers.

One module per noun; in-memory fakes stand beside in `headend.testing`.
"""

from headend.ports.clock import Clock
from headend.ports.meters import (
    CounterStore,
    MeterAccess,
    MeterAdapter,
    MeterKeys,
    MeterLink,
    MeterSession,
    Turn,
)
from headend.ports.notifier import DeliveryEvidence, NoticeMessage, Notifier

__all__ = [
    "Clock",
    "CounterStore",
    "DeliveryEvidence",
    "MeterAccess",
    "MeterAdapter",
    "MeterKeys",
    "MeterLink",
    "MeterSession",
    "NoticeMessage",
    "Notifier",
    "Turn",
]
