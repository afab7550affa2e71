"""The microprogram of a clerk: groups, frames to the target, and resynchronisation of all sets.

Run by :class:`.clerk.Clerk`. What it does is what :class:`.sequencer.Sequencer`,
:class:`.liaison.Liaison`, :class:`.dispatcher.Dispatcher` and :class:`.resync.Resync` do, and why
is said there. Everything is one short job, run to its end; between two jobs the program looks
around, commit status first. Nothing is awaited inside a job but the lock of the metadata.
"""

from firmware_model.wire import GROUP_COUNT, GROUP_HEAD, SetWord, TargetFlag, Type

from .dispatcher import SHAKE_TAPS
from .interfaces import DESCRIPTOR_WORDS, PayloadKind
from .microcode import DIRECT_WORDS, ENTRY_WORDS, Names, assemble

__all__ = ["COUNTED", "ENTRY", "EVENTS", "INPUTS", "OUTPUTS", "PAGE", "PAGE_GROUP", "SIGNALS",
           "STATE", "WORDS", "clerk_program", "clerk_state"]

# Inputs from here on are words of the set's page, and so is the argument of ``put``: a SetWord in
# the lowest five bits, or, with PAGE_GROUP, a word of the record of the group at ``place``.
PAGE = 0x80
PAGE_GROUP = 0x20

# The frame that is offered comes first: lines read it word by word.
WORDS = {f"frame_{name}": n for n, name in enumerate(DESCRIPTOR_WORDS)} | {
    name: 8 + n for n, name in enumerate((
        # Never written.
        "staging", "track_mask", "index_end", "data_type", "order_type",
        # Of all sets, a bit each.
        "polls", "blocked", "rewinds", "ticks",     # see Sequencer
        "ask", "begin", "resynced",                 # frames that are due, see Liaison
        "todo",                                     # groups to be sent, see Dispatcher
        "scans",                                    # to be scanned, see Resync
        # Whose turn it is
        "set", "cut_set", "send_set", "scan_set",
        # Sequencer
        "credit", "in_flight", "head", "count", "room", "unsent", "oldest", "chains", "behind",
        # Links: one bit of the last track's, of the one at hand; slow ticks that a frame waits
        "last", "link", "waited", "shake",
        "offering",                                 # what the frame is, see FRAME
        # The group that is being sent
        "at_hand", "restart", "gseq", "before", "tracks_of", "left", "index", "following",
        # The scan
        "scanning", "again", "scan_index", "pause",
        # Of one job
        "base", "x", "y",
    ))
}

# The bit of the link before the set's home link.
ENTRY = {"home": 0}

_FRAME = {"TRACK": 1, "ORDER": 2, "CONTROL": 3}

# What has happened since the program looked.
EVENTS = ("poll", "lost", "slow_tick", "started", "tick")

INPUTS = {name: n for n, name in enumerate((
    "its_set", "its_epoch", "its_gseq", "its_flags", "its_life",    # of the status that waits
    "life", "life_high", "timeout",
    "slot", "next", "place_low", "place_high",      # of the track: its frame's last header words
    "state", "end", "volume", "last_track",         # flags, end of chain, set; last of its volume
    "status", "events", "destaging", "running", "resyncing", "used", "chain_open",
    "up", "room", "offered", "taken",
))} | {word.name: PAGE | word for word in SetWord} | {
    "GROUP_HEAD": PAGE | PAGE_GROUP | 0x10 | GROUP_HEAD,
    "GROUP_COUNT": PAGE | PAGE_GROUP | 0x10 | GROUP_COUNT,
}

OUTPUTS = {name: n for n, name in enumerate((
    "wait",             # until something happens
    "lock",             # the metadata
    "set", "place", "track",
    "put", "state", "link", "volume",       # write into the metadata
    "offer",            # the frame to these links; to none, take it back
    "clear", "drop", "destage", "use",      # sets or events to be forgotten or noted
    "running", "resyncing", "credit", "ticking",
    "count", "signal",
))}

# What happens and is counted.
COUNTED = ("reconnect", "group", "group_track", "polled", "group_done", "resent", "rejected",
           "dispatched")
