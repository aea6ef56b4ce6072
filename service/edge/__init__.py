"""The gateway's outer side: what a connection, a Host, an Origin and a request may be before a route sees them."""
