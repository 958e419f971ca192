"""What lies between processes: proxies that delay and fail, certificates, receivers."""
