# amaranth: UnusedElaboratable=no
"""What both systems offer to a board."""

import pytest

from hdl.source import Source
from hdl.sourcecore import SourceCore
from hdl.system import Core
from hdl.target import Target
from hdl.targetcore import TargetCore

from .target_bench import SMALL


def ports(component):
    return {name: (member.flow, member.dimensions) for name, member in
            component.signature.members.items()}


@pytest.mark.parametrize("channel", [False, True])
def test_a_board_joins_both_systems_alike(channel):
    source = ports(Source(SMALL, channel=channel))
    target = ports(Target(SMALL, channel=channel))
    assert source.keys() - target.keys() == {"destaging", "disconnected", "fault"}
    assert {name: source[name] for name in target} == target
    assert ("channel" in target) == channel


@pytest.mark.parametrize(("core", "own"), [
    (SourceCore, {"destaging", "disconnected", "fault"}), (TargetCore, set())])
def test_cores_have_the_ports_of_every_core(core, own):
    assert ports(core(SMALL, channel=True)).keys() == own | {
        "host", "links", "generation", "ready", "channel", "link_divisor"}
    assert "link_divisor" not in ports(core(SMALL, lines="shared"))


def test_unknown_mutation_is_refused():
    with pytest.raises(ValueError, match="no_such_fault"):
        Source(SMALL, mutation="no_such_fault")
    assert issubclass(SourceCore, Core)
