"""The order of chains: pipelining, refusals, retries and lost sessions, without a board."""

import random

import pytest

from firmware_model.wire import Code
from host_tools.chains import (
    FRAMES_IN_FLIGHT,
    LONGEST_RETRY,
    RETRY_SECONDS,
    ChainBook,
    Holding,
    State,
    Ticket,
)
from host_tools.errors import BoardError, ProtocolError


class Bench:
    """A book, and what it committed."""

    def __init__(self, sets=2, committed=None):
        self.committed = []
        self.book = ChainBook(committed or [0] * sets,
                              lambda s, n, w: self.committed.append((s, n, w[0][1])))
        self.tags = {}
        self.now = 0.0

    def add(self, *tracks, set_=0, volume=0):
        tickets = []
        for track in tracks:
            ticket = Ticket(((volume, track, b""),), set_)
            self.book.add(ticket)
            tickets.append(ticket)
        return tickets

    def send(self):
        """Everything that may go out now: tracks, with R for RESUME."""
        sent = []
        while (ticket := self.book.next_chain(self.now)) is not None:
            tag = len(self.tags)
            self.tags[tag] = ticket
            resume = self.book.mark_sent(ticket, tag)
            sent.append(f"{ticket.writes[0][1]}{'R' if resume else ''}")
        return sent

    def answer(self, ticket, code=Code.OK, number=None):
        volume, track, _ = ticket.writes[0]
        if number is None:
            number = self.book.queues[ticket.set].committed + 1
        detail = number if code == Code.OK else volume << 8 | track << 16
        self.book.answered(ticket.tag, code, detail, self.now)


    def recover(self, *, scanned=0, contents=None, **counts):
        """The board holds ``s0=..`` chains of set 0 and so on, and what was written is there."""
        held = {int(name[1:]): Holding(count, scanned) for name, count in counts.items()}
        claimed = self.book.claims(held)
        self.book.recovered(held, claimed | (contents or {}))


def test_chains_go_out_in_order_and_only_the_first_resumes():
    bench = Bench()
    tickets = bench.add(1, 2, 3)
    assert bench.send() == ["1R", "2", "3"]     # a fence may stand from an earlier session
    for ticket in tickets:
        bench.answer(ticket)
    assert bench.committed == [(0, 1, 1), (0, 2, 2), (0, 3, 3)]
    assert [t.number for t in tickets] == [1, 2, 3]
    assert bench.book.outstanding == 0


@pytest.fixture
def flowing():
    """A bench whose set 0 has committed its first chain."""
    bench = Bench()
    first, = bench.add(0)
    bench.send()
    bench.answer(first)
    return bench


def test_refused_chains_keep_their_order(flowing):
    a, b, c = flowing.add(1, 2, 3)
    assert flowing.send() == ["1", "2", "3"]
    flowing.answer(a, Code.COLLISION)
    d, = flowing.add(4)
    assert flowing.send() == []             # nothing overtakes
    flowing.answer(b, Code.FENCED)
    flowing.book.reconnected(0)
    assert flowing.send() == []             # c has not been answered yet
    flowing.answer(c, Code.FENCED)
    assert flowing.send()[0] == "1R"
    for ticket in (a, b, c, d):
        flowing.send()
        flowing.answer(ticket)
    assert [track for _, _, track in flowing.committed] == [0, 1, 2, 3, 4]


def test_reconnect_of_another_volume_does_not_resume(flowing):
    a, = flowing.add(1)
    flowing.send()
    flowing.answer(a, Code.COLLISION)
    flowing.book.reconnected(3)
    assert flowing.send() == []
    flowing.book.reconnected(0)
    assert flowing.send() == ["1R"]


def test_slow_retry_when_the_notice_is_lost(flowing):
    a, = flowing.add(1)
    flowing.send()
    flowing.answer(a, Code.DISCONNECTED)
    flowing.now += RETRY_SECONDS * 0.9
    assert flowing.send() == []
    assert flowing.book.next_event() == pytest.approx(RETRY_SECONDS)
    assert flowing.book.stalled
    flowing.now += RETRY_SECONDS * 0.2
    assert flowing.send() == ["1R"]
    assert not flowing.book.stalled
    waits = []
    for _ in range(5):                      # rarer and rarer, as long as the links are cut
        flowing.answer(a, Code.DISCONNECTED)
        waits.append(flowing.book.next_event() - flowing.now)
        flowing.now += waits[-1]
        assert flowing.send() == ["1R"]
    assert waits == [pytest.approx(w) for w in (4, 8, LONGEST_RETRY, LONGEST_RETRY,
                                                LONGEST_RETRY)]
    flowing.answer(a)
    assert flowing.book.stalled             # nothing is left
    b, = flowing.add(2)
    assert not flowing.book.stalled
    flowing.send()
    flowing.answer(b, Code.DISCONNECTED)
    assert flowing.book.next_event() - flowing.now == pytest.approx(RETRY_SECONDS)


