"""Scenarios that run unchanged on the model and on the gateware; see :mod:`.world`."""
