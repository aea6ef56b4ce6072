"""Messages to endpoints of others: where they may go, how they are signed, and how they get there."""
