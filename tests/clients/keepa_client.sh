#!/bin/sh
# Calls Keepa with curl alone. `--retry` waits as long as `Retry-After` says, on a 429 too, but
# begins no wait that would end after `--retry-max-time`; `--fail` keeps the bodies of refusals out
# of the output. A call ends after 300 s and one more attempt, whatever happens: fit for cron.
set -eu

ask() {
    curl --silent --show-error --fail --compressed --connect-timeout 10 --max-time 130 \
        --retry 5 --retry-max-time 300 "$@"
}

products=$(ask "$KEEPA_BASE_URL/product?key=$KEEPA_API_KEY&domain=1&asin=B000000001,B000000002")
answered_at_ms=$(date +%s%3N)
deals=$(ask --header 'Content-Type: application/json' --data '{"page": 0, "domainId": 1}' \
    "$KEEPA_BASE_URL/deal?key=$KEEPA_API_KEY")
printf '{"answers": [%s, %s], "answered_at_ms": %s}\n' "$products" "$deals" "$answered_at_ms"
