"""A board's registers by name, however they are reached.

:class:`~host_tools.session.Session` reads them over its own line; a
:class:`~host_tools.sharing.SharedBoard` asks the program that holds the port. What both can say
about a board is written once, here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from firmware_model import wire
from firmware_model.geometry import Geometry

from .channels import LinkControl
from .errors import BoardError, ProtocolError, UsageError
from .stats import SetPage, Stats

REGISTERS = {register.name: register for register in wire.REGISTERS}

Window = tuple[int, int]
"""(first address, count) of consecutive registers."""


def link_window(link: int) -> Window:
    """Counters of one link."""
    return wire.Reg.LINK_COUNTERS + wire.LINK_COUNTER_STRIDE * link, len(wire.LinkCounter)


def page_window(set_: int) -> Window:
    """Page of one set."""
    return wire.Reg.SET_PAGES + wire.SET_PAGE_WORDS * set_, wire.SET_PAGE_WORDS


class Registers:
    """What can be asked of a board by its registers.

    A subclass provides ``name``, ``geometry``, ``role``, :meth:`read_windows` and
    :meth:`set_registers`.

    Attributes
    ----------
    name : str
        What messages call the board, usually its port.
    geometry : Geometry
    role : wire.Role
    """

    name: str
    geometry: Geometry
    role: wire.Role

    def read_windows(self, windows: Sequence[Window]) -> list[list[int]]:
        """Values of each window, all of them asked for at once. Raises BoardError."""
        raise NotImplementedError

    def set_registers(self, values: Sequence[tuple[int, int]]) -> None:
        """Write several (address, value) at once. Raises BoardError."""
        raise NotImplementedError

    # -- registers ---------------------------------------------------------------------------

    def registers(self, address: int, count: int) -> list[int]:
        """``count`` registers from ``address`` on."""
        return self.read_windows([(address, count)])[0]

    def reg(self, name: str) -> int:
        """The register called ``name`` in ``wire.REGISTERS``."""
        return self.registers(_register(name).address, 1)[0]

    def set_reg(self, name: str | int, value: int) -> None:
        """Write a register, by name or address."""
        address = name if isinstance(name, int) else _register(name).address
        if not 0 <= value < 1 << 32:
            raise UsageError(f"register {name}: {value} does not fit 32 bits")
        self.set_registers([(address, value)])

    # -- what the board counts ---------------------------------------------------------------

    def cycles(self) -> int:
        """Clocks since reset."""
        low, high = self.registers(wire.Reg.CYCLES, 2)
        return low | high << 32

    def counters(self) -> dict[str, int]:
        """The side's counters by name (``wire.Counter``)."""
        return _named(wire.Counter, self.registers(wire.Reg.COUNTERS, len(wire.Counter)))

    def link_counters(self, link: int) -> dict[str, int]:
        """Counters of one link by name (``wire.LinkCounter``)."""
        self.check_link(link)
        return _named(wire.LinkCounter, self.registers(*link_window(link)))

    def page(self, set_: int) -> SetPage:
        """The page of one set."""
        return self.pages([set_])[0]

    def pages(self, sets: Iterable[int] | None = None) -> list[SetPage]:
        """The pages of ``sets``, or of all."""
        which = list(range(self.geometry.sets) if sets is None else sets)
        for set_ in which:
            self.check_set(set_)
        values = self.read_windows([page_window(set_) for set_ in which])
        return [SetPage(set_, tuple(words)) for set_, words in zip(which, values, strict=True)]

    def stats(self) -> Stats:
        """Everything the board counts, asked for at once."""
        geometry = self.geometry
        source = self.role == wire.Role.SOURCE
        side, disconnected, counters, *rest = self.read_windows([
            (wire.Reg.CYCLES, wire.Reg.LINKS_UP - wire.Reg.CYCLES + 1),
            (wire.Reg.DISCONNECTED, 1) if source else (wire.Reg.MAGIC, 1),
            (wire.Reg.COUNTERS, len(wire.Counter)),
            *(link_window(link) for link in range(geometry.links)),
            *(page_window(set_) for set_ in range(geometry.sets))])
        low, high, free_slots, up = side
        links, pages = rest[:geometry.links], rest[geometry.links:]
        return Stats(
            role=self.role.name.lower(), cycles=low | high << 32, free_slots=free_slots,
            links_up=[n for n in range(geometry.links) if up >> n & 1],
            disconnected=disconnected[0] if source else None,
            counters=_named(wire.Counter, counters),
            links=[_named(wire.LinkCounter, values) for values in links],
            sets=[SetPage(set_, tuple(words)) for set_, words in enumerate(pages)])

    def read_volume_sets(self) -> list[int]:
        """Consistency set of each volume; a target does not know, and assumes those at reset.

        Raises ProtocolError if a volume is said to be in a set that the board has not.
        """
        if self.role != wire.Role.SOURCE:
            return [self.geometry.initial_set(v) for v in range(self.geometry.volumes)]
        sets = self.registers(wire.Reg.VOLUME_SET, self.geometry.volumes)
        for volume, set_ in enumerate(sets):
            if set_ >= self.geometry.sets:
                raise ProtocolError(f"{self.name} says that volume {volume} is in set {set_}, and "
                                    f"has sets 0..{self.geometry.sets - 1} only")
        return sets

    def link(self, number: int, towards: str = "both") -> LinkControl:
        """The channel emulator of one link: cut it, restore it, delay it, disturb it."""
        self.check_link(number)
        return LinkControl(self, number, towards)

    # -- checks ------------------------------------------------------------------------------

    def check_set(self, set_: int) -> None:
        """Raise UsageError unless the set exists."""
        if not 0 <= set_ < self.geometry.sets:
            raise UsageError(f"set {set_} is outside 0..{self.geometry.sets - 1} of this board")

    def check_link(self, number: int) -> None:
        """Raise UsageError unless the link exists."""
        if not 0 <= number < self.geometry.links:
            raise UsageError(
                f"link {number} is outside 0..{self.geometry.links - 1} of this board")


def _named(names: type[wire.Counter] | type[wire.LinkCounter],
           values: Sequence[int]) -> dict[str, int]:
    return {name.name.lower(): values[name] for name in names}


def _register(name: str) -> wire.Register:
    try:
        return REGISTERS[name]
    except KeyError:
        raise UsageError(f"no register {name!r}: one of {', '.join(REGISTERS)}") from None


def code_name(code: int) -> str:
    """Name of an answer's code."""
    try:
        return wire.Code(code).name
    except ValueError:
        return f"code {code}"


def refused(name: str, what: str, code: int) -> BoardError:
    """The board answered a request with a code other than OK."""
    return BoardError(f"{name}: {what}: {code_name(code)}", code)
