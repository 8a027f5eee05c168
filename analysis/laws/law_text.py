"""A law written as text: `E + A*N^-alpha + B*D^-beta` is a sum of powers of one's own."""

from __future__ import annotations

import re

from pdstudy.analysis.errors import AnalysisError
from pdstudy.analysis.laws.powers import SumOfPowers, Term

_NAME = r"[A-Za-z][A-Za-z0-9_]*"
_POWER = re.compile(rf"({_NAME})\^-({_NAME})")
EXAMPLE = "E + A*N^-alpha + B*D^-beta"


def parse_law(text: str) -> SumOfPowers:
    """The sum of powers that a text describes; terms that name the same exponent share it.

    Raises:
        AnalysisError: not a sum of one optional floor and products `COEFFICIENT*COLUMN^-EXPONENT`, a name used for two
            things, or more exponents than a search covers.
    """
    compact = "".join(text.split())
    floor, terms = False, []
    for i, part in enumerate(compact.split("+")):
        factors = part.split("*")
        if i == 0 and factors == ["E"]:
            floor = True
            continue
        powers = [_POWER.fullmatch(f) for f in factors[1:]]
        if not re.fullmatch(_NAME, factors[0]) or not powers or None in powers:
            raise AnalysisError(
                f"--law {text!r}: {part!r} is no COEFFICIENT*COLUMN^-EXPONENT; write such as '{EXAMPLE}'"
            )
        terms.append(Term(factors[0], tuple((m[1], m[2]) for m in powers if m)))
    coefficients = [t.coefficient for t in terms]
    columns = {c for t in terms for c, _ in t.exponents}
    exponents = {e for t in terms for _, e in t.exponents}
    roles = [*coefficients, *columns, *exponents, *(["E"] if floor else [])]
    twice = sorted({name for name in roles if roles.count(name) > 1})
    if twice:
        raise AnalysisError(f"--law {text!r}: {twice[0]!r} stands for two things; name one of them otherwise")
    try:
        return SumOfPowers("own", terms, floor=floor, source="as given")
    except ValueError as error:
        raise AnalysisError(f"--law {text!r}: {error}") from None
