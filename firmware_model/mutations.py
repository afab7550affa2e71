"""Deliberate faults, one for each rule that the tests must be able to see broken.

They are parameters of test builds, of the model and of the gateware alike, and never of the
product. A test suite that stays green with one of them switched on proves nothing.
"""

from __future__ import annotations

import enum


class Mutation(enum.StrEnum):
    """A rule that is left out on purpose; the comment names the invariant that goes with it."""

    PENDING_NOT_SET = "pending_not_set"                     # I1: no collision is ever seen
    PACKET_NOT_SET = "packet_not_set"                       # Fig. 5: flags are set at the cut
    END_OF_CHAIN_DROPPED = "end_of_chain_dropped"           # I6: chains run into each other
    SEQUENCE_NOT_CHECKED = "sequence_not_checked"           # I6: the target takes any group
    SLOT_FREED_WHILE_PENDING = "slot_freed_while_pending"   # I1: the only copy is overwritten
    CRC_NOT_CHECKED = "crc_not_checked"                     # I7: damaged frames count
    RECONNECT_WRONG_GROUP = "reconnect_wrong_group"         # Fig. 4: any status reconnects
