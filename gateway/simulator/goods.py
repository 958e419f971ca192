"""What the simulated Amazon sells: made-up goods with prices and ranks as such goods have."""

from typing import NamedTuple


class Good(NamedTuple):
    """One kind of thing on sale.

    Attributes:
        what: its title, without the brand in front.
        group: `productGroup`.
        root: name and number of its root category, as at amazon.com.
        cents: the lowest and the highest usual price.
        ranks: the best and the worst usual sales rank in the root category.
    """

    what: str
    group: str
    root: tuple[str, int]
    cents: tuple[int, int]
    ranks: tuple[int, int]


_KITCHEN = ("Home & Kitchen", 1055398)
_ELECTRONICS = ("Electronics", 172282)
_TOYS = ("Toys & Games", 165793011)
_SPORTS = ("Sports & Outdoors", 3375251)
_TOOLS = ("Tools & Home Improvement", 228013)
_PETS = ("Pet Supplies", 2619533011)
_OFFICE = ("Office Products", 1064954)
_BEAUTY = ("Beauty & Personal Care", 3760911)

GOODS = (
    Good("Stainless Steel Water Bottle, 750 ml", "Kitchen", _KITCHEN, (1499, 2999), (900, 40_000)),
    Good("Hair Dryer with Diffuser, 2200 W", "Beauty", _BEAUTY, (2499, 5999), (1_200, 60_000)),
    Good("USB-C Charger, 65 W", "CE", _ELECTRONICS, (1999, 4499), (150, 20_000)),
    Good("Wooden Building Blocks, 100 Pieces", "Toy", _TOYS, (1799, 3999), (700, 50_000)),
    Good("Yoga Mat, 6 mm", "Sports", _SPORTS, (1599, 3499), (400, 30_000)),
    Good("Cordless Screwdriver, 4 V", "Home Improvement", _TOOLS, (2499, 4999), (2_000, 80_000)),
    Good("Slow Feeder Dog Bowl", "Pet Products", _PETS, (899, 1899), (300, 25_000)),
    Good("Gel Pens, 0.7 mm, 12 Pack", "Office Product", _OFFICE, (699, 1499), (200, 15_000)),
    Good("Cast Iron Skillet, 26 cm", "Kitchen", _KITCHEN, (1999, 3999), (600, 35_000)),
    Good("Bluetooth Headphones, Over-Ear", "CE", _ELECTRONICS, (3999, 12_999), (80, 12_000)),
    Good("Jigsaw Puzzle, 1000 Pieces", "Toy", _TOYS, (1299, 2299), (1_500, 90_000)),
    Good("Trekking Poles, Pair", "Sports", _SPORTS, (2999, 6999), (1_800, 70_000)),
    Good("LED Desk Lamp with Dimmer", "Home Improvement", _TOOLS, (2299, 4999), (900, 45_000)),
    Good("Cat Scratching Post, 80 cm", "Pet Products", _PETS, (2999, 5999), (800, 40_000)),
    Good("Document Shredder, 8 Sheets", "Office Product", _OFFICE, (3999, 8999), (1_100, 55_000)),
    Good("Electric Kettle, 1.7 l", "Kitchen", _KITCHEN, (2499, 5499), (500, 28_000)),
)
BRANDS = ("Northfell", "Lumora", "Castalia", "Brightwell", "Okavi", "Fernhaus", "Tarn & Pike")
COLOURS = ("Black", "Blue", "Grey", "White", "Green", "Red")
SHOPS = ("Harbour Street Goods", "Nordkap Trading", "Blue Kite Store", "Elm & Ash", "Parcelwise")
