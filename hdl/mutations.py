"""Deliberate faults of the gateware, for test builds only.

Components take ``mutation``, ``None`` in every product. The names are those of the model. Where
each of them is put in:

===========================  ====================================================================
PENDING_NOT_SET              :mod:`hdl.chain`: commit leaves the flag at 0
PACKET_NOT_SET               :mod:`hdl.sequencer`: the cut leaves the flag at 0. A collision with a
                             track in flight then asks for a second destage, and the clear walk
                             finds it (``Sequencer.fault``)
END_OF_CHAIN_DROPPED         :mod:`hdl.chain`: the order list never ends a chain, so the target
                             commits a whole group at once and groups can end inside a chain
SEQUENCE_NOT_CHECKED         :mod:`hdl.commit`: any complete group commits
SLOT_FREED_WHILE_PENDING     :mod:`hdl.chain`: commit frees the slot that it has just swapped in
CRC_NOT_CHECKED              the line: :mod:`hdl.link`
RECONNECT_WRONG_GROUP        :mod:`hdl.sequencer`: any group with a track of the volume will do
RESENT_GROUP_GROWS           :mod:`hdl.sequencer`: the newest group takes in all that is unsent.
                             :mod:`hdl.chain` must then link what it appends to any former tail
STATUS_NOT_MATCHED           :mod:`hdl.sequencer`: any status of the epoch clears all that is out
DUPLICATE_COUNTED            :mod:`hdl.receiver`: a track that is staged counts once more
FIRST_WRITE_WINS             :mod:`hdl.chain`: the later slot is freed, not swapped in
SPAN_NOT_CHECKED             :mod:`hdl.comparator`
LIMIT_NOT_CHECKED            :mod:`hdl.chain`: one command more than the write set has room for
ABORT_COMMITS                :mod:`hdl.chain`: what has come of the chain is committed
STAGING_NOT_RESERVED         :mod:`hdl.sequencer`: a cut takes a whole group whatever the credit
LOSS_NOT_REWOUND             :mod:`hdl.sequencer`: a lost session is not heard of
COMMIT_NOT_FINISHED          :mod:`hdl.commit`: the record of an interrupted chain is passed over
CHAINS_COUNTED_TWICE         :mod:`hdl.commit`: a group sent again counts from its first chain
LOST_TARGET_BEGUN            :mod:`hdl.sequencer`: BEGIN, whatever the target should have
RESYNC_NOT_MARKED            :mod:`hdl.follower`: RESYNC is taken as if it were BEGIN
RESYNCED_EARLY               :mod:`hdl.sequencer`: RESYNCED at the first status
SCAN_SKIPS_TRACKS            :mod:`hdl.resync`: track 1 of each volume is left out
OLD_SESSIONS_KEPT            the cores: no link starts a new session
UPDATE_LOST                  :mod:`hdl.chain`: the waiter is lost if the track is in a packet
STATUS_REWINDS               :mod:`hdl.sequencer`: a set is rewound after each group cleared
===========================  ====================================================================
"""

from amaranth.hdl import Const, Value

from firmware_model.mutations import Mutation

__all__ = ["Mutation", "Selected", "checked", "has", "lacks", "may_have"]


class Selected:
    """A fault that is chosen while a test build runs, so that one build serves for all of them.

    Stands wherever a component takes ``mutation``.

    Parameters
    ----------
    number : Value
        0 for none, else one more than the place of the fault in :class:`Mutation`.
    """

    def __init__(self, number):
        self.number = Value.cast(number)

    @staticmethod
    def number_of(mutation):
        """The number that selects ``mutation``."""
        return 0 if mutation is None else 1 + list(Mutation).index(Mutation(mutation))


def checked(mutation):
    """``mutation`` as components keep it: None, a :class:`Mutation` or a :class:`Selected`.

    Raises ValueError for a name that is no fault's.
    """
    if mutation is None or isinstance(mutation, Selected):
        return mutation
    return Mutation(mutation)


def has(mutation, fault):
    """A one-bit Value: whether ``fault`` is in. Constant, and so free, unless it is selected."""
    if isinstance(mutation, Selected):
        return mutation.number == Selected.number_of(fault)
    return Const(mutation is fault, 1)


def lacks(mutation, fault):
    """The opposite of :func:`has`, in the same form."""
    if isinstance(mutation, Selected):
        return mutation.number != Selected.number_of(fault)
    return Const(mutation is not fault, 1)


def may_have(mutation, fault):
    """Whether a component needs hardware for ``fault`` at all: for faults that take states."""
    return isinstance(mutation, Selected) or mutation is fault
