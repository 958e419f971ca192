// Calls Keepa with Node's own fetch: a GET, and a POST of a form that carries the key.
import { setTimeout as sleep } from 'node:timers/promises';

const base = process.env.KEEPA_BASE_URL ?? 'https://api.keepa.com';
const key = process.env.KEEPA_API_KEY;
// The gateway gives an answer up after 120 s.
const ATTEMPT_MS = 130_000;
// How long one call may wait for tokens, in all.
const PATIENCE_MS = 300_000;
const asin = 'B000000001,B000000002';

/** What Keepa or the gateway would not answer; `body` has the refusal's fields. */
class Refused extends Error {
  constructor(status, body) {
    super(`${status}: ${body.error?.message}`);
    this.status = status;
    this.body = body;
  }
}

/** Send one call; throw what is refused. */
async function ask(path, options) {
  const answer = await fetch(`${base}/${path}`, {
    ...options,
    signal: AbortSignal.timeout(ATTEMPT_MS),
  });
  const body = await answer.json();
  if (!answer.ok) throw new Refused(answer.status, body);
  return body;
}

/** Call again when the tokens for it are there; throw what waiting does not help, or not in time. */
async function patiently(call) {
  const until = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await call();
    } catch (refused) {
      // Keepa's own 429 does not say whether it is `retryable`: it is.
      if (refused.status !== 429 || refused.body.retryable === false) throw refused;
      if (Date.now() + refused.body.refillIn > until) throw refused;
      await sleep(refused.body.refillIn);
    }
  }
}

const query = new URLSearchParams({ key, domain: '1', asin });
const got = await patiently(() => ask(`product?${query}`));
const answeredAtMs = Date.now();
const posted = await patiently(() => ask('product', { method: 'POST', body: query }));
console.log(JSON.stringify({ answers: [got, posted], answered_at_ms: answeredAtMs }));
