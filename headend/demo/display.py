"""What a person watches while the demo runs: the fleet and the loop at a glance, and a story.

On a terminal it is drawn anew a few times a second; into a file or pipe only the story's lines are
written, one a line.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from zoneinfo import ZoneInfo

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from headend.bootstrap import Services
from headend.domain.days import DEFAULT_ZONE
from headend.domain.supply import SupplyAction
from headend.ports.orders import StateCount
from headend.ports.reports import CompletedSwitching, StateTotals

STORY_LINES = 14
REFRESH_S = 0.5


class Display:
    """Draws the state of a running demo until cancelled."""

    def __init__(self, services: Services, console: Console, *, address: str) -> None:
        self._services = services
        self._console = console
        self._address = address
        self._story: deque[Text] = deque(maxlen=STORY_LINES)
        self._is_live = console.is_terminal

    def tell(self, line: str, *, style: str = "") -> None:
        """Add a line to the story, with the business time in front."""
        text = Text.assemble((f"{self._local_time():%m-%d %H:%M:%S}  ", "dim"), (line, style))
        if self._is_live:
            self._story.append(text)
        else:
            self._console.print(text)

    async def run(self, *, since: datetime) -> None:
        """Draw until cancelled; without a terminal there is nothing to draw."""
        if not self._is_live:
            return
        with Live(console=self._console, refresh_per_second=4, transient=True) as live:
            while True:
                with suppress(ConnectionError):
                    live.update(await self._draw(since))
                await asyncio.sleep(REFRESH_S)

    async def _draw(self, since: datetime) -> Group:
        async with self._services.store.transaction() as uow:
            totals = await uow.reports.totals()
            states = await uow.orders.count_by_state()
            switchings = await uow.reports.completed_switchings(since=since)
        head = Table.grid(padding=(0, 3))
        head.add_row(
            Text("AMI head-end", style="bold"),
            f"business time {self._local_time():%a %Y-%m-%d %H:%M:%S} (Asia/Shanghai)",
            Text(self._address, style="cyan"),
        )
        return Group(
            head,
            _fleet_table(totals),
            _orders_table(states, switchings),
            Panel(Group(*self._story), title="what happens", title_align="left"),
            Text("Ctrl-C stops everything; the next ./run goes on from here", style="dim"),
        )

    def _local_time(self) -> datetime:
        return self._services.clock.now().astimezone(ZoneInfo(DEFAULT_ZONE))


def _fleet_table(totals: StateTotals) -> Table:
    table = Table(title="fleet", title_justify="left", expand=True)
    for name in ("on", "off", "unknown", "in notice", "notices delivered", "open cases"):
        table.add_column(name, justify="right")
    table.add_row(
        Text(str(totals.connected), style="green"),
        Text(str(totals.disconnected), style="red" if totals.disconnected else ""),
        Text(str(totals.unknown), style="yellow" if totals.unknown else ""),
        str(totals.warned),
        str(totals.notices_delivered),
        str(totals.open_cases),
    )
    return table


def _orders_table(states: Sequence[StateCount], switchings: Sequence[CompletedSwitching]) -> Table:
    table = Table(title="supply orders", title_justify="left", expand=True)
    table.add_column("action")
    table.add_column("by state")
    table.add_column("payment to contact closed", justify="right")
    for action in SupplyAction:
        shown = "   ".join(
            f"{count.state} {count.orders}" for count in states if count.action is action
        )
        table.add_row(action, shown or "none", _latest_delays(action, switchings))
    return table


def _latest_delays(action: SupplyAction, switchings: Sequence[CompletedSwitching]) -> str:
    if action is SupplyAction.DISCONNECT:
        return ""
    delays = [
        f"{(each.finished_real - each.paid_real).total_seconds() * 1000:.0f} ms"
        for each in switchings
        if each.action is action and each.paid_real is not None
    ]
    return ", ".join(delays[-4:])
