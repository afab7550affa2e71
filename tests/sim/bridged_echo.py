"""The echo with bridges: the smallest thing that cocotb can talk to like to the whole board."""

from sim.bridge import BridgedBoard
from tests.sim.echo import Echo


class BridgedEcho(BridgedBoard):
    TOP = Echo
