"""Risk's query RPCs: messages in, rows out, and how old they are."""

import sqlalchemy as sa
from stateset.common.v1.position_pb2 import Digest
from stateset.risk.v1 import risk_service_pb2 as wire

from consumers.answers import Answers, money, page_of, refuse_empty
from consumers.risk.model import Exposure, ExposureKey
from consumers.risk.store import EXPOSURES, to_exposure
from consumers.runner import Frontier
from consumers.sums import digest
from consumers.tables import find_row
from infra.runtime.database import Database
from infra.runtime.grpc.call import Call


class RiskServicer:
    """Serves `stateset.risk.v1.RiskService` from the consumer's own database."""

    def __init__(self, database: Database, frontier: Frontier) -> None:
        self._answers = Answers(database, frontier)

    async def GetExposure(self, request: wire.GetExposureRequest, call: Call) -> wire.GetExposureResponse:
        """One exposure."""
        refuse_empty(customer_id=request.customer_id, currency_code=request.currency_code)
        key = ExposureKey(request.customer_id, request.currency_code)
        row, freshness = await self._answers.read(
            request.min_position, call, lambda rows: find_row(rows, EXPOSURES, key)
        )
        found = to_exposure(row) if row else (key, Exposure())
        return wire.GetExposureResponse(exposure=_to_wire(*found), freshness=freshness)

    async def ListExposures(self, request: wire.ListExposuresRequest, call: Call) -> wire.ListExposuresResponse:
        """One page of exposures."""
        page = page_of(request, EXPOSURES)
        (rows, next_page_token), freshness = await self._answers.read(request.min_position, call, page.read)
        return wire.ListExposuresResponse(
            exposures=[_to_wire(*to_exposure(row)) for row in rows],
            next_page_token=next_page_token,
            freshness=freshness,
        )

    async def GetDigest(self, request: wire.GetDigestRequest, call: Call) -> wire.GetDigestResponse:
        """Proof of the content."""
        proof, freshness = await self._answers.read(
            request.min_position, call, lambda rows: digest(map(to_exposure, rows.execute(sa.select(EXPOSURES))))
        )
        return wire.GetDigestResponse(digest=Digest(count=proof.count, hash=proof.hash), freshness=freshness)


def _to_wire(key: ExposureKey, exposure: Exposure) -> wire.Exposure:
    return wire.Exposure(
        customer_id=key.customer_id,
        currency_code=key.currency_code,
        open_notional=money(key.currency_code, exposure.open_notional),
        filled_amount=money(key.currency_code, exposure.filled_amount),
        gross_exposure=money(key.currency_code, exposure.gross),
    )
