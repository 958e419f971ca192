#!/bin/sh
# Calls Keepa with curl alone. `--retry` waits as long as `Retry-After` says, on a 429 too; `--fail`
# keeps the bodies of refusals out of the output.
set -eu

ask() {
    curl --silent --show-error --fail --compressed --retry 5 "$@"
}

products=$(ask "$KEEPA_BASE_URL/product?key=$KEEPA_API_KEY&domain=1&asin=B000000001,B000000002")
answered_at_ms=$(date +%s%3N)
deals=$(ask --header 'Content-Type: application/json' --data '{"page": 0, "domainId": 1}' \
    "$KEEPA_BASE_URL/deal?key=$KEEPA_API_KEY")
printf '{"answers": [%s, %s], "answered_at_ms": %s}\n' "$products" "$deals" "$answered_at_ms"
