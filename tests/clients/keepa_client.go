// Calls Keepa with Go's net/http: the key in the query, the base URL an option, every wait bounded.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// The gateway gives an answer up after 120 s; the zero Timeout of http.DefaultClient never would.
var client = http.Client{Timeout: 130 * time.Second}

// How long one call may wait for tokens, in all.
const patience = 5 * time.Minute

// What waiting needs to know of a refusal.
type refusal struct {
	RefillIn  int64 `json:"refillIn"`
	Retryable *bool `json:"retryable"`
}

// Send a GET, or a POST where there is JSON to send, until there is an answer.
func ask(path, post string) (json.RawMessage, error) {
	until := time.Now().Add(patience)
	for {
		call, err := prepare(path, post)
		if err != nil {
			return nil, err
		}
		answer, err := client.Do(call)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode == http.StatusOK {
			return body, err
		}
		pause := pauseAfter(answer, body)
		if pause == 0 || time.Now().Add(pause).After(until) {
			return nil, fmt.Errorf("%s: %s", answer.Status, body)
		}
		time.Sleep(pause)
	}
}

func prepare(path, post string) (*http.Request, error) {
	url := os.Getenv("KEEPA_BASE_URL") + path + "&key=" + os.Getenv("KEEPA_API_KEY")
	if post == "" {
		return http.NewRequest(http.MethodGet, url, nil)
	}
	call, err := http.NewRequest(http.MethodPost, url, strings.NewReader(post))
	if err == nil {
		call.Header.Set("Content-Type", "application/json")
	}
	return call, err
}

// How long to wait: refillIn, else Retry-After; 0 where waiting does not help.
func pauseAfter(answer *http.Response, body []byte) time.Duration {
	var said refusal
	json.Unmarshal(body, &said)
	if said.Retryable != nil && !*said.Retryable {
		return 0
	}
	if answer.StatusCode == http.StatusTooManyRequests && said.RefillIn > 0 {
		return time.Duration(said.RefillIn) * time.Millisecond
	}
	seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
	return time.Duration(seconds) * time.Second
}

func main() {
	products, err := ask("/product?domain=1&asin=B000000001,B000000002", "")
	if err != nil {
		log.Fatal(err)
	}
	answeredAt := time.Now().UnixMilli()
	deals, err := ask("/deal?domain=1", `{"page": 0, "domainId": 1}`)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("{\"answers\": [%s, %s], \"answered_at_ms\": %d}\n", products, deals, answeredAt)
}
