"""Who is at the other end of a line, and since when."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from firmware_model import wire

from .interfaces import header

__all__ = ["Session", "check_fingerprint"]


def check_fingerprint(fingerprint):
    """Raise ``ValueError`` unless ``fingerprint`` fits the hello."""
    if not 0 <= fingerprint < 1 << 16:
        raise ValueError(f"fingerprint {fingerprint} does not fit 16 bits")


class Session(wiring.Component):
    """Keeps both ends of a line in the same session.

    Each end numbers its own sessions (``my``, 1..255) and remembers the last number heard from
    the other (``peer``). A hello says both. An end is up once it hears its own number back.

    * Not up: the hello's session becomes ``peer``; if it echoes ``my`` the session rises.
    * Up, and the hello repeats exactly this session: nothing changes.
    * Up, and it does not: the other end has started over, so this one does too.

    Why ``my`` changes whenever a session ends: an end that comes up begins both sequence spaces
    at 0. If it could come up again under the old number while the other never noticed, the two
    would disagree about every number from then on. With a new number the other end must notice.
    Why old frames do no harm: the line keeps order, and an end hears its own new number back
    only after everything the other sent before it knew.

    A hello is answered at once if the session changed, if the other does not know ``my`` yet,
    or if it is not up itself; an answer to a good answer is never needed, so this stops.

    A hello from this side's own role (a line looped back), of another protocol version, or of
    another geometry (fingerprint; 0 on either side matches any) is ignored, with ``mismatch``.

    Parameters
    ----------
    role : wire.Role
        Who we are.
    fingerprint : int
        Of our geometry, 16 bits; 0 matches any.

    Members
    -------
    generation : In(16)
        Resets of this side; the first session is numbered by its low byte (0 becomes 1), so
        that a hello of a former life rarely fits this one.
    hello : In(64)
        Header of a received HELLO: with ``heard``, and in the clock before, which must be neither
        that of another ``heard`` nor of ``dead``.
    heard : In(1)
        One clock.
    dead : In(1)
        One clock: the line does not answer, or its session must end for another reason. Whether
        it was up or not, the next one has a new number. Not together with ``heard``.
    up : Out(1)
        A session is established. Falls and rises in the clock after ``fallen`` and ``risen``.
    fallen, risen : Out(1)
        One clock, in that of ``heard`` or ``dead``.
    answer : Out(1)
        One clock with ``heard``: send a hello now.
    mismatch : Out(1)
        The last hello was one we cannot work with. Cleared by a good one.
    my, peer : Out(8)
        The session's two numbers.
    greeting : Out(64)
        Header of our HELLO.
    """

    generation: In(16)
    hello: In(64)
    heard: In(1)
    dead: In(1)
    up: Out(1)
    fallen: Out(1)
    risen: Out(1)
    answer: Out(1)
    mismatch: Out(1)
    my: Out(8)
    peer: Out(8)
    greeting: Out(64)

    def __init__(self, *, role, fingerprint=0):
        check_fingerprint(fingerprint)
        self._role = wire.Role(role)
        self._fingerprint = fingerprint
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        layout = header(wire.Type.HELLO)
        theirs = Signal(layout)
        mine = Signal(layout)
        raw = Signal(8)             # 0 before the first session, else ``my``
        m.d.comb += [
            theirs.eq(self.hello),
            mine.version.eq(wire.PROTOCOL_VERSION),
            mine.role.eq(self._role),
            mine.session.eq(self.my),
            mine.echo.eq(self.peer),
            mine.flags.eq(self.up),
            mine.generation.eq(self.generation[:8]),
            mine.fingerprint.eq(self._fingerprint),
            self.greeting.eq(mine),
        ]

        # What a hello says is known in the clock after it is seen.
        fits = Signal()
        m.d.sync += fits.eq((theirs.version == wire.PROTOCOL_VERSION)
                            & (theirs.role != self._role))
        if self._fingerprint:
            with m.If((theirs.fingerprint != 0) & (theirs.fingerprint != self._fingerprint)):
                m.d.sync += fits.eq(0)

        # Until a session has fallen, the number is the generation's: a signal cannot be a
        # reset value.
        first = Signal(8)
        m.d.comb += [
            first.eq(Mux(self.generation[:8] == 0, 1, self.generation[:8])),
            self.my.eq(Mux(raw == 0, first, raw)),
        ]

        knows_me = Signal()
        same = Signal()
        m.d.sync += [
            knows_me.eq(theirs.echo == self.my),
            same.eq((theirs.echo == self.my) & (theirs.session == self.peer)),
        ]
        with m.If(self.heard):
            m.d.sync += self.mismatch.eq(~fits)
        with m.If(self.heard & fits):
            m.d.sync += self.peer.eq(theirs.session)
            m.d.comb += [
                self.risen.eq(~self.up & knows_me),
                self.fallen.eq(self.up & ~same),
                self.answer.eq(self.risen | self.fallen | ~knows_me
                               | ~theirs.flags[wire.HelloFlag.UP.bit_length() - 1]),
            ]
        with m.If(self.dead & self.up):
            m.d.comb += self.fallen.eq(1)

        with m.If(self.risen):
            m.d.sync += self.up.eq(1)
        with m.If(self.fallen | self.dead):
            m.d.sync += [self.up.eq(0), raw.eq(Mux(self.my == 255, 1, self.my + 1))]
        return m
