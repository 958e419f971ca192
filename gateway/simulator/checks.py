"""What Keepa finds wrong with a call before it looks at anything else."""

import dataclasses
import re

from gateway.simulator.call import Call, malformed, out_of_range

ASIN = re.compile(r"[A-Z0-9]{10}")
FIRST_DOMAIN, LAST_DOMAIN = 1, 12
OF_A_DOMAIN = frozenset(
    {
        "product",
        "query",
        "sellerquery",
        "search",
        "category",
        "bestsellers",
        "topseller",
        "seller",
        "lightningdeal",
        "graphimage",
    }
)
"""Endpoints of one Amazon locale; the others have it in their JSON, or need none."""
OF_ASINS = frozenset({"product", "lightningdeal", "graphimage"})


def check(call: Call) -> Call:
    """Return the call as Keepa serves it: without ASINs that are none, where others are.

    (Whether one bad ASIN spoils a batch at Keepa nobody outside knows.)

    Raises:
        RejectedCallError: it has no domain, one that is none, or no ASIN that is one.
    """
    if call.endpoint in OF_A_DOMAIN:
        domain = call.integer("domain")
        if domain is None:
            raise malformed("domain", "is missing")
        if not FIRST_DOMAIN <= domain <= LAST_DOMAIN:
            raise out_of_range("domain", f"{FIRST_DOMAIN} to {LAST_DOMAIN}")
    if call.endpoint not in OF_ASINS:
        return call
    asins = call.listed("asin")
    good = [asin for asin in asins if ASIN.fullmatch(asin)]
    if len(good) == len(asins):
        return call
    if not good:
        raise malformed("asin", f"is no ASIN: {asins[0][:40]!r}")
    return dataclasses.replace(call, params={**call.params, "asin": ",".join(good)})
