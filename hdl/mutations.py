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

from firmware_model.mutations import Mutation

__all__ = ["Mutation"]
