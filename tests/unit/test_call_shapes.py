"""Each shape of call: the simulator charges what Keepa may, and the gateway holds at least that."""

import pytest
from support.keepa.call_shapes import SHAPES, UNBOUNDED, Shape

from gateway.keepa.costs import CostTable
from gateway.simulator.call import RejectedCallError, read_call
from gateway.simulator.charges import ENDPOINTS, price
from gateway.simulator.checks import check
from gateway.simulator.shelf import Shelf

TABLE = CostTable({})
NOW_MS = 1_795_347_000_000

each_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)


def charge(shape: Shape) -> int:
    """Return what the simulator charges; nothing where Keepa refuses."""
    try:
        call = check(read_call(shape.endpoint, shape.query, shape.body))
        return price(call, Shelf(lambda: NOW_MS)).tokens
    except RejectedCallError:
        return 0


@each_shape
def test_the_simulator_charges_what_keepa_may(shape):
    """The row's charge is the simulator's."""
    assert charge(shape) == shape.charged


@each_shape
def test_the_gateway_holds_what_the_row_says(shape):
    """The hold is no less than the charge, but where there is no worst case, and no blind guess."""
    held = TABLE.price(shape.endpoint, shape.query, shape.body)
    assert held.tokens == shape.reserved
    assert sum(part.tokens for part in held.describe()) == held.tokens


def test_what_has_no_bound_is_known():
    """Only look-ups of codes without a limit and `stats` may cost more than is held."""
    assert {shape.endpoint for shape in UNBOUNDED} == {"product", "query"}
    for shape in UNBOUNDED:
        held = TABLE.price(shape.endpoint, shape.query, shape.body)
        assert held.is_unlimited or "stats=1" in shape.query


def test_every_endpoint_has_a_shape():
    """The table of the gateway and the simulator's know the same endpoints, each with a row."""
    shapes = {shape.endpoint for shape in SHAPES}
    assert set(ENDPOINTS) <= shapes
    assert {name for name in shapes if TABLE.knows(name)} == set(ENDPOINTS)
