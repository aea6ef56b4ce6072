"""The pages that people look at: `/` and all below `/ui/`. Made by the server; a script adds what is live."""
