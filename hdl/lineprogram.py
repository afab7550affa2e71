"""The microprogram of a line bank: sessions, windows and time-outs of all lines.

Run by :class:`.linebank.LineBank`. What it does is what :class:`.link.LinkEngine` and its parts do,
and why is said there. Everything is one short job, run to its end; between two jobs the program
looks around. Nothing is awaited inside a job but a byte of a frame's head, which the transmitter
takes in ten clocks.
"""

from firmware_model import wire
from firmware_model.wire import Type

from .counters import link_tallies
from .interfaces import DESCRIPTOR_WORDS
from .microcode import Kind, Names, assemble, longest
from .rings import RingWord

__all__ = ["COUNTED", "ENTRY", "INPUTS", "MAX_WINDOW", "OUTPUTS", "SUBMITTED", "UNITS_A_BEAT",
           "UNIT_BITS", "WORDS", "line_clocks", "line_program"]

# Maps of the window are kept in one byte each.
MAX_WINDOW = 8

# Coarser than a LinkEngine's, since every unit of every line costs a job.
UNIT_BITS = 256
UNITS_A_BEAT = 4

# Reasons to speak, in the order in which they count.
SAY = {"HELLO": 1, "ACK": 2, "LOST": 4, "FRESH": 8}

# Flags that the program clears.
CLEAR = {"UNIT": 1, "WHOLE": 2, "RENEW": 4}

_RINGS = {name.lower(): value for name, value in vars(RingWord).items() if name.isupper()}

WORDS = _RINGS | {name: len(_RINGS) + n for n, name in enumerate((
    # Never written: what kind of line this is.
    "ordered",          # takes frames in turn only
    "ring_mask",        # of a ring's places
    "ring_most",        # bytes in the transmit ring from which on a longest frame has no room
    "patience",         # constant part of the time-out, in units
    "first_trip",       # round trip assumed in a new session
    "fingerprint",
    "silence",          # beats without a good frame that end the session, or 0
    "keepalive",        # beats after which something is said
    # Session
    "up", "my", "peer",
    "say",              # what is to be said, see SAY
    "units",            # of the beat
    "unsaid", "unheard",    # beats
    # Receive window
    "rx_base", "rx_map",
    # Transmit window: acknowledged below tail, sent below fresh, submitted below head. Numbers
    # count on in 16 bits; on the line are the low 8.
    "tail", "fresh", "head",
    "acked", "lost", "again",   # maps: bit n is the entry of the number n modulo 8
    "order",            # of the next transmission
    "newest",           # transmission known to have arrived
    "tries", "timer", "periods",
    "round_trip", "timing", "timed", "trip",
    # Of one job
    "scan", "base", "news", "moved",
))}

# A stored frame, and when it was sent last.
ENTRY = {name: n for n, name in enumerate((*DESCRIPTOR_WORDS, "order"))}

INPUTS = {name: n for n, name in enumerate((
    "head", "header0", "header1", "header2", "header3",     # of the frame being received
    "rx_place", "tx_place", "generation",
    *(f"submit_{name}" for name in DESCRIPTOR_WORDS),      # from SUBMITTED on
))} | {name: 16 + n for n, name in enumerate((              # flags: 0 or 1
    "first_line", "work",
    "unit", "whole", "renew", "submit", "held",             # of the line
    "rx_free", "rx_head", "rx_good", "kept", "passed",
    "tx_free", "tx_done",
))}

# The words of the descriptor that the line is offered: a multiple of eight, so that the lowest
# three bits are the number of the word.
SUBMITTED = INPUTS["submit_type"]

OUTPUTS = {name: n for n, name in enumerate((
    "wait",             # until there is anything to do
    "stay",             # do not wait next time
    "next",             # go to the next line
    "rx_line",          # go to the line whose frame is being received
    "tx_line",          # go to the line whose frame is being sent
    "ready", "clear", "set_whole", "index",
    "rx_start", "decide", "drop", "rx_close", "event",
    "up", "room", "take", "count",
    "tx_start", "head", "arg", "arg_high", "kind", "tx_close",
))}

