"""The source system: lines and core."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from firmware_model.wire import Role

from .interfaces import RegisterPort
from .link import LinkEngine
from .mutations import Mutation, checked, lacks
from .sourcecore import SourceCore
from .target import HOST_PATIENCE_SECONDS, count_events
from .uart import DIVISOR_BITS

__all__ = ["Source"]


class Source(wiring.Component):
    """A whole source system.

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
    destaging : Out(sets)
        Sets whose destage is wanted.
    disconnected : Out(1)
        Some volume is disconnected.
    fault : Out(1)
        An invariant was broken; held until reset.
    """

    def __init__(self, geometry, *, channel=True, mutation=None):
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
            "destaging": Out(geometry.sets),
            "disconnected": Out(1),
            "fault": Out(1),
        }
        if channel:
            members["channel"] = Out(RegisterPort())
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        m.submodules.core = core = SourceCore(g, channel=self._channel, mutation=self._mutation)
        m.d.comb += [
            core.generation.eq(self.generation),
            self.ready.eq(core.ready),
            self.destaging.eq(core.destaging),
            self.disconnected.eq(core.disconnected.any()),
            self.fault.eq(core.fault),
        ]
        if self._channel:
            connect(m, wiring.flipped(self.channel), core.channel)

        m.submodules.host_line = host = LinkEngine(
            role=Role.SOURCE, window=g.window, max_payload=g.track_bytes, ordered=True,
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
            core.host_started.eq(host.started),
            Value.cast(core.host_counts).eq(count_events(host)),
            self.host_up.eq(host.up),
        ]

        for n, pins in enumerate(self.links):
            line = LinkEngine(role=Role.SOURCE, window=g.window, max_payload=g.track_bytes,
                              fingerprint=g.fingerprint,
                              check_crc=lacks(self._mutation, Mutation.CRC_NOT_CHECKED))
            m.submodules[f"link_{n}"] = line
            connect(m, line.events, core.events[n])
            connect(m, core.submits[n], line.submit)
            connect(m, line.payload, core.payloads[n])
            m.d.comb += [
                line.rx.eq(pins.rx),
                pins.tx.eq(line.tx),
                line.divisor.eq(self.link_divisor),
                line.generation.eq(self.generation),
                line.sink.ready.eq(1),      # commit status has no payload
                Value.cast(core.link_counts[n]).eq(count_events(line)),
                core.links_up[n].eq(line.up),
                core.links_room[n].eq(line.room),
                core.links_flushed[n].eq(line.flushed),
            ]
        m.d.comb += self.links_up.eq(core.links_up)
        return m
