"""A board whose links lead outside: this program is the other system."""

from sim.tapped import TappedBoard


class LineBoard(TappedBoard):
    """Has the ports of :class:`sim.tapped.TappedBoard`, but ``source_rx`` and ``source_tx`` are
    the first link of the target, ``target_rx`` and ``target_tx`` that of the source. All other
    lines are silent. Links and hosts must have one line rate."""

    def place_systems(self, m, source, target):
        self._systems = source, target
        super().place_systems(m, source, target)

    def elaborate(self, platform):
        m = super().elaborate(platform)
        source, target = self._systems
        for system in self._systems:
            m.d.comb += [system.host_rx.eq(1), *(link.rx.eq(1) for link in system.links)]
        m.d.comb += [
            target.links[0].rx.eq(self.source_rx), self.source_tx.eq(target.links[0].tx),
            source.links[0].rx.eq(self.target_rx), self.target_tx.eq(source.links[0].tx),
        ]
        return m
