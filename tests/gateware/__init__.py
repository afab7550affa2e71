"""The shared scenarios on the gateware."""