SIGNALS = ("unlock", "answered", "lost", "fault", "resynced", "resync_track")

# Flags of a track as the program sees and writes them. WAITER is written as it was, or 0.
STATE = {"PENDING": 1, "PACKET": 2, "WAITER": 4}


def _clear(*words):
    return "\n".join(["    LD #0", *(f"    ST {word}" for word in words)])


def _set(word, flag="bit"):
    return f"    LD {word}\n    OR {flag}\n    ST {word}"


def _drop(word):
    return f"    LD {word}\n    OR bit\n    XOR bit\n    ST {word}"


def _copy(*pairs):
    return "\n".join(f"    LD {source}\n    ST {word}" for source, word in pairs)


def _turn(last):
    """The set in ``base`` that comes after ``last``."""
    return f"    ST base\n{_copy((last, 'set'))}\n    CALL turn\n{_copy(('set', last))}"


def _visit(name):
    return f"{_copy((name, 'set'))}\n    OUT set"


_TEXT = f"""
; -- after a reset -------------------------------------------------------------------------------
start:
{_clear("polls", "blocked", "rewinds", "ticks", "ask", "begin", "resynced", "todo", "scans",
        "waited", "offering", "at_hand", "scanning", "pause")}
    LD staging
    ST credit

; -- what to do next -----------------------------------------------------------------------------
main:
    LD <status
    JNZ status
    LD <events
    JNZ events
    LD blocked
    XOR #ALL
    ST base
    LD <destaging
    OR polls
    AND base
    OR rewinds
    OR ticks
    JNZ set_work
    LD offering
    JNZ offered
    LD ask
    OR begin
    OR resynced
    JNZ say
send:
    LD at_hand
    JNZ send_frame
    LD <running
    AND todo
    JNZ find_group
scan:
    LD pause
    JNZ idle
    LD scanning
    JNZ scan_track
    LD scans
    JNZ start_scan
idle:
    OUT wait
    JMP main

unlock_answered:
    OUT signal #SIGNAL_UNLOCK|SIGNAL_ANSWERED
    JMP main
unlock:
    OUT signal #SIGNAL_UNLOCK
    JMP main

events:
    ST x
    OUT clear
    AND #EVENT_POLL
    JZ no_poll
{_copy(("#ALL", "polls"))}
no_poll:
    LD x
    AND #EVENT_LOST
    JZ none_lost
{_copy(("#ALL", "rewinds"))}
none_lost:
    LD x
    AND #EVENT_STARTED
    JZ none_started
{_copy(("#ALL", "ask"))}
none_started:
    LD x
    AND #EVENT_TICK
    JZ no_tick
    LD #0
    ST pause
    OUT ticking
no_tick:
    LD x
    AND #EVENT_SLOW_TICK
    JZ main
{_copy(("#ALL", "ticks"))}
    LD waited
    ADD #1
    ST waited
    JMP main

; The next set of ``base`` after ``set``.
turn:
    LD set
    ADD #1
    ST set
    SUB #SETS
    JN turn_to
    LD #0
    ST set
turn_to:
    LD set
    OUT set
    LD base
    AND bit
    JZ turn
    RET

; Lock the set's page. Groups are out from DONE + 1 to NEXT - 1.
look:
    OUT lock
    LD <NEXT
    SUB #1
    SUB <DONE
    ST in_flight
    RET

; Negative if x is below y.
below:
    LD x
    XOR y
    JN below_far
    LD x
    SUB y
    RET
below_far:
    LD y
    RET

; Everything that is out is to be sent again.
notice:
{_set("todo")}
    LD send_set
    XOR set
    JNZ shake
    LD #1
    ST restart
shake:
    LD shake
    AND #1
    JZ shaken                       ; a reset may leave ``last`` one behind the last link
    LD last
    ADD last
    ST last
    AND #LINKS
    JNZ step
    LD #1
    ST last
step:
    LD shake
    SHR
    XOR #SHAKE_TAPS
    ST shake
    RET
shaken:
    LD shake
    SHR
    ST shake
    RET

; -- commit status -------------------------------------------------------------------------------
status:
    LD <its_set
    ST set
    OUT set
    SUB #SETS
    JN status_known
    OUT count #COUNT_REJECTED
    JMP unlock_answered
status_known:
    CALL look
    LD <its_life
    XOR <life
    JNZ status_ask
    LD <its_flags
    AND #FOLLOWING|ASKED
    JZ status_ask
    LD <EPOCH
    SUB <its_epoch
    AND #255
    ST behind
    LD <its_flags
    AND #FOLLOWING
    JZ asked
    LD behind
    JNZ unlock_answered
    LD <running
    AND bit
    JNZ follows
    LD <running
    OR bit
    OUT running
    CALL notice
follows:
    LD <its_gseq
    SUB <DONE
    JN follows_all
    JZ follows_all
    ST x
    LD in_flight
    SUB x
    JN follows_all
    JMP clear                       ; the status stays, and is looked at again

; Nothing is to be cleared: has the resynchronisation come to its end?
follows_all:
    LD <resyncing
    AND bit
    JZ unlock_answered
    LD <RESYNC_HIGH
    ST y
    LD <ACKED_HIGH
    ST x
    XOR y
    JNZ resync_ends
    LD <RESYNC_LOW
    ST y
    LD <ACKED_LOW
    ST x
resync_ends:
    CALL below
    JN unlock_answered
    LD <its_flags
    AND #INCONSISTENT
    JZ resync_over
{_set("resynced")}
    JMP unlock_answered
resync_over:
    OUT signal #SIGNAL_RESYNCED
    LD <resyncing
    XOR bit
    OUT resyncing
    JMP unlock_answered

asked:
    LD behind
    JZ asked_now
    SUB #1
    JNZ status_ask
    LD <running                     ; it knows the epoch before
    AND bit
    JNZ unlock_answered
{_set("begin")}
    JMP unlock_answered
asked_now:
    LD <running
    AND bit
    JZ next_epoch
    LD #0                           ; it has lost its memory
    OUT running
    ST ask
    ST begin
    ST resynced
    OUT signal #SIGNAL_LOST
    JMP unlock_answered
status_ask:
{_set("ask")}
    JMP unlock_answered

next_epoch:
    LD <its_flags
    AND #WRITTEN
    JNZ not_blank
    LD <used
    AND bit
    JZ write_epoch
not_blank:
    LD <resyncing
    OR bit
    OUT resyncing
write_epoch:
    LD <EPOCH
    ADD #1
    AND #255
    OUT put #EPOCH
{_set("begin")}
    LD <resyncing
    AND bit
    JZ rewind
    LD #0
    SUB #1
    OUT put #RESYNC_LOW
    OUT put #RESYNC_HIGH
{_set("scans")}
    LD scan_set
    XOR set
    JNZ rewind
    LD #1
    ST again
    LD #0
    ST pause

rewind:
    LD <SENT
    XOR <DONE
    JZ rewound
    OUT count #COUNT_RESENT
rewound:
    LD <DONE
    OUT put #SENT
    LD #0
    OUT put #AGE
    LD in_flight
    JZ unlock
    CALL notice
    JMP unlock                      ; a status is looked at again, now of the epoch before

; Clear the oldest group.
clear:
    LD <DONE
    ADD #1
    ST oldest
    OUT place
    LD <GROUP_HEAD
    OUT track
    LD <GROUP_COUNT
    ST count
    ADD credit
    ST credit
    OUT credit
    LD #0
    ST chains
clear_track:
    LD <state
    AND #PENDING|PACKET
    XOR #PENDING|PACKET
    JZ clear_sound
    OUT signal #SIGNAL_FAULT
clear_sound:
    LD <state
    AND #WAITER
    JZ clear_state
    OUT volume
    OUT count #COUNT_RECONNECT
clear_state:
    OUT state #0
    LD count
    SUB #1
    JZ clear_last
    ST count
    LD <end
    ADD chains
    ST chains
    LD <next
    OUT track
    JMP clear_track
clear_last:
    LD chains
    ADD #1
    ST chains
    LD <SENT                        ; it was to be sent again
    XOR <DONE
    JNZ clear_done
    LD oldest
    OUT put #SENT
clear_done:
    LD oldest
    OUT put #DONE
    LD <ACKED_LOW
    ADD chains
    OUT put #ACKED_LOW
    JN clear_counted
    SUB chains
    JN clear_carry
    JMP clear_counted
clear_carry:
    LD <ACKED_HIGH
    ADD #1
    OUT put #ACKED_HIGH
clear_counted:
    LD #0
    ST blocked
    OUT put #AGE
    LD bit
    OUT use
    OUT count #COUNT_GROUP_DONE
    JMP unlock

; -- other work on a set -------------------------------------------------------------------------
set_work:
{_turn("cut_set")}
    CALL look
    LD rewinds
    AND bit
    JZ no_rewind
    LD rewinds
    XOR bit
    ST rewinds
    JMP rewind
no_rewind:
    LD ticks
    AND bit
    JZ cut
    LD ticks
    XOR bit
    ST ticks
    LD <running
    AND bit
    JNZ age
{_set("ask")}
    JMP unlock
age:
    LD in_flight
    JZ unlock
    LD <NEXT
    SUB #1
    XOR <SENT
    JNZ unlock                      ; not all is sent yet
    LD <timeout
    ST y
    JZ older
    LD <AGE
    ST x
    CALL below
    JN older
    JMP rewind
older:
    LD <AGE
    ADD #1
    JZ unlock
    OUT put #AGE
    JMP unlock

; Move whole chains from the head of the unsent list into a new group.
cut:
    LD <UNSENT
    ST unsent
    JZ nothing_unsent
    LD in_flight
    XOR #GROUPS
    JZ block
    LD credit
    ST room
    SUB #GROUP_LIMIT
    JN cut_to_credit
    LD #GROUP_LIMIT
    ST room
cut_to_credit:
    LD room
    SUB #CHAIN_LIMIT
    JN block
    LD <FIRST
    ST head
    OUT track
cut_track:
    OUT state #PENDING|PACKET|WAITER
    OUT count #COUNT_GROUP_TRACK
    LD <end
    ST base
    LD <next
    ST x
    OUT track
    LD room
    SUB #1
    ST room
    LD unsent
    SUB #1
    ST unsent
    JZ cut_ends
    LD room
    JZ cut_ends                     ; only a broken list gets that far
    LD base
    JZ cut_track
    LD room
    SUB #CHAIN_LIMIT
    JN cut_ends
    JMP cut_track
cut_ends:
    LD <UNSENT
    SUB unsent
    ST count
    LD credit
    SUB count
    ST credit
    OUT credit
    LD <NEXT
    OUT place
    LD head
    OUT put #GROUP_HEAD
    LD count
    OUT put #GROUP_COUNT
    LD x
    OUT put #FIRST
    LD unsent
    OUT put #UNSENT
    LD <NEXT
    ADD #1
    OUT put #NEXT
{_set("todo")}
    OUT count #COUNT_GROUP
    LD <destaging
    AND bit
    JNZ cut_wanted
    OUT count #COUNT_POLLED
cut_wanted:
    LD unsent
    JNZ cut_more
nothing_unsent:
    LD bit
    OUT drop
cut_more:
{_drop("polls")}
    JMP unlock
block:
{_set("blocked")}
    JMP unlock

; -- a frame on its way to a link ----------------------------------------------------------------
offered:
    LD <offered
    JZ offer_ends
    AND <up
    JNZ scan                        ; it still waits
    LD #0
    OUT offer
offer_ends:
    LD offering
    ST x
    LD #0
    ST offering
    LD x
    XOR #FRAME_CONTROL
    JZ main                         ; taken, or lost with its link
    LD <taken
    JZ main                         ; another link will do
    LD x
    XOR #FRAME_TRACK
    JZ track_taken
{_visit("send_set")}
    LD #0                           ; the group has been handed over whole
    ST at_hand
    OUT lock
    LD <SENT
    XOR before
    OR restart
    JNZ unlock
    LD gseq
    OUT put #SENT
    JMP unlock
track_taken:
    OUT count #COUNT_DISPATCHED
{_copy(("link", "last"), ("following", "index"))}
    LD left
    SUB #1
    ST left
    JMP main

; A link for the frame at hand, or 0: for a track the first that has room, after the one before; for
; others the first that is up, from the set's home on, unless that has had no room for long.
home_link:
    LD entry.home
    ST y
    LD <up
    ST base
    LD waited
    SUB #PATIENCE
    JN find_link
    JMP any_link
track_link:
    LD last
    ST y
any_link:
    LD <up
    AND <room
    ST base
find_link:
    LD base
    JZ no_link
next_link:
    LD y
    ADD y
    ST y
    AND #LINKS
    JNZ try_link
    LD #1
    ST y
try_link:
    LD base
    AND y
    JZ next_link
    AND <room
no_link:
    ST link
    RET

; -- frames about a set as a whole ---------------------------------------------------------------
say:
    ST base
    LD <up
    JNZ say_now
    ST ask                          ; whoever needs them asks again
    ST begin
    ST resynced
    JMP main
say_now:
    CALL turn
    CALL home_link
    JZ send
{_clear("frame_header1", "frame_header2", "frame_header3")}
    OUT lock
    LD <EPOCH
    SWAP
    OR set
    ST frame_header0
    LD begin                        ; first: after an ASK it would be of no epoch that comes next
    AND bit
    JNZ say_begin
    LD ask
    AND bit
    JNZ say_ask
    LD resynced
    XOR bit
    ST resynced
    LD #RESYNCED
    JMP say_it
say_ask:
    LD ask
    XOR bit
    ST ask
    LD <EPOCH
    SWAP
    OR <life_high
    ST frame_header1
    LD <life
    AND #255
    SWAP
    OR set
    ST frame_header0
    LD #ASK
    JMP say_it
say_begin:
    LD begin
    XOR bit
    ST begin
    LD <DONE
    ST frame_header1
    LD <ACKED_LOW
    ST frame_header2
    LD <ACKED_HIGH
    ST frame_header3
    LD <resyncing
    AND bit
    JZ say_plain
    LD #RESYNC
    JMP say_it
say_plain:
    LD #BEGIN
say_it:
    ST frame_type
    LD #FRAME_CONTROL
offer:
    ST offering
    LD #0
    ST waited
    LD link
    OUT offer
    JMP unlock

; -- groups --------------------------------------------------------------------------------------
find_group:
{_turn("send_set")}
    OUT lock
    LD #0
    ST restart
    LD <SENT
    ST before
    ADD #1
    ST gseq
    OUT place
    XOR <NEXT
    JNZ found_group
{_drop("todo")}
    JMP unlock
found_group:
{_copy(("<GROUP_HEAD", "index"), ("<GROUP_COUNT", "left"))}
    ST tracks_of
    ST at_hand
    JMP unlock

send_frame:
{_visit("send_set")}
    LD restart
    JNZ abandon
    LD <running
    AND bit
    JZ abandon
    LD left
    JZ order_link
    CALL track_link
    JMP send_head
order_link:
    CALL home_link
send_head:
    LD link
    JZ scan
    OUT lock
    LD <SENT
    XOR before
    JNZ abandon
    LD <EPOCH
    SWAP
    OR set
    ST frame_header0
    LD gseq
    ST frame_header1
    LD left
    JZ send_order
    LD index
    OUT track
{_copy(("<next", "following"), ("<slot", "frame_arg"), ("<place_low", "frame_header2"),
       ("<place_high", "frame_header3"), ("#0", "frame_arg_high"), ("data_type", "frame_type"))}
    LD #FRAME_TRACK
    JMP offer
send_order:
{_copy(("gseq", "frame_arg"), ("set", "frame_arg_high"), ("tracks_of", "frame_header2"),
       ("#0", "frame_header3"), ("order_type", "frame_type"))}
    LD #FRAME_ORDER
    JMP offer
abandon:
    LD #0
    ST at_hand
    JMP unlock

; -- all of a set once more ----------------------------------------------------------------------
start_scan:
{_turn("scan_set")}
    LD #1
    ST scanning
scan_anew:
{_clear("again", "scan_index")}
    JMP main
scan_track:
    LD again
    JNZ scan_anew
{_visit("scan_set")}
    LD scan_index
    OUT track
    OUT lock
    LD <volume
    XOR set
    JNZ scan_volume
    LD <state
    AND #PENDING
    JNZ scan_next
    LD <chain_open
    JNZ scan_waits
    LD <UNSENT
    SUB #CHAIN_LIMIT
    JN scan_append
scan_waits:
    LD #1
    ST pause
    OUT ticking
    JMP unlock
scan_append:
    LD bit
    OUT destage
    LD <UNSENT
    JZ scan_alone
    LD <TAIL
    OUT track
    LD scan_index
    OUT link
    OUT track
    JMP scan_put
scan_alone:
    LD scan_index
    OUT put #FIRST
scan_put:
    OUT state #PENDING
    OUT put #TAIL
    LD <UNSENT
    ADD #1
    OUT put #UNSENT
    OUT signal #SIGNAL_RESYNC_TRACK
    LD <CHAINS_LOW
    ADD #1
    OUT put #CHAINS_LOW
    JNZ scan_next
    LD <CHAINS_HIGH
    ADD #1
    OUT put #CHAINS_HIGH
scan_next:
    LD <last_track
    JNZ scan_volume
    LD scan_index
    JMP scan_step
scan_volume:
    LD scan_index
    OR track_mask
scan_step:
    ADD #1
    ST scan_index
    XOR index_end
    JNZ unlock
    LD <CHAINS_HIGH
    OUT put #RESYNC_HIGH
    LD <CHAINS_LOW
    OUT put #RESYNC_LOW
{_set("ask")}
{_drop("scans")}
    LD #0
    ST scanning
    JMP unlock
"""


