"""The protocol of the model hub, spoken by the gateway: what jobs delivered, as repositories ``jobs/<id>``."""
