"""All that is known of Keepa: costs, the envelope of its answers, connections, the breaker."""
