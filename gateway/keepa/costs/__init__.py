"""What a call to Keepa may cost at worst: the tokens reserved before it is forwarded.

`table` is the cost table itself, one short function per endpoint, `products` the longest of them.
`parameters` reads a call's query and body the dearest way Keepa could; `price` is the result, and
`parts` what it is made of, in words; `code_limit` bounds a call that has no worst case.
"""

from gateway.keepa.costs.code_limit import limit_codes
from gateway.keepa.costs.parts import Part
from gateway.keepa.costs.price import Price
from gateway.keepa.costs.table import UNKNOWN, CostTable, canonical_name

__all__ = ["UNKNOWN", "CostTable", "Part", "Price", "canonical_name", "limit_codes"]
