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
SEQUENCE_NOT_CHECKED         :mod:`hdl.commit`, :mod:`hdl.receiver`
SLOT_FREED_WHILE_PENDING     :mod:`hdl.chain`: commit frees the slot that it has just swapped in
CRC_NOT_CHECKED              the line: :mod:`hdl.link`
RECONNECT_WRONG_GROUP        :mod:`hdl.sequencer`: any group with a track of the volume will do
===========================  ====================================================================
"""

from amaranth.hdl import Const, Value

from firmware_model.mutations import Mutation

__all__ = ["Mutation", "Selected", "checked", "has", "lacks"]


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