def test_notice_that_overtakes_the_answer(flowing):
    a, = flowing.add(1)
    flowing.send()
    flowing.book.reconnected(0)
    flowing.answer(a, Code.DISCONNECTED)
    assert flowing.send() == ["1R"]


def test_a_refused_set_does_not_hold_up_another(flowing):
    a, = flowing.add(1)
    flowing.send()
    flowing.answer(a, Code.COLLISION)
    flowing.add(9, set_=1)
    assert flowing.send() == ["9R"]


def test_hot_track_is_retried_alone(flowing):
    a, _ = flowing.add(1, 2)
    flowing.send()
    for _ in range(2):
        flowing.answer(a, Code.COLLISION)
        for ticket in list(flowing.book.queues[0].sent):
            flowing.answer(ticket, Code.FENCED)
        flowing.book.reconnected(0)
        sent = flowing.send()
    assert sent == ["1R"]


def test_permanent_refusal_fails_one_chain_only(flowing):
    a, b = flowing.add(1, 2)
    flowing.send()
    flowing.answer(a, Code.NO_SLOTS)
    flowing.answer(b)
    assert a.state is State.FAILED
    assert isinstance(a.error, BoardError)
    assert "NO_SLOTS" in str(a.error)
    assert b.number == 2


def test_number_out_of_turn_is_noticed(flowing):
    a, = flowing.add(1)
    flowing.send()
    with pytest.raises(ProtocolError, match="another program"):
        flowing.answer(a, number=7)


def test_answers_of_a_dead_session_are_ignored(flowing):
    a, = flowing.add(1)
    flowing.send()
    old = a.tag
    assert flowing.book.session_lost() == [0]
    flowing.recover(s0=1)
    flowing.send()
    flowing.book.answered(old, Code.OK, 2, flowing.now)
    assert a.state is State.SENT


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_lost_session_commits_each_chain_once(flowing, done):
    tickets = flowing.add(1, 2, 3, 4)
    flowing.send()
    assert flowing.book.session_lost() == [0]
    assert flowing.send() == []             # not before the board has said what it holds
    flowing.recover(s0=1 + done)
    assert [track for _, _, track in flowing.committed] == [0, *range(1, done + 1)]
    for ticket in tickets[done:]:
        flowing.send()
        flowing.answer(ticket)
    assert [track for _, _, track in flowing.committed] == [0, 1, 2, 3, 4]


def test_claims_are_the_newest_writes_of_what_would_have_committed():
    bench = Bench(sets=1)
    for data in (b"a", b"b", b"c"):
        bench.book.add(Ticket(((0, 1, data), (0, data[0], data)), 0))
    bench.send()
    bench.book.session_lost()
    assert bench.book.claims({0: Holding(0)}) == {}
    assert bench.book.claims({0: Holding(2)}) == {(0, 1): b"b", (0, 97): b"a", (0, 98): b"b"}
    with pytest.raises(ProtocolError, match="was it reset"):
        bench.book.claims({0: Holding(4)})


def test_a_resynchronisation_takes_numbers(flowing):
    gaps = []
    flowing.book.on_gap = lambda set_, last: gaps.append((set_, last))
    a, b = flowing.add(1, 2)
    flowing.send()
    flowing.answer(a, number=9)
    flowing.answer(b)
    assert gaps == [(0, 8)]
    assert (a.number, b.number) == (9, 10)


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_what_is_read_back_says_what_committed_during_a_resynchronisation(done):
    """CHAINS has grown by more than there are chains in flight, or by as many by chance."""
    for count in (3, 20):
        bench = Bench(sets=1)
        tickets = [Ticket(((0, track, bytes([track])),), 0) for track in (1, 2, 3)]
        for ticket in tickets:
            bench.book.add(ticket)
        bench.send()
        bench.book.session_lost()
        bench.recover(s0=count, scanned=0xFFFFFFFF,
                      contents={(0, track): b"before" for track in (1, 2, 3)[done:]})
        assert [t.number for t in tickets[:done]] == list(range(count - done + 1, count + 1))
        assert bench.send() == [f"{track}{'R' if track == done + 1 else ''}"
                                for track in (1, 2, 3)[done:]]
        for ticket in tickets[done:]:
            bench.answer(ticket)
        assert [track for _, _, track in bench.committed] == [1, 2, 3]


