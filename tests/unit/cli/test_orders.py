import pytest
from stateset.common.v1.money_pb2 import Money

from consumers.cli.orders import money, new_line


def test_a_line_is_product_quantity_and_price() -> None:
    line = new_line("1", "tea:green:2:1.99", "USD")
    assert (line.product_id, line.quantity, line.unit_price.nanos) == ("tea:green", 2, 1_990_000_000)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tea",
        "tea:2",
        "tea:two:1",
        "tea:2:x",
        "tea:2:NaN",
        "tea:2:Infinity",
        "tea:1:1e-10",
        "tea:1_0:1",
        "tea:1:1_0",
    ],
)
def test_any_other_line_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="PRODUCT:QUANTITY:PRICE"):
        new_line("1", text, "USD")


def test_money_has_the_digits_of_its_currency() -> None:
    amounts = [Money(currency_code=code, minor_units=1234) for code in ("USD", "JPY", "BHD")]
    assert [money(amount) for amount in amounts] == ["USD 12.34", "JPY 1234", "BHD 1.234"]
