"""What has been submitted to a line and is not yet acknowledged."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .interfaces import Descriptor
from .rxwindow import check_window

__all__ = [
    "ARG_PLACE",
    "ENTRY_PLACES",
    "INITIAL_TRIP",
    "KIND_PLACE",
    "TIMER_BITS",
    "TRIES",
    "Acknowledgement",
    "TransmitWindow",
    "check_times",
]

# Bytes of a stored descriptor. Places 0..9 are the head of the frame as it is sent (place 1
# belongs to lseq, which is the entry's own number and not stored).
ENTRY_PLACES = 16
KIND_PLACE = 10
ARG_PLACE = 11
LAST_PLACE = 13

# Round trips are counted in units of 64 bit times up to 2**17 - 1 of them: 8.4 million bits.
TIMER_BITS = 17

# Time-outs in a row that end a session. Few: a session that is down says hello every millisecond
# or so and comes up as soon as the line does, while one that is up waits twice as long each time.
TRIES = 5

# With more the last wait alone would be more than a hundred times the first.
MOST_TRIES = 8

# Round trip assumed in a new session, in units: 8192 bits, 8 milliseconds at 1 Mbaud. A longer
# one is found out as long as it is shorter than the last wait, 2**(TRIES - 1) times the first: see
# the class.
INITIAL_TRIP = 128

# State of one entry. ``order`` numbers transmissions; ``again``: sent more than once.
Book = data.StructLayout({"order": 8, "acked": 1, "lost": 1, "again": 1})

Acknowledgement = data.StructLayout({"base": 8, "map": 32})


def check_times(patience, initial_trip, tries):
    """Raise ``ValueError`` unless a transmit window can wait like that."""
    most = (1 << TIMER_BITS) - 1
    reason = f"round trips are counted with {TIMER_BITS} bits"
    if not 1 <= patience <= most:
        raise ValueError(f"patience {patience} is outside 1..{most}: {reason}")
    if not 0 <= initial_trip <= most:
        raise ValueError(f"initial_trip {initial_trip} is outside 0..{most}: {reason}")
    if not 1 <= tries <= MOST_TRIES:
        raise ValueError(f"tries {tries} is outside 1..{MOST_TRIES}: every one doubles the wait")


class TransmitWindow(wiring.Component):
    """Keeps descriptors until they are acknowledged; decides what is sent next and again.

    Entries are numbered by ``lseq``; ``tail <= fresh``: acknowledged below ``tail``, sent below
    ``fresh``; ``fresh`` itself is submitted if ``unsent``. A descriptor lies byte by byte in block
    RAM (the payload stays where it is and is fetched again for each transmission), its state in a
    second small memory that one machine scans, two clocks an entry: a frame lasts longer than
    any scan.

    *Loss.* The line keeps order, so when a frame is acknowledged, everything transmitted before
    it and not acknowledged is lost, and is sent again at once. Transmissions are numbered
    modulo 256; unacknowledged ones are always less than 128 apart, since at most ``window`` are
    outstanding and at most ``MOST_TRIES`` happen without an acknowledgement.

    *Time-out.* When nothing has been acknowledged for 2 x round trip + ``patience`` the oldest
    frame alone is sent again. Its acknowledgement shows by the rule above which of the others
    are lost, so a window full of lost frames costs one time-out. The wait doubles at every
    time-out until a frame that was sent only once is acknowledged (the acknowledgement of a
    repeated frame does not tell which copy it means, hence neither how long it took). After
    ``tries`` of them ``dead`` asks for the end of the session. The round trip is the last one
    measured, of a frame sent once.

    *How long a round trip may be.* One that is measured, up to 2**17 - 1 units. One that is not
    yet, in a new session, or one that has grown: up to ``2**(tries - 1)`` periods of 2 x
    ``initial_trip`` (or the trip last measured) + ``patience``. With 5 tries and nothing measured
    that is 262144 bits + 16 x ``patience``; beyond, a session that sends lone frames dies before
    it has learnt how long to wait.

    To empty the window, reset the component: nothing else is kept between sessions.

    Parameters
    ----------
    window : int
        Entries; a power of two of 4..32.
    patience : int
        Constant part of the time-out, in units of 64 bits, at least 1.
    initial_trip : int
        Round trip assumed until one was measured, in units of 64 bits.
    tries : int
        Time-outs in a row that end the session, 1..``MOST_TRIES``.

    Members
    -------
    open : In(1)
        A session is up. Nothing is taken, offered or timed otherwise.
    submit : In(stream.Signature(Descriptor))
        Taken (in 16 clocks) while the window has room and everything submitted before has been
        sent at least once: whoever shares frames among lines gives the next frame to the line
        that needs it, and the line never waits for one.
    room : Out(1)
        A descriptor would have been taken a clock ago, and none was under way: it is for those who
        choose among lines.
    offer : Out(1)
        There is something to send.
    pick : In(1)
        Choose it; held until ``granted``, or until ``offer`` has fallen.
    granted : Out(1)
        One clock; ``lseq`` is the entry to be sent now.
    lseq : Out(8)
        With ``granted``.
    again : Out(1)
        With ``granted``: it had been sent before.
    reading : In(1)
        The entry ``read_lseq`` must not be overwritten.
    read_lseq : In(8)
        Entry to be read.
    read_place : In(4)
        Byte of it.
    read_data : Out(8)
        The byte addressed in the clock before.
    ack : In(stream.Signature(Acknowledgement))
        Taken when it has been worked in, at most 4 * window + 5 clocks after valid (twice that
        if a scan is going on). One that does not fit the window is ignored.
    unit : In(1)
        One clock every 64 bit times.
    timeout : Out(1)
        One clock for each time-out.
    dead : Out(1)
        The last time-out; stays until reset.
    """

    def __init__(self, *, window, patience, initial_trip=INITIAL_TRIP, tries=TRIES):
        check_window(window)
        check_times(patience, initial_trip, tries)
        self._window = window
        self._patience = patience
        self._initial_trip = initial_trip
        self._tries = tries
        super().__init__({
            "open": In(1),
            "submit": In(stream.Signature(Descriptor)),
            "room": Out(1),
            "offer": Out(1),
            "pick": In(1),
            "granted": Out(1),
            "lseq": Out(8),
            "again": Out(1),
            "reading": In(1),
            "read_lseq": In(8),
            "read_place": In(range(ENTRY_PLACES)),
            "read_data": Out(8),
            "ack": In(stream.Signature(Acknowledgement)),
            "unit": In(1),
            "timeout": Out(1),
            "dead": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        index_bits = (self._window - 1).bit_length()

        def index(lseq):
            return lseq[:index_bits]

        m.submodules.descriptors = descriptors = Memory(
            shape=8, depth=self._window * ENTRY_PLACES, init=[])
        store = descriptors.write_port()
        fetch = descriptors.read_port()     # ``reading`` keeps writes away: old data will do
        m.submodules.books = books = Memory(shape=Book, depth=self._window, init=[])
        note = books.write_port()
        recall = books.read_port()          # an entry is read a clock after any write to it

        tail = Signal(8)
        fresh = Signal(8)
        unsent = Signal()
        scan = Signal(8)
        order = Signal(8)                   # of the next transmission
        newest = Signal(8, init=0xFF)       # newest transmission known to have arrived
        any_lost = Signal()
        place = Signal(range(ENTRY_PLACES))

        # -- time --------------------------------------------------------------------------
        # A wait of 2**tries periods, each 2 x round trip + patience: so doubling is counting.

        round_trip = Signal(TIMER_BITS, init=self._initial_trip)
        trip = Signal(TIMER_BITS)           # of the frame being timed; saturates
        timing = Signal()
        timed = Signal(8)
        timer = Signal(TIMER_BITS + 2)
        period = Signal(TIMER_BITS + 2, init=2 * self._initial_trip + self._patience)
        periods = Signal(self._tries - 1)
        tries = Signal(range(self._tries))
        expired = Signal()
        period_over = Signal()
        m.d.sync += [
            period.eq((round_trip << 1) + self._patience),
            period_over.eq(timer == period),        # units are many clocks apart
        ]

        def rest():
            """Start waiting anew."""
            return [timer.eq(0), expired.eq(0),
                    periods.eq(Cat(tries > i for i in range(self._tries - 1)))]

        with m.If(self.unit & ~trip.all()):
            m.d.sync += trip.eq(trip + 1)
        with m.If(self.unit):
            m.d.sync += timer.eq(timer + 1)
            with m.If(period_over):
                m.d.sync += [timer.eq(0), periods.eq(periods - 1)]
                with m.If(periods == 0):
                    m.d.sync += expired.eq(1)
        # Of a clock ago: ``expired`` is looked at two clocks after a change of ``tail`` or later.
        is_idle = Signal(init=1)
        m.d.sync += is_idle.eq(tail == fresh)
        with m.If(is_idle):
            m.d.sync += rest()

        # -- entries -----------------------------------------------------------------------

        descriptor = self.submit.payload
        entry = Signal(Book)
        submitted = Signal()
        is_free = Signal()                  # the place behind the last entry
        has_room = Signal()
        storing = Signal()
        # Of a clock ago: what is submitted then waits to be sent, what is acknowledged since or
        # has been read only makes room, and what is being read was sent, and frees no place yet.
        m.d.sync += [
            submitted.eq(self.submit.valid & self.open),
            is_free.eq(((fresh + unsent - tail)[:8] != self._window)
                       & ~(self.reading & (index(fresh + unsent) == index(self.read_lseq)))),
            self.room.eq(self.open & has_room & ~storing),
        ]
        m.d.comb += [
            has_room.eq(is_free & ~unsent),
            fetch.addr.eq(Cat(self.read_place, index(self.read_lseq))),
            fetch.en.eq(1),
            self.read_data.eq(fetch.data),
            recall.addr.eq(index(scan)),
            recall.en.eq(1),
            entry.eq(recall.data),
            note.addr.eq(index(scan)),
            note.data.eq(entry),
            self.offer.eq(self.open & (any_lost | unsent)),
            self.lseq.eq(scan),
        ]

        # The byte is chosen in one clock and written in the next.
        m.d.sync += [
            store.en.eq(storing),
            store.addr.eq(Cat(place, index(fresh))),
            store.data.eq(Cat(descriptor.type, C(0, 8), descriptor.header,
                              Value.cast(descriptor.kind), C(0, 5), descriptor.arg)
                          .word_select(place, 8)),
        ]

        def grant(again):
            """Number this transmission of entry ``scan``."""
            m.d.comb += [self.granted.eq(1), self.again.eq(again), note.en.eq(1),
                         note.data.order.eq(order), note.data.acked.eq(0),
                         note.data.lost.eq(0), note.data.again.eq(again)]
            m.d.sync += order.eq(order + 1)

        from_base = Signal(8)
        is_acked = Signal()
        is_older = Signal()
        m.d.comb += [
            from_base.eq(scan - self.ack.payload.base),
            is_older.eq((entry.order - newest)[7]),
        ]
        # Before base, or marked in the map. Known when the entry is: ``scan`` stands while it is
        # read.
        m.d.sync += is_acked.eq(from_base[7]
                                | self.ack.payload.map.bit_select(from_base[:5], 1))
        progress = Signal()
        sent_once = Signal()

        with m.FSM():
            with m.State("WAIT FOR WORK"):
                m.d.sync += [scan.eq(tail), place.eq(0), progress.eq(0), sent_once.eq(0)]
                with m.If(self.ack.valid):
                    m.next = "JUDGE ACK"
                with m.Elif(expired & ~is_idle):
                    m.next = "TIME OUT"
                with m.Elif(self.pick & self.open & any_lost):
                    m.next = "SEEK LOST"
                with m.Elif(self.pick & self.open & unsent):
                    m.d.sync += scan.eq(fresh)
                    m.next = "SEND FRESH"
                with m.Elif(submitted & self.open & has_room):
                    m.next = "STORE DESCRIPTOR"

            with m.State("STORE DESCRIPTOR"):
                m.d.comb += storing.eq(1)
                m.d.sync += place.eq(place + 1)
                with m.If(place == LAST_PLACE):
                    m.d.comb += self.submit.ready.eq(self.open)
                    m.d.sync += unsent.eq(1)
                    m.next = "WAIT FOR WORK"

            with m.State("SEND FRESH"):
                grant(again=0)
                m.d.sync += [fresh.eq(fresh + 1), unsent.eq(0)]
                with m.If(~timing):
                    m.d.sync += [timing.eq(1), timed.eq(scan), trip.eq(0)]
                m.next = "WAIT FOR WORK"

            with m.State("SEEK LOST"):
                with m.If(scan == fresh):
                    m.d.sync += any_lost.eq(0)
                    m.next = "WAIT FOR WORK"
                with m.Else():
                    m.next = "SEND LOST"
            with m.State("SEND LOST"):
                with m.If(entry.lost & ~entry.acked):
                    grant(again=1)
                    with m.If(timed == scan):
                        m.d.sync += timing.eq(0)
                    m.next = "WAIT FOR WORK"
                with m.Else():
                    m.d.sync += scan.eq(scan + 1)
                    m.next = "SEEK LOST"

            with m.State("TIME OUT"):
                m.d.comb += self.timeout.eq(1)
                # The oldest is not acknowledged, or it would not be the oldest. Its number
                # must not pass for news if it is acknowledged before it is sent again.
                m.d.comb += [note.en.eq(1), note.data.order.eq(newest),
                             note.data.acked.eq(0), note.data.lost.eq(1), note.data.again.eq(1)]
                m.d.sync += [any_lost.eq(1), tries.eq(tries + 1), timer.eq(0), expired.eq(0),
                             periods.eq(Cat(tries >= i for i in range(self._tries - 1)))]
                with m.If(tries == self._tries - 1):
                    m.next = "GIVE UP"
                with m.Else():
                    m.next = "WAIT FOR WORK"
            with m.State("GIVE UP"):
                m.d.comb += self.dead.eq(1)

            with m.State("JUDGE ACK"):
                with m.If((self.ack.payload.base - tail)[:8] <= (fresh - tail)[:8]):
                    m.next = "READ ENTRY"
                with m.Else():
                    m.next = "LET GO OF ACK"
            with m.State("LET GO OF ACK"):
                m.d.comb += self.ack.ready.eq(1)
                with m.If(progress):
                    m.d.sync += rest()
                m.next = "WAIT FOR WORK"
            with m.State("READ ENTRY"):
                with m.If(scan == fresh):
                    m.d.sync += scan.eq(tail)
                    with m.If(sent_once):
                        m.d.sync += tries.eq(0)
                    m.next = "REREAD ENTRY"
                with m.Else():
                    m.next = "MARK ENTRY"
            with m.State("MARK ENTRY"):
                m.d.sync += scan.eq(scan + 1)
                with m.If(is_acked & ~entry.acked):
                    m.d.comb += [note.en.eq(1), note.data.acked.eq(1)]
                    m.d.sync += progress.eq(1)
                    with m.If(~is_older):
                        m.d.sync += newest.eq(entry.order)
                    with m.If(~entry.again):
                        m.d.sync += sent_once.eq(1)
                    with m.If(timing & (timed == scan)):
                        m.d.sync += [timing.eq(0), round_trip.eq(trip)]
                m.next = "READ ENTRY"

            # Second scan, now that ``newest`` is known: what is older is lost.
            with m.State("REREAD ENTRY"):
                with m.If(scan == fresh):
                    m.next = "LET GO OF ACK"
                with m.Else():
                    m.next = "SWEEP ENTRY"
            with m.State("SWEEP ENTRY"):
                m.d.sync += scan.eq(scan + 1)
                with m.If(entry.acked & (scan == tail)):
                    m.d.sync += tail.eq(tail + 1)
                with m.Elif(~entry.acked & ~entry.lost & is_older):
                    m.d.comb += [note.en.eq(1), note.data.lost.eq(1)]
                    m.d.sync += any_lost.eq(1)
                m.next = "REREAD ENTRY"
        return m
