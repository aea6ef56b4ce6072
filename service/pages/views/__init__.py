"""From what the API answers to what a template shows: pure functions, and nothing of HTML."""
