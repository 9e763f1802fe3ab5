"""The portfolio's query RPCs: messages in, rows out, and how old they are."""

from stateset.common.v1.position_pb2 import Digest
from stateset.portfolio.v1 import portfolio_service_pb2 as wire

from consumers.answers import Answers, money, page_of, refuse_empty, told
from consumers.portfolio.model import Balance, BalanceKey, Holding, HoldingKey
from consumers.portfolio.store import BALANCES, HOLDINGS, read_entries, to_balance, to_holding
from consumers.runner import Frontier
from consumers.sums import digest
from consumers.tables import find_row
from infra.runtime.database import Database
from infra.runtime.grpc.call import Call


class PortfolioServicer:
    """Serves `stateset.portfolio.v1.PortfolioService` from the consumer's own database."""

    def __init__(self, database: Database, frontier: Frontier) -> None:
        self._answers = Answers(database, frontier)

    async def GetHolding(self, request: wire.GetHoldingRequest, call: Call) -> wire.GetHoldingResponse:
        """One holding."""
        refuse_empty(
            customer_id=request.customer_id, product_id=request.product_id, currency_code=request.currency_code
        )
        key = HoldingKey(request.customer_id, request.product_id, request.currency_code)
        row, freshness = await self._answers.read(
            request.min_position, call, lambda rows: find_row(rows, HOLDINGS, key)
        )
        found = to_holding(row) if row else (key, Holding())
        return wire.GetHoldingResponse(holding=_holding_to_wire(*found), freshness=freshness)

    async def ListHoldings(self, request: wire.ListHoldingsRequest, call: Call) -> wire.ListHoldingsResponse:
        """One page of holdings."""
        page = page_of(request, HOLDINGS)
        (rows, next_page_token), freshness = await self._answers.read(request.min_position, call, page.read)
        return wire.ListHoldingsResponse(
            holdings=[_holding_to_wire(*to_holding(row)) for row in rows],
            next_page_token=next_page_token,
            freshness=freshness,
        )

    async def GetCashBalance(self, request: wire.GetCashBalanceRequest, call: Call) -> wire.GetCashBalanceResponse:
        """One balance."""
        refuse_empty(customer_id=request.customer_id, currency_code=request.currency_code)
        key = BalanceKey(request.customer_id, request.currency_code)
        row, freshness = await self._answers.read(
            request.min_position, call, lambda rows: find_row(rows, BALANCES, key)
        )
        found = to_balance(row) if row else (key, Balance())
        return wire.GetCashBalanceResponse(cash_balance=_balance_to_wire(*found), freshness=freshness)

    async def ListCashBalances(
        self, request: wire.ListCashBalancesRequest, call: Call
    ) -> wire.ListCashBalancesResponse:
        """One page of balances."""
        page = page_of(request, BALANCES)
        (rows, next_page_token), freshness = await self._answers.read(request.min_position, call, page.read)
        return wire.ListCashBalancesResponse(
            cash_balances=[_balance_to_wire(*to_balance(row)) for row in rows],
            next_page_token=next_page_token,
            freshness=freshness,
        )

    async def GetDigest(self, request: wire.GetDigestRequest, call: Call) -> wire.GetDigestResponse:
        """Proof of the content."""
        proof, freshness = await self._answers.read(request.min_position, call, lambda rows: digest(read_entries(rows)))
        return wire.GetDigestResponse(digest=Digest(count=proof.count, hash=proof.hash), freshness=freshness)


def _holding_to_wire(key: HoldingKey, holding: Holding) -> wire.Holding:
    return wire.Holding(
        customer_id=key.customer_id,
        product_id=key.product_id,
        currency_code=key.currency_code,
        quantity=told(holding.quantity),
        open_quantity=told(holding.open_quantity),
        cost=money(key.currency_code, holding.cost),
    )


def _balance_to_wire(key: BalanceKey, balance: Balance) -> wire.CashBalance:
    return wire.CashBalance(
        customer_id=key.customer_id,
        currency_code=key.currency_code,
        spent=money(key.currency_code, balance.spent),
        committed=money(key.currency_code, balance.committed),
    )
