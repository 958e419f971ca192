<?php

// Calls Keepa as its official PHP client does on the wire, and sends it to the gateway by that
// client's own hook, `setHttpClient()`.

/** The client's HTTP: `Keepa\API\CurlClient` has these methods. */
class CurlClient
{
    private CurlHandle $curl;
    private string $body;

    public function __construct()
    {
        $this->curl = curl_init();
        curl_setopt($this->curl, CURLOPT_ENCODING, 'gzip');
        curl_setopt($this->curl, CURLOPT_RETURNTRANSFER, true);
    }

    public function setUrl($url)
    {
        curl_setopt($this->curl, CURLOPT_URL, $url);
        return $this;
    }

    /** Sends JSON under the name of a form: libcurl's label where none is chosen. */
    public function setPostData($json)
    {
        curl_setopt($this->curl, CURLOPT_POSTFIELDS, $json);
        // libcurl does so by itself above 1 MB; older ones above 1 KB.
        curl_setopt($this->curl, CURLOPT_HTTPHEADER, ['Expect: 100-continue']);
        return $this;
    }

    public function get(): void
    {
        $this->body = curl_exec($this->curl) ?: throw new RuntimeException(curl_error($this->curl));
    }

    public function getResponseCode(): int
    {
        return curl_getinfo($this->curl, CURLINFO_HTTP_CODE);
    }

    public function getBody(): string
    {
        return $this->body;
    }
}

// The recipe.
class GatewayClient extends CurlClient
{
    public function setUrl($url)
    {
        $base = getenv('KEEPA_BASE_URL') ?: 'https://api.keepa.com';
        return parent::setUrl(str_replace('https://api.keepa.com', $base, $url));
    }
}

/** Asks until there is an answer: after `refillIn` and a bit when tokens are short, on a 503 soon. */
function ask(CurlClient $http, string $path, array $parameters, ?string $json = null): stdClass
{
    $key = getenv('KEEPA_API_KEY');
    $http->setUrl("https://api.keepa.com/$path/?key=$key&" . http_build_query($parameters));
    if ($json !== null) {
        $http->setPostData($json);
    }
    for (;;) {
        $http->get();
        $status = $http->getResponseCode();
        $answer = json_decode($http->getBody());
        if ($status === 200) {
            return $answer;
        }
        if ($status !== 429 && $status !== 503) {
            throw new RuntimeException("$status: {$http->getBody()}");
        }
        $isShort = $status === 429 && $answer->refillIn > 0;
        usleep(1000 * ($isShort ? $answer->refillIn + 100 : 100));
    }
}

$http = new GatewayClient();
$products = ask($http, 'product', ['asin' => 'B000000001,B000000002', 'domain' => 1]);
$answeredAt = microtime(true);
$deals = ask($http, 'deal', [], '{"page": 0, "domainId": 1}');
echo json_encode([
    'answers' => [$products, $deals],
    'answered_at_ms' => (int) ($answeredAt * 1000),
]), "\n";