# What happens to a line and is counted.
COUNTED = tuple(link_tallies().members)
_COUNT = {f"COUNT_{name.upper()}": 1 << bit for bit, name in enumerate(COUNTED)}


def _clear(*words):
    return "\n".join(["    LD #0", *(f"    ST {word}" for word in words)])


def _send(*operands):
    """One byte each to the frame's head."""
    return "\n".join(f"    LD {operand}\n    OUT head" for operand in operands)


def _send_words(*words):
    return "\n".join(f"    LD {word}\n    OUT head\n    SWAP\n    OUT head" for word in words)


def _copy(pairs):
    return "\n".join(f"    LD {source}\n    ST {word}" for source, word in pairs)


def _count_up(word):
    return f"    LD {word}\n    ADD #1\n    ST {word}"


def _set(word, flag):
    return f"    LD {word}\n    OR {flag}\n    ST {word}"


_TEXT = f"""
; -- after a reset, for each line ----------------------------------------------------------------
start:
{_clear(*_RINGS, "up", "peer", "units")}
    LD #SAY_HELLO
    ST say
    LD <generation              ; so that a hello of a former life rarely fits this one
    JNZ first_number
    LD #1
first_number:
    ST my
    OUT next
    LD <first_line
    JZ start
    OUT ready

; -- what to do next: frames under way, then the next line -------------------------------------
main:
    LD <work
    JNZ frame
visit:
    OUT wait
    OUT next
    LD <unit
    JNZ unit
    LD <renew
    JNZ renew
    LD <whole
    JZ speak
    LD <rx_free
    JZ speak
    OUT clear #CLEAR_WHOLE      ; first clear, then look: a frame may end in between
    LD rx_whole
    SUB rx_begin
    JZ speak
    OUT set_whole               ; perhaps there is another one behind it
    LD rx_begin
    OUT rx_start
speak:
    LD say
    JZ submit
    OUT stay                    ; what keeps it from being said gives no sign when it is gone
    LD <tx_free
    JZ submit
    LD tx_end
    SUB tx_begin
    AND ring_mask
    SUB ring_most
    JN say
submit:
    LD <submit
    JZ main

; -- take a descriptor ---------------------------------------------------------------------------
    LD head
    OUT index
{_copy((f"<submit_{name}", f"entry.{name}") for name in DESCRIPTOR_WORDS)}
{_count_up("head")}
    OUT take
{_set("say", "#SAY_FRESH")}
    JMP main

renew:
    OUT clear #CLEAR_RENEW
    CALL fall
    JMP main

; -- frames under way ----------------------------------------------------------------------------
frame:
    LD <tx_done
    JZ received
    OUT tx_line
    LD <tx_place
    ST tx_end
    OUT tx_close
    JMP main
received:
    OUT rx_line
    LD <rx_good
    JNZ good
    LD <rx_head
    JNZ judge
    JMP close                   ; it was no frame

; The head is there, its CRC is not: may the payload go to the sink?
judge:
    LD up
    JZ refuse
    LD <head
    AND #FIRST_SEQUENCED_BITS
    JZ refuse
    LD ordered
    JZ judge_map
    LD <held                    ; an Event waits: what comes now is out of turn
    JNZ refuse
    LD <head
    SWAP
    SUB rx_base
    AND #255
    JNZ refuse
    JMP keep
judge_map:
    LD <head
    SWAP
    SUB rx_base
    AND #255
    OUT index
    SUB #WINDOW
    JN judge_place
    JMP refuse
judge_place:
    LD rx_map
    AND bit
    JNZ refuse
keep:
    OUT decide #1
    JMP main
refuse:
    OUT decide #0
    JMP main

; A whole frame with a good CRC.
good:
    LD #0
    ST unheard
    LD <head
    AND #FIRST_SEQUENCED_BITS
    JNZ sequenced
    LD <head
    AND #255
    XOR #HELLO
    JZ hello
    XOR #HELLO_OR_ACK
    JZ ack
drop:
    OUT drop
close:
    LD <rx_place
    ST rx_begin
    OUT rx_close
    JMP main

sequenced:
    LD up
    JZ drop
    LD <kept
    JZ repeated
    LD <passed
    JNZ passed
    OUT event                   ; and come again when there is no need to keep the frame
    JMP main
passed:
    OUT count #COUNT_FRAMES_RECEIVED
    LD ordered
    JZ mark
{_count_up("rx_base")}
    JMP acknowledge
mark:
    LD <head
    SWAP
    SUB rx_base
    OUT index
    LD rx_map
    OR bit
slide:
    ST rx_map
    AND #1
    JZ acknowledge
{_count_up("rx_base")}
    LD rx_map
    SHR
    JMP slide
repeated:
    OUT count #COUNT_DUPLICATES
acknowledge:
{_set("say", "#SAY_ACK")}
    JMP drop

; -- sessions ------------------------------------------------------------------------------------
hello:
    LD <header0
    AND #255
    XOR #VERSION
    JNZ drop
    LD <header0
    SWAP
    AND #255
    XOR #ROLE                   ; a looped line
    JZ drop
    LD fingerprint
    JZ fits
    LD <header3
    JZ fits
    XOR fingerprint
    JNZ drop
fits:
    LD <header1
    AND #255
    ST base
    LD <header1
    SWAP
    AND #255
    XOR my
    ST news                     ; 0: the other end knows us
    LD up
    JZ hello_down
    LD base
    XOR peer
    OR news
    JZ answer
    CALL fall
    JMP hello_new
hello_down:
    LD news
    JNZ hello_new
{_clear("rx_base", "rx_map", "tail", "fresh", "head", "acked", "lost", "again", "order", "tries",
        "timing", "unsaid", "unheard")}
    LD #0
    SUB #1
    ST newest
    LD first_trip
    ST round_trip
    LD #1
    ST up
    OUT up #1
    OUT room #1
    OUT count #COUNT_SESSIONS
hello_new:
    LD base
    ST peer
    JMP answer_now
answer:
    LD <header2
    AND #FLAG_UP
    JNZ drop                    ; an answer to a good answer is never needed
answer_now:
{_set("say", "#SAY_HELLO")}
    JMP drop

; End the session; the next one has another number. What is to be said but for a hello is void.
fall:
    LD my
    ADD #1
    AND #255
    JNZ fall_number
    LD #1
fall_number:
    ST my
    LD say
    AND #SAY_HELLO
    ST say
    LD #0
    ST up
    OUT room #0
    OUT up #0
    RET

; -- acknowledgements ----------------------------------------------------------------------------
ack:
    LD up
    JZ drop
    LD <header2
    AND #255
    XOR my
    JNZ drop
    LD <head
    SWAP
    SUB tail
    AND #255
    ST base
    LD fresh
    SUB tail
    SUB base
    JN drop                     ; does not fit the window
    LD <header0
    AND #255
    ST news
ack_base:                       ; news: bit i for tail + i; all below base
    LD base
    JZ ack_entries
    SUB #1
    ST base
    LD news
    ADD news
    OR #1
    ST news
    JMP ack_base
ack_entries:
    LD #0
    ST moved
    LD tail
ack_entry:
    ST scan
    OUT index
    XOR fresh
    JZ ack_judged
    LD news
    JZ ack_judged
    AND #1
    JZ ack_next
    LD acked
    AND bit
    JNZ ack_next
ack_new:
{_set("acked", "bit")}
    ST moved                    ; it is not 0
    LD lost
    OR bit
    XOR bit
    ST lost
    LD entry.order
    SUB newest
    JN ack_older
    LD entry.order
    ST newest
ack_older:
    LD again
    AND bit
    JNZ ack_again
    LD #0                       ; sent once: so the line is there
    ST tries
ack_again:
    LD timing
    JZ ack_next
    LD timed
    XOR scan
    JNZ ack_next
    LD #0
    ST timing
    LD trip
    ST round_trip
ack_next:
    LD news
    SHR
    ST news
    LD scan
    ADD #1
    JMP ack_entry

ack_judged:
    LD moved
    JZ drop
    CALL rest
    LD tail
ack_tail:
    ST tail
    OUT index
    LD acked
    AND bit
    JZ ack_lost
    LD acked
    XOR bit
    ST acked
    LD tail
    ADD #1
    JMP ack_tail
ack_lost:                       ; the line keeps order: what was sent before the newest is lost
    LD tail
lose_entry:
    ST scan
    OUT index
    XOR fresh
    JZ lost_found
    LD acked
    OR lost
    AND bit
    JNZ lose_next
    LD entry.order
    SUB newest
    JN lose_it
lose_next:
    LD scan
    ADD #1
    JMP lose_entry
lose_it:
{_set("lost", "bit")}
    JMP lose_next
lost_found:
    CALL room
    LD lost
    JZ drop
{_set("say", "#SAY_LOST")}
    JMP drop

; A descriptor is taken when all before it are on their way and the window is not full.
room:
    LD head
    XOR fresh
    JNZ no_room
    LD head
    SUB tail
    XOR #WINDOW
    JZ no_room
    OUT room #1
    RET
no_room:
    OUT room #0
    RET

; Wait anew: 2 ** tries periods of 2 x round trip + patience.
rest:
    LD tries
    OUT index
    LD bit
    ST periods
period:
    LD round_trip
    ADD round_trip
    ADD patience
    ST timer
    RET

; -- time ----------------------------------------------------------------------------------------
unit:
    OUT clear #CLEAR_UNIT
    LD units
    ADD #1
    AND #UNITS_LESS_ONE
    ST units
    JNZ timers
    LD up
    JNZ beat
{_set("say", "#SAY_HELLO")}
    JMP main
beat:
    LD silence
    JZ timers
    LD unheard
    ADD #1
    ST unheard
    XOR silence
    JZ dead
    LD unsaid
    ADD #1
    ST unsaid
    SUB keepalive
    JN timers
{_set("say", "#SAY_ACK")}
timers:
    LD up
    JZ main
    LD trip                     ; saturates, so that 2 x round trip + patience fits a word
    ADD trip
    JN wait_on
    LD trip
    ADD #1
    ST trip
wait_on:
    LD tail
    XOR fresh
    JZ main
    LD timer
    SUB #1
    ST timer
    JNZ main
    LD periods
    SUB #1
    ST periods
    JZ time_out
    CALL period
    JMP main
time_out:
    OUT count #COUNT_TIMEOUTS
    LD tries
    ADD #1
    ST tries
    XOR #TRIES
    JZ dead
    LD tail                     ; the oldest alone: its acknowledgement shows which are lost
    OUT index
{_set("lost", "bit")}
{_set("again", "bit")}
    LD newest                   ; it must not pass for news before it is sent again
    ST entry.order
{_set("say", "#SAY_LOST")}
    CALL rest
    JMP main
dead:
    CALL fall
    JMP main

; -- say something -------------------------------------------------------------------------------
say:
    LD tx_end
    OUT tx_start
    LD #0
    ST unsaid
    LD say
    AND #SAY_HELLO
    JNZ say_hello
    LD say
    AND #SAY_ACK
    JNZ say_ack
    LD lost
    JNZ say_lost
    LD fresh
    XOR head
    JNZ say_fresh
    LD #0                       ; what was lost has been acknowledged meanwhile
    ST say
    OUT tx_close
    JMP main

say_hello:
    LD say
    XOR #SAY_HELLO
    ST say
{_send("#HELLO", "#0", "#VERSION", "#ROLE", "my", "peer", "up", "<generation")}
{_send_words("fingerprint")}
    JMP main

say_ack:
    LD say
    XOR #SAY_ACK
    ST say
    OUT count #COUNT_ACKS_SENT
{_send("#ACK", "rx_base", "rx_map", "#0", "#0", "#0", "peer", "#0", "#0", "#0")}
    JMP main

say_lost:
    LD tail
seek_lost:
    ST scan
    OUT index
    LD lost
    AND bit
    JNZ found_lost
    LD scan
    ADD #1
    JMP seek_lost
found_lost:
    LD lost
    XOR bit
    ST lost
{_set("again", "bit")}
    LD timed
    XOR scan
    JNZ resend
    LD #0
    ST timing
resend:
    OUT count #COUNT_RESENDS
    JMP say_entry

say_fresh:
    OUT count #COUNT_FRAMES_SENT
    LD fresh
    ST scan
    XOR tail
    JNZ waiting
    CALL rest
waiting:
    LD timing
    JNZ in_time
    LD scan
    ST timed
    LD #1
    ST timing
    LD #0
    ST trip
in_time:
{_count_up("fresh")}
    CALL room
    LD scan
    OUT index
    LD again
    OR bit
    XOR bit
    ST again

say_entry:
    LD say                      ; of the two reasons one is gone, the other is looked at again
    OR #SAY_LOST
    ST say
    LD entry.arg
    OUT arg
    LD entry.arg_high
    OUT arg_high
    LD entry.type
    SWAP
    OUT kind                    ; the payload is under way while the head is sent
    LD order
    ST entry.order
    ADD #1
    ST order
{_send("entry.type", "scan")}
{_send_words("entry.header0", "entry.header1", "entry.header2", "entry.header3")}
    JMP main
"""


