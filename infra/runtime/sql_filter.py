"""The filter language as SQL over columns of text and of times."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, not_, or_, true

from infra.kernel import filter as language

_COMPARE: Final[Mapping[str, Callable[[ColumnElement[Any], str | int], ColumnElement[bool]]]] = {
    "=": lambda column, value: column == value,
    ":": lambda column, value: column == value,
    "!=": lambda column, value: column != value,
    "<": lambda column, value: column < value,
    "<=": lambda column, value: column <= value,
    ">": lambda column, value: column > value,
    ">=": lambda column, value: column >= value,
}


def to_sql(term: language.Term, columns: Mapping[str, ColumnElement[Any]]) -> ColumnElement[bool]:
    """The condition that holds for exactly the rows whose columns match the filter. No column may be NULL."""
    match term:
        case language.Compare(field, ":", "*"):
            return columns[field] != ""
        case language.Compare(field, sign, value):
            return _COMPARE[sign](columns[field], value)
        case language.Not(inner):
            return not_(to_sql(inner, columns))
        case language.All(terms):
            return and_(true(), *(to_sql(each, columns) for each in terms))
        case language.Any(terms):
            return or_(*(to_sql(each, columns) for each in terms))