def test_a_foreign_chain_is_noticed_by_what_it_wrote(flowing):
    flowing.add(1)
    flowing.send()
    flowing.book.session_lost()
    with pytest.raises(ProtocolError, match="0:1 does not hold what was written here"):
        flowing.recover(s0=2, contents={(0, 1): b"other"})


def test_lost_session_with_refused_chains(flowing):
    a, b = flowing.add(1, 2)
    flowing.send()
    flowing.answer(a, Code.COLLISION)
    assert flowing.book.session_lost() == [0]
    flowing.recover(s0=1)
    assert flowing.send() == ["1R", "2"]
    flowing.answer(a)
    flowing.answer(b)
    assert [track for _, _, track in flowing.committed] == [0, 1, 2]


@pytest.mark.parametrize("count", [0, 5])
def test_board_that_lost_or_gained_chains_is_noticed(flowing, count):
    flowing.add(1, 2)
    flowing.send()
    flowing.book.session_lost()
    with pytest.raises(ProtocolError, match="was it reset"):
        flowing.recover(s0=count)


def test_frames_in_flight_are_bounded_but_a_long_chain_still_goes():
    bench = Bench(sets=1)
    long = Ticket(tuple((0, t, b"") for t in range(FRAMES_IN_FLIGHT * 2)), 0)
    bench.book.add(long)
    assert bench.book.next_chain(0) is long
    bench.book.mark_sent(long, 0)
    bench.answer(long)
    bench.add(*range(FRAMES_IN_FLIGHT))
    assert len(bench.send()) == FRAMES_IN_FLIGHT // 2       # a chain of one is two frames


def test_random_refusals_never_change_the_order():
    """A little board of its own: fences, disconnects and lost sessions at random."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    bench = Bench(sets=3)
    tickets = [bench.add(n, set_=n % 3, volume=n % 3)[0] for n in range(120)]
    fenced, chains, order = [False] * 3, [0] * 3, []
    wire = []                                # chains on the line: (tag, ticket, resume)
    for _ in range(20000):
        if not bench.book.outstanding:
            break
        bench.now += 0.1
        while (ticket := bench.book.next_chain(bench.now)) is not None:
            tag = len(bench.tags)
            bench.tags[tag] = ticket
            wire.append((tag, ticket, bench.book.mark_sent(ticket, tag)))
        what = rng.random()
        if what < 0.02:
            keep = wire[:rng.randint(0, len(wire))]
            for _, ticket, resume in keep:   # arrived, but the answers are lost
                if not fenced[ticket.set] or resume:
                    fenced[ticket.set] = False
                    chains[ticket.set] += 1
                    order.append(ticket)
            wire.clear()
            unsure = bench.book.session_lost()
            bench.recover(**{f"s{s}": chains[s] for s in unsure})
        elif wire and what < 0.9:
            tag, ticket, resume = wire.pop(0)
            set_ = ticket.set
            if fenced[set_] and not resume:
                bench.book.answered(tag, Code.FENCED, 0, bench.now)
            elif rng.random() < 0.3:
                fenced[set_] = True
                bench.book.answered(tag, Code.COLLISION, set_ << 8, bench.now)
            else:
                fenced[set_] = False
                chains[set_] += 1
                order.append(ticket)
                bench.book.answered(tag, Code.OK, chains[set_], bench.now)
        elif what > 0.95:
            bench.book.reconnected(rng.randrange(3))
    assert bench.book.outstanding == 0
    assert len(order) == len(tickets)
    for set_ in range(3):
        assert [t for t in order if t.set == set_] == [t for t in tickets if t.set == set_]
        assert [n for s, _, n in bench.committed if s == set_] == list(range(set_, 120, 3))
