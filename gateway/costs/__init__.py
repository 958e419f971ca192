"""What a call to Keepa may cost at worst: the tokens reserved before it is forwarded.

`table` is the cost table itself, one short function per endpoint; `parameters` reads a call's query
and body the dearest way Keepa could; `price` is the result.
"""

from gateway.costs.price import Price
from gateway.costs.table import CostTable

__all__ = ["CostTable", "Price"]
