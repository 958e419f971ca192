"""What several test folders need: servers of their own, a clock that can be turned."""
