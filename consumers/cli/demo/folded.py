"""What the consumers have made of the events: Portfolio, Risk and Analytics, by their own RPCs."""

from dataclasses import dataclass, field
from typing import Final, Self

from stateset.analytics.v1.analytics_service_pb2 import (
    METRIC_GROUP_CURRENCY,
    METRIC_GROUP_TRANSITION,
    Funnel,
    GetFunnelRequest,
    QueryMetricsRequest,
)
from stateset.order.v1.order_pb2 import OrderState
from stateset.portfolio.v1.portfolio_service_pb2 import ListCashBalancesRequest, ListHoldingsRequest
from stateset.risk.v1.risk_service_pb2 import ListExposuresRequest

from consumers.cli.demo.figures import NOTHING, Total, Transition
from consumers.cli.demo.services import READ_SECONDS, Services, pages

_PAGE_ROWS: Final = 500


@dataclass(slots=True)
class Portfolio:
    """Holdings and balances; see `Figures`.

    Attributes:
        still_open: Units and cents that Portfolio takes for open or committed.
    """

    holdings: dict[tuple[str, str], Total] = field(default_factory=dict)
    cash: dict[str, int] = field(default_factory=dict)
    still_open: Total = NOTHING

    @classmethod
    async def of(cls, services: Services) -> Self:
        """Everything that Portfolio holds."""
        found = cls()
        async for page in pages(services.portfolio.ListHoldings, ListHoldingsRequest(page_size=_PAGE_ROWS)):
            for each in page.holdings:
                found.still_open = found.still_open.plus(each.open_quantity, 0)
                if each.quantity or each.cost.minor_units:
                    found.holdings[each.customer_id, each.product_id] = Total(each.quantity, each.cost.minor_units)
        async for page in pages(services.portfolio.ListCashBalances, ListCashBalancesRequest(page_size=_PAGE_ROWS)):
            for each in page.cash_balances:
                found.still_open = found.still_open.plus(0, each.committed.minor_units)
                if each.spent.minor_units:
                    found.cash[each.customer_id] = each.spent.minor_units
        return found


@dataclass(slots=True)
class Risk:
    """Exposures; see `Figures`.

    Attributes:
        open_cents: What Risk takes for open.
    """

    exposures: dict[tuple[str, str], int] = field(default_factory=dict)
    open_cents: int = 0

    @classmethod
    async def of(cls, services: Services) -> Self:
        """Everything that Risk holds."""
        found = cls()
        async for page in pages(services.risk.ListExposures, ListExposuresRequest(page_size=_PAGE_ROWS)):
            for each in page.exposures:
                found.exposures[each.customer_id, each.currency_code] = each.filled_amount.minor_units
                found.open_cents += each.open_notional.minor_units
        return found


@dataclass(slots=True)
class Analytics:
    """Days, transitions and the funnel; see `Figures`."""

    days: dict[tuple[str, str], Total] = field(default_factory=dict)
    transitions: dict[Transition, int] = field(default_factory=dict)
    funnel: dict[str, int] = field(default_factory=dict)

    @classmethod
    async def of(cls, services: Services) -> Self:
        """Everything that Analytics holds."""
        found = cls()
        by_currency = QueryMetricsRequest(group_by=METRIC_GROUP_CURRENCY, page_size=_PAGE_ROWS)
        async for page in pages(services.analytics.QueryMetrics, by_currency):
            for each in page.metrics:
                gross_cents = each.gross_merchandise_value.minor_units
                found.days[each.day, each.currency_code] = Total(each.orders_placed, gross_cents)
        by_transition = QueryMetricsRequest(group_by=METRIC_GROUP_TRANSITION, page_size=_PAGE_ROWS)
        async for page in pages(services.analytics.QueryMetrics, by_transition):
            for each in page.metrics:
                found.transitions[each.day, state_name(each.previous_state), state_name(each.state)] = each.events
        funnel = (await services.analytics.GetFunnel(GetFunnelRequest(), timeout=READ_SECONDS)).funnel
        found.funnel = {stage.name: getattr(funnel, stage.name) for stage in Funnel.DESCRIPTOR.fields}
        return found


def state_name(state: OrderState.ValueType) -> str:
    """The state's name, such as "DELIVERED"; "" for none."""
    return OrderState.Name(state).removeprefix("ORDER_STATE_") if state else ""