def line_program(*, role, window, tries):
    """The program for lines of a system."""
    numbers = {
        "ROLE": role, "WINDOW": window, "TRIES": tries,
        "VERSION": wire.PROTOCOL_VERSION, "HELLO": Type.HELLO, "ACK": Type.ACK,
        "HELLO_OR_ACK": Type.HELLO ^ Type.ACK,
        "FIRST_SEQUENCED_BITS": 256 - wire.FIRST_SEQUENCED,
        "FLAG_UP": wire.HelloFlag.UP,
        "UNITS_LESS_ONE": UNITS_A_BEAT - 1,
    }
    numbers |= {f"SAY_{name}": value for name, value in SAY.items()}
    numbers |= {f"CLEAR_{name}": value for name, value in CLEAR.items()}
    return assemble(_TEXT, Names(WORDS, ENTRY, numbers | _COUNT, INPUTS, OUTPUTS))


# A byte of the head waits for the one before to be in the CRC, and for the COBS writer.
_HEAD_BYTE_CLOCKS = 14
_INSTRUCTION_CLOCKS = 2


def _clocks(code):
    is_head = code >> 8 == Kind.OUT << 5 | OUTPUTS["head"]
    return _HEAD_BYTE_CLOCKS if is_head else _INSTRUCTION_CLOCKS


def line_clocks(window):
    """Clocks that one line may cost in the time of a shortest frame, for good.

    A frame is acknowledged and taken out of the window once for each time it was sent, and the
    receive window moves once a frame; so loops over these count one turn a frame. Several at once
    are paid for by frames that went before, while the ring holds what comes.
    """
    program = line_program(role=0, window=window, tries=1)
    turns = {"slide": 1, "ack_base": 1, "ack_tail": 1,
             "ack_entry": window, "lose_entry": window, "seek_lost": window}

    def most(start, *stops, avoid=()):
        return longest(program, start, {"main", *stops}, turns, _clocks, avoid=avoid)

    jobs = [most(name) for name in ("unit", "submit", "judge", "say", "sequenced")]
    acknowledged = most("good", avoid=("ack_new",)) + most("ack_new", "ack_next")
    frames = most("main", "frame", avoid=("visit",)) + most("frame", "judge", "good", "close")
    visits = most("main", "frame", "unit", "renew", "say", "submit")
    # Frames are looked at to be judged, when whole, when their Event is taken, and when sent; a
    # line for its unit, a frame in and one out, and a descriptor.
    return sum(jobs) + acknowledged + 4 * frames + 3 * visits
