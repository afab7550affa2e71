"""The target system: lines and core."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from firmware_model.wire import LinkCounter, Role

from .interfaces import RegisterPort
from .link import LinkEngine
from .mutations import Mutation, checked, lacks
from .targetcore import TargetCore
from .uart import DIVISOR_BITS

__all__ = ["HOST_PATIENCE_SECONDS", "Target", "count_events"]

# A PC answers after its scheduler, its USB frame and its serial driver's latency timer.
HOST_PATIENCE_SECONDS = 0.05


def count_events(line):
    """What a LinkEngine counts, in the order of ``link_tallies``."""
    strobes = {
        LinkCounter.FRAMES_SENT: line.frame_sent,
        LinkCounter.RESENDS: line.resent,
        LinkCounter.FRAMES_RECEIVED: line.frame_received,
        LinkCounter.DUPLICATES: line.duplicate,
        LinkCounter.BAD_FRAMES: line.bad_frame,
        LinkCounter.TIMEOUTS: line.timeout,
        LinkCounter.SESSIONS: line.session,
        LinkCounter.ACKS_SENT: line.ack_sent,
    }
    return Cat(strobes[counter] for counter in LinkCounter)


class Target(wiring.Component):
    """A whole target system.

    Parameters
    ----------
    geometry : Geometry
    channel : bool
        Whether the register window ``CHANNEL`` leads to a channel emulator.
    mutation : Mutation or None
        Deliberate fault of a test build.

    Members
    -------
    host_rx : In(1), host_tx : Out(1)
        Host line.
    host_divisor, link_divisor : In(24)
        Clocks a bit in 1/256.
    links : array(links) of rx : In(1), tx : Out(1)
    generation : In(8)
        Resets of this side, where it can count them.
    channel : Out(RegisterPort())
        Only if asked for.
    ready : Out(1)
        Tables are initialised.
    host_up : Out(1), links_up : Out(links)
        Lines with a session.
    """

    def __init__(self, geometry, *, channel=False, mutation=None):
        self.geometry = geometry
        self._channel = channel
        self._mutation = checked(mutation)
        members = {
            "host_rx": In(1, init=1),
            "host_tx": Out(1, init=1),
            "host_divisor": In(DIVISOR_BITS),
            "link_divisor": In(DIVISOR_BITS),
            "links": Out(wiring.Signature({
                "rx": In(1, init=1), "tx": Out(1, init=1)})).array(geometry.links),
            "generation": In(8),
            "ready": Out(1),
            "host_up": Out(1),
            "links_up": Out(geometry.links),
        }
        if channel:
            members["channel"] = Out(RegisterPort())
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        m.submodules.core = core = TargetCore(g, channel=self._channel, mutation=self._mutation)
        m.d.comb += [core.generation.eq(self.generation), self.ready.eq(core.ready)]
        if self._channel:
            connect(m, wiring.flipped(self.channel), core.channel)

        m.submodules.host_line = host = LinkEngine(
            role=Role.TARGET, window=g.window, max_payload=g.track_bytes, ordered=True,
            fingerprint=g.fingerprint, discard_when_down=True,
            patience_bits=int(HOST_PATIENCE_SECONDS * g.host_baud))
        connect(m, host.events, core.host_events)
        connect(m, host.sink, core.host_sink)
        connect(m, core.host_submit, host.submit)
        connect(m, host.payload, core.host_payload)
        m.d.comb += [
            host.rx.eq(self.host_rx),
            self.host_tx.eq(host.tx),
            host.divisor.eq(self.host_divisor),
            host.generation.eq(self.generation),
            core.host_flushed.eq(host.flushed),
            Value.cast(core.host_counts).eq(count_events(host)),
            self.host_up.eq(host.up),
        ]

        for n, pins in enumerate(self.links):
            line = LinkEngine(role=Role.TARGET, window=g.window, max_payload=g.track_bytes,
                              fingerprint=g.fingerprint, discard_when_down=True,
                              check_crc=lacks(self._mutation, Mutation.CRC_NOT_CHECKED))
            m.submodules[f"link_{n}"] = line
            connect(m, line.events, core.events[n])
            connect(m, line.sink, core.sinks[n])
            connect(m, core.statuses[n], line.submit)
            # Status frames have no payload, so nothing is at ``line.payload``.
            m.d.comb += [
                line.rx.eq(pins.rx),
                pins.tx.eq(line.tx),
                line.divisor.eq(self.link_divisor),
                line.generation.eq(self.generation),
                Value.cast(core.link_counts[n]).eq(count_events(line)),
                core.links_up[n].eq(line.up),
            ]
        m.d.comb += self.links_up.eq(core.links_up)
        return m
