"""All small worlds: every program, every fault, at every event."""
