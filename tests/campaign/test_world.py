"""The board of a trial: nothing that happens on it escapes the oracle."""

from types import SimpleNamespace

from firmware_model import wire
from host_tools.trials.plan import Fault
from host_tools.trials.world import World


class Board:
    """Stands for a board in which something commits whenever a channel's register is written."""

    def __init__(self):
        self.clock = 0
        self.pokes = []
        self.log = []

    def watch_commits(self):
        pass

    def poke(self, link, register, value):
        self.clock += 4
        self.pokes.append((link, register, value))
        self.log.append(SimpleNamespace(clock=self.clock))

    def snapshots(self):
        log, self.log = self.log, []
        return log

    def links_up(self, side):
        return 0

    def run(self, clocks):
        self.clock += clocks
        return 0


def test_what_commits_while_faults_are_put_in_and_taken_out_is_looked_at():
    board, seen = Board(), []
    oracle = SimpleNamespace(look=lambda snapshot, ready: seen.append(snapshot.clock))
    world = World(board, (Fault("channel", 10, 1, 0, "CONTROL", 3),), oracle)
    world.advance(20)
    assert seen == [14]
    world.mend()
    assert board.pokes == [(0, wire.Channel.CONTROL, 3), (0, wire.Channel.CONTROL, 0)]
    assert seen == [14, board.clock]