# Of so many slow ticks the last is a whole one: Dispatcher's patience, at least.
_PATIENCE = 2


def clerk_program(geometry):
    """The program for a source of this geometry."""
    g = geometry
    numbers = {
        "SETS": g.sets, "ALL": (1 << g.sets) - 1,
        "GROUPS": g.groups_in_flight, "GROUP_LIMIT": g.group_limit, "CHAIN_LIMIT": g.chain_limit,
        "LINKS": (1 << g.links) - 1, "PATIENCE": _PATIENCE,
        "SHAKE_TAPS": sum(1 << tap for tap in SHAKE_TAPS),
    }
    for type_ in (Type.ASK, Type.BEGIN, Type.RESYNC, Type.RESYNCED):
        numbers[type_.name] = type_
    numbers |= {flag.name: int(flag) for flag in TargetFlag} | STATE
    numbers |= {name: place for name, place in INPUTS.items() if place & PAGE}
    numbers |= {f"FRAME_{name}": value for name, value in _FRAME.items()}
    for prefix, names in (("EVENT", EVENTS), ("COUNT", COUNTED), ("SIGNAL", SIGNALS)):
        numbers |= {f"{prefix}_{name.upper()}": 1 << bit for bit, name in enumerate(names)}
    return assemble(_TEXT, Names(WORDS, ENTRY, numbers, INPUTS, OUTPUTS))


def clerk_state(geometry):
    """What is in the state memory when the device is configured: what is never written."""
    g = geometry
    state = [0] * (2 * DIRECT_WORDS)
    constants = {
        "staging": g.staging_slots, "track_mask": (1 << g.track_bits) - 1,
        "index_end": g.volumes << g.track_bits,
        "data_type": Type.DATA | PayloadKind.SLOT.value << 8,
        "order_type": Type.ORDER | PayloadKind.ORDER.value << 8,
    }
    constants |= {"last": 1, "shake": 1}
    for name, value in constants.items():
        state[WORDS[name]] = value & 0xFFFF
    for set_ in range(g.sets):
        state[DIRECT_WORDS + ENTRY_WORDS * set_ + ENTRY["home"]] = 1 << (set_ - 1) % g.links
    return state
