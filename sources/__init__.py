"""Where models and data come from: folders under the allowed roots, the hub, GLUE and the user's own tables.

Both the gateway (to refuse at POST) and the runner (to work) look through here, so nothing heavy is imported: no
torch, no transformers.
"""
