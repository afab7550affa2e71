"""Deliberate faults, one for each rule that the tests must be able to see broken.

They are parameters of test builds, of the model and of the gateware alike, and never of the
product. A test suite that stays green with one of them switched on proves nothing.
"""

from __future__ import annotations

import enum


class Mutation(enum.StrEnum):
    """A rule that is left out on purpose; the comment names the invariant that goes with it.

    New ones go to the end: their places number the faults of a test build.
    """

    PENDING_NOT_SET = "pending_not_set"                     # I1: no collision is ever seen
    PACKET_NOT_SET = "packet_not_set"                       # Fig. 5: flags are set at the cut
    END_OF_CHAIN_DROPPED = "end_of_chain_dropped"           # I6: chains run into each other
    SEQUENCE_NOT_CHECKED = "sequence_not_checked"           # I6: the target takes any group
    SLOT_FREED_WHILE_PENDING = "slot_freed_while_pending"   # I1: the only copy is overwritten
    CRC_NOT_CHECKED = "crc_not_checked"                     # I7: damaged frames count
    RECONNECT_WRONG_GROUP = "reconnect_wrong_group"         # Fig. 4: any status reconnects
    RESENT_GROUP_GROWS = "resent_group_grows"               # R23: a group sent again takes more in
    STATUS_NOT_MATCHED = "status_not_matched"               # R23: a status clears all in flight
    DUPLICATE_COUNTED = "duplicate_counted"                 # I6: a group passes for whole too soon
    FIRST_WRITE_WINS = "first_write_wins"                   # R12: a track twice in a chain
    SPAN_NOT_CHECKED = "span_not_checked"                   # R17: a chain may span sets
    LIMIT_NOT_CHECKED = "limit_not_checked"                 # R24: a chain one longer than the limit
    ABORT_COMMITS = "abort_commits"                         # I2: what is there of a chain commits
    STAGING_NOT_RESERVED = "staging_not_reserved"           # I9: half groups fill the staging area
    LOSS_NOT_REWOUND = "loss_not_rewound"                   # I9: what a link took along stays lost
    COMMIT_NOT_FINISHED = "commit_not_finished"             # I6: half a chain stays visible
    CHAINS_COUNTED_TWICE = "chains_counted_twice"           # I7: after a reset inside a group
    LOST_TARGET_BEGUN = "lost_target_begun"                 # I7: a blank target passes for a prefix
    RESYNC_NOT_MARKED = "resync_not_marked"                 # I7: torn, and does not say so
    RESYNCED_EARLY = "resynced_early"                       # I7: said to be whole before it is
    SCAN_SKIPS_TRACKS = "scan_skips_tracks"                 # I7: not everything is sent
    OLD_SESSIONS_KEPT = "old_sessions_kept"                 # I7: a former life is heard
    UPDATE_LOST = "update_lost"                             # I9: two writers of one entry
    STATUS_REWINDS = "status_rewinds"                       # I9: each status sends all again
