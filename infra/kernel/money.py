"""Exact money: amounts are whole minor units, unit prices are billionths of the main unit. No floats anywhere."""

from typing import Final

NANOS: Final = 1_000_000_000
AMOUNT_MAX: Final = 10**15  # minor units of one order; sums over many orders have no end

# ISO 4217. Every currency has two minor digits but those named below.
_CURRENCIES: Final = frozenset(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF
    CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD
    HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD
    MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN
    PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD
    TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
    """.split()
)
_MINOR_DIGITS: Final = (
    dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0)
    | dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3)
    | dict.fromkeys("CLF UYW".split(), 4)
)


_CENT_NANOS: Final = NANOS // 100
# Of a minor unit, where it is no hundredth.
_UNIT_NANOS: Final[dict[str, int]] = {currency: NANOS // 10**digits for currency, digits in _MINOR_DIGITS.items()}


def is_currency(code: str) -> bool:
    """Whether `code` is an ISO 4217 code that an order may use."""
    return code in _CURRENCIES


def minor_digits(currency_code: str) -> int:
    """Digits after the point of an amount: 2 for USD, 0 for JPY, 3 for BHD."""
    return _MINOR_DIGITS.get(currency_code, 2)


def amount(quantity: int, price_nanos: int, currency_code: str) -> int:
    """What `quantity` units cost, in minor units: quantity × price, rounded half-even once."""
    unit = _UNIT_NANOS.get(currency_code, _CENT_NANOS)
    whole, rest = divmod(quantity * price_nanos, unit)
    return whole if rest == 0 else whole + (2 * rest > unit or (2 * rest == unit and whole % 2 == 1))
