"""Analytics' query RPCs: messages in, rows out, and how old they are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Row
from stateset.analytics.v1 import analytics_service_pb2 as wire
from stateset.common.v1.position_pb2 import Digest

from consumers.analytics.store import (
    DAYS,
    PLACINGS,
    TRANSITIONS,
    in_window,
    read_entries,
    read_funnel,
    to_day,
    to_placing,
    to_transition,
)
from consumers.analytics.wire import state_number
from consumers.answers import Answers, money, page_under
from consumers.runner import Frontier
from consumers.sums import digest
from infra.runtime.database import Database
from infra.runtime.grpc.call import Call
from infra.runtime.grpc.status import InvalidRequestError, Violation


class AnalyticsServicer:
    """Serves `stateset.analytics.v1.AnalyticsService` from the consumer's own database."""

    def __init__(self, database: Database, frontier: Frontier) -> None:
        self._answers = Answers(database, frontier)

    async def QueryMetrics(self, request: wire.QueryMetricsRequest, call: Call) -> wire.QueryMetricsResponse:
        """One page of figures."""
        days, group = _window(request), _group(request)
        variant = repr((days, request.group_by))
        page = page_under(request, group.table, in_window(group.table, *days), variant=variant)
        (rows, next_page_token), freshness = await self._answers.read(request.min_position, call, page.read)
        return wire.QueryMetricsResponse(
            metrics=[group.to_wire(row) for row in rows], next_page_token=next_page_token, freshness=freshness
        )

    async def GetFunnel(self, request: wire.GetFunnelRequest, call: Call) -> wire.GetFunnelResponse:
        """The funnel of some days."""
        days = _window(request)
        funnel, freshness = await self._answers.read(request.min_position, call, lambda rows: read_funnel(rows, *days))
        return wire.GetFunnelResponse(funnel=wire.Funnel(**funnel._asdict()), freshness=freshness)

    async def GetDigest(self, request: wire.GetDigestRequest, call: Call) -> wire.GetDigestResponse:
        """Proof of the content."""
        proof, freshness = await self._answers.read(request.min_position, call, lambda rows: digest(read_entries(rows)))
        return wire.GetDigestResponse(digest=Digest(count=proof.count, hash=proof.hash), freshness=freshness)


def _day_to_wire(row: Row[Any]) -> wire.Metric:
    key, figures = to_day(row)
    return wire.Metric(day=key.day, events=figures.events, orders_placed=figures.orders_placed)


def _transition_to_wire(row: Row[Any]) -> wire.Metric:
    key, figures = to_transition(row)
    return wire.Metric(
        day=key.day,
        previous_state=state_number(key.previous_state),
        state=state_number(key.state),
        events=figures.events,
    )


def _placing_to_wire(row: Row[Any]) -> wire.Metric:
    key, figures = to_placing(row)
    return wire.Metric(
        day=key.day,
        currency_code=key.currency_code,
        orders_placed=figures.orders,
        gross_merchandise_value=money(key.currency_code, figures.gross_value),
    )


@dataclass(frozen=True, slots=True)
class _Group:
    """Where the figures of a group are, and how they are told."""

    table: sa.Table
    to_wire: Callable[[Row[Any]], wire.Metric]


_GROUPS: Final[Mapping[int, _Group]] = {
    wire.METRIC_GROUP_UNSPECIFIED: _Group(DAYS, _day_to_wire),
    wire.METRIC_GROUP_TRANSITION: _Group(TRANSITIONS, _transition_to_wire),
    wire.METRIC_GROUP_CURRENCY: _Group(PLACINGS, _placing_to_wire),
}


def _group(request: wire.QueryMetricsRequest) -> _Group:
    group = _GROUPS.get(request.group_by)
    if group is None:
        raise InvalidRequestError([Violation("group_by", "not a group that there is")])
    return group


def _window(request: wire.QueryMetricsRequest | wire.GetFunnelRequest) -> tuple[str, str]:
    """The first and the last day that are asked for."""
    first_day, last_day = request.first_day or date.min.isoformat(), request.last_day or date.max.isoformat()
    violations = [
        Violation(field, 'must be a day such as "2026-11-23"')
        for field, day in (("first_day", first_day), ("last_day", last_day))
        if not _is_day(day)
    ]
    if not violations and first_day > last_day:
        violations.append(Violation("last_day", "must not be before first_day"))
    if violations:
        raise InvalidRequestError(violations)
    return first_day, last_day


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text  # not one of the standard's other spellings
    except ValueError:
        return False
