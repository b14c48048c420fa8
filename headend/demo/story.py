"""The lines a person would want to read: what changed between two looks at the cast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from headend.demo.proof import primary_refusal
from headend.demo.town import Household
from headend.domain.money import format_yuan
from headend.domain.supply import LIFTED_BY, OrderState, Restraint
from headend.ports.reports import AccountProgress
from rules.notices import NoticeStage
from rules.reason_texts import REASON_TEXTS
from rules.reasons import RefusalReason

_TOLD_OF: dict[str, str] = {
    NoticeStage.LOW_BALANCE: "told that the balance is low",
    NoticeStage.ARREARS: "told that the balance is used up",
    NoticeStage.DISCONNECT_NOTICE: "given notice of disconnection",
    NoticeStage.REMINDER: "reminded half an hour before",
    NoticeStage.DISCONNECTED: "told that the supply is off",
    NoticeStage.RECONNECTED: "told that the supply is back",
}
_ORDER_LINES: dict[tuple[str, OrderState], tuple[str, str]] = {
    ("disconnect", OrderState.SENDING): ("disconnect is being sent", "yellow"),
    ("disconnect", OrderState.COMPLETED): ("disconnected: contact seen open", "red"),
    ("disconnect", OrderState.CANCELLED): ("disconnect cancelled before it was sent", "green"),
    ("reconnect", OrderState.COMPLETED): ("reconnected: contact seen closed", "bold green"),
    ("reconnect", OrderState.WITH_FIELD): ("reconnect handed to a field crew", "yellow"),
}


class Story:
    """Remembers the last look and tells what is new in the next."""

    def __init__(self, households: Mapping[str, Household]) -> None:
        self._households = households
        self._last: dict[str, AccountProgress] = {}

    def continue_with(self, progress: Sequence[AccountProgress]) -> list[tuple[str, str]]:
        """Return (line, style) for everything that changed."""
        lines = []
        for standing in progress:
            before = self._last.get(standing.account_no)
            if before is not None and before != standing:
                household = self._households[standing.account_no]
                who = f"{household.name} {standing.account_no}"
                lines += [(f"{who} {text}", style) for text, style in _changes(before, standing)]
            self._last[standing.account_no] = standing
        return lines


def _changes(before: AccountProgress, now: AccountProgress) -> Iterator[tuple[str, str]]:
    for stage in NoticeStage:
        if stage in now.notices and stage not in before.notices:
            yield _TOLD_OF[stage], "yellow" if stage is NoticeStage.DISCONNECT_NOTICE else ""
    if now.balance_nano > before.balance_nano + 50_000_000_000:
        yield f"paid; balance {format_yuan(now.balance_nano)} yuan", "green"
    for action, old, new in (
        ("disconnect", before.disconnect_state, now.disconnect_state),
        ("reconnect", before.reconnect_state, now.reconnect_state),
    ):
        if new is not None and new is not old and (action, new) in _ORDER_LINES:
            yield _ORDER_LINES[action, new]
    code = primary_refusal(now)
    if code is not None and code != primary_refusal(before):
        yield f"not disconnected: {_sentence(code)}", "cyan"
    if now.reconnect_state is OrderState.REFUSED and before.reconnect_state is None:
        others = ", ".join(
            f"{kind} (lifted by {LIFTED_BY[Restraint(kind)][1]})" for kind in now.restraints
        )
        yield f"stays off although paid: {others}", "cyan"


def _sentence(code: str) -> str:
    return REASON_TEXTS[RefusalReason(code)].en
