"""Fair sharing: who is next, and many clients on one port.

Everything here is round robin: of the clients that ask, the first after the one served last is
served next, so nobody waits for more than all the others once.
"""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .interfaces import MemoryPort, RegisterPort

__all__ = ["MemoryArbiter", "RegisterArbiter", "RoundRobin", "StreamMerge"]


def _check_clients(clients):
    if not isinstance(clients, int) or clients < 1:
        raise ValueError(f"clients must be at least 1, not {clients!r}")


class RoundRobin(wiring.Component):
    """Picks the first request after ``last``; combinational, keeps no state.

    Parameters
    ----------
    clients : int
        At least 1.

    Members
    -------
    requests : In(clients)
        Bit *n*: client *n* asks.
    last : In(range(clients))
        Served last: the one to come last in the search.
    next : Out(range(clients))
        Whose turn it is; meaningless unless ``valid``.
    valid : Out(1)
        Somebody asks.
    """

    def __init__(self, clients):
        _check_clients(clients)
        self.clients = clients
        super().__init__({
            "requests": In(clients),
            "last": In(range(clients)),
            "next": Out(range(clients)),
            "valid": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        later = Signal(self.clients)        # of the requests, those after ``last``
        eligible = Signal(self.clients)     # the first of these is next
        m.d.comb += [
            self.valid.eq(self.requests.any()),
            later.eq(Cat(request & (self.last < n) for n, request in enumerate(self.requests))),
            eligible.eq(Mux(later.any(), later, self.requests)),
        ]
        # Later assignments win, so the first comes last.
        for n in reversed(range(self.clients)):
            with m.If(eligible[n]):
                m.d.comb += self.next.eq(n)
        return m


class _PortArbiter(wiring.Component):
    """Gives one request/ack port to many clients, a transfer at a time.

    A transfer costs one clock more than on the port itself, or three if it is ``registered``: then
    ``req`` and ``addr`` pass a register, and so does the answer. Between transfers the shared port
    shows what its last client shows, without ``req``.
    """

    def __init__(self, clients, signature, writers, *, registered=False):
        _check_clients(clients)
        self._registered = registered
        self._writers = clients if writers is None else writers
        if not isinstance(self._writers, int) or not 0 <= self._writers <= clients:
            raise ValueError(f"writers {writers!r} is outside 0..{clients}: they are the first of "
                             "the clients")
        super().__init__({"clients": In(signature).array(clients), "port": Out(signature)})

    def elaborate(self, platform):
        m = Module()
        count = len(self.clients)
        m.submodules.turn = turn = RoundRobin(count)
        owner = Signal(range(count))
        busy = Signal()
        port = self.port
        asks = Signal()
        addr = Signal.like(port.addr)
        answered = Signal()
        answers = {name: getattr(port, name) for name, member in port.signature.members.items()
                   if member.flow is In and name != "ack"}
        if self._registered:
            m.d.sync += [port.req.eq(asks & ~port.ack), port.addr.eq(addr),
                         answered.eq(busy & port.ack)]
            with m.If(busy):
                for name, answer in answers.items():
                    answers[name] = Signal.like(answer, name=f"last_{name}")
                    m.d.sync += answers[name].eq(answer)
        else:
            m.d.comb += [port.req.eq(asks), port.addr.eq(addr), answered.eq(busy & port.ack)]
        m.d.comb += [
            # Who is answered from a register still asks while the next one may be chosen.
            turn.requests.eq(Cat(client.req & ~(self._registered & client.ack)
                                 for client in self.clients)),
            turn.last.eq(owner),
        ]

        with m.If(~busy):
            m.d.sync += busy.eq(turn.valid)
            with m.If(turn.valid):
                m.d.sync += owner.eq(turn.next)
        with m.Elif(port.ack):
            m.d.sync += busy.eq(0)

        for n, client in enumerate(self.clients):
            m.d.comb += [getattr(client, name).eq(answer) for name, answer in answers.items()]
            with m.If(owner == n):
                m.d.comb += [asks.eq(busy & client.req), addr.eq(client.addr),
                             client.ack.eq(answered)]
        # Who only reads need not be kept out.
        for n, client in enumerate(self.clients[:self._writers]):
            with m.If(owner == n):
                m.d.comb += port.we.eq(client.we)
            with m.If((owner == n) | (self._writers == 1)):
                m.d.comb += port.wdata.eq(client.wdata)
        return m


class MemoryArbiter(_PortArbiter):
    """Shares one :class:`MemoryPort` among ``clients``, a byte at a time, round robin.

    Parameters
    ----------
    clients : int
    addr_width : int
    writers : int, optional
        Only so many of the clients, the first ones, ever write; ``we`` of the others is ignored.

    Members
    -------
    clients : In(MemoryPort(addr_width)).array(clients)
    port : Out(MemoryPort(addr_width))
    """

    def __init__(self, clients, addr_width, *, writers=None):
        super().__init__(clients, MemoryPort(addr_width), writers)


class RegisterArbiter(_PortArbiter):
    """Shares one :class:`RegisterPort` among ``clients``, an access at a time, round robin.

    ``req`` and ``addr`` come from registers, since much is decided on them, and the answer does,
    since it comes from afar: a transfer costs three clocks more than on the port itself.

    Parameters
    ----------
    clients : int
    writers : int, optional
        Only so many of the clients, the first ones, ever write; ``we`` of the others is ignored.

    Members
    -------
    clients : In(RegisterPort()).array(clients)
    port : Out(RegisterPort())
    """

    def __init__(self, clients, *, writers=None):
        super().__init__(clients, RegisterPort(), writers, registered=True)


class StreamMerge(wiring.Component):
    """Many streams into one, round robin, an element at a time.

    The choice is made in one clock and stands until the element is taken: one element in two
    clocks at most, and valid and payload never change before they are taken.

    Parameters
    ----------
    inputs : int
        At least 1.
    shape : ShapeLike
        Of the payload.

    Members
    -------
    i : In(stream.Signature(shape)).array(inputs)
    o : Out(stream.Signature(shape))
    chosen : Out(range(inputs))
        Whose element is offered.
    """

    def __init__(self, inputs, shape):
        _check_clients(inputs)
        super().__init__({
            "i": In(stream.Signature(shape)).array(inputs),
            "o": Out(stream.Signature(shape)),
            "chosen": Out(range(inputs)),
        })

    def elaborate(self, platform):
        m = Module()
        count = len(self.i)
        m.submodules.turn = turn = RoundRobin(count)
        owner = Signal(range(count))
        busy = Signal()
        m.d.comb += [turn.requests.eq(Cat(i.valid for i in self.i)), turn.last.eq(owner)]

        with m.If(~busy):
            m.d.sync += busy.eq(turn.valid)
            with m.If(turn.valid):
                m.d.sync += owner.eq(turn.next)
        with m.Elif(self.o.ready):
            m.d.sync += busy.eq(0)

        m.d.comb += [self.o.valid.eq(busy), self.chosen.eq(owner)]
        with m.Switch(owner):
            for n, i in enumerate(self.i):
                with m.Case(n):
                    m.d.comb += [self.o.payload.eq(i.payload), i.ready.eq(busy & self.o.ready)]
        return m
