"""What a gateway asks in place of Keepa."""
