"""What tests share: real servers and processes, tiny models, and programs that play one part of the service."""
