"""The waveform of a trial: the same trial, and what a viewer finds in it."""

import json
import re

import pywellen

from host_tools import cli
from host_tools.trials.plan import CLOCK_HZ, Trial, geometry_name, make
from host_tools.trials.play import play

# Of the board that others play as well: that with waveforms is one more build.
SEED = next(seed for seed in range(1, 1000)
            if geometry_name(seed) == "pair" and len(make(seed).steps) < 5)
SHOWN = 10_000      # clocks


def test_a_recorded_trial_is_the_same_and_can_be_read(capsys, tmp_path):
    trial = make(SEED)
    expected = play(trial)
    scenario, waves = tmp_path / "trial.json", tmp_path / "trial.vcd"
    scenario.write_text(trial.as_json())
    assert Trial.from_json(scenario.read_text(), "trial.json") == trial
    code = cli.main(["replay", str(scenario), "--waves", str(waves), "--from",
                     str(expected.clocks - SHOWN), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert code == 0
    assert (report["clocks"], report["violation"]) == (expected.clocks, None)
    assert {name: count for name, count in report["contained"].items() if count} == {
        name: expected.counts[name] for name in report["contained"] if expected.counts[name]}

    signals = {str(var)[4:-1]: var for var in pywellen.Waveform(str(waves)).all_vars()}
    state = "TOP.board.target.core.commit.fsm_state"
    assert {"TOP.board.clk", "TOP.board.source_rx", "TOP.board.source_reset", state} <= set(signals)
    times = [int(line[1:]) for line in re.findall(r"^#\d+", waves.read_text(), re.MULTILINE)]
    clocks = [time * CLOCK_HZ // 10**12 for time in (times[0], times[-1])]
    assert clocks == [expected.clocks - SHOWN, expected.clocks - 1]
    shown = re.findall(r"^(TOP\..*)$", waves.with_name("trial.vcd.gtkw").read_text(), re.MULTILINE)
    assert len(shown) > 50
    assert {re.sub(r"\[\d+:0\]$", "", line) for line in shown} <= set(signals)
    names = waves.with_name("trial.vcd.names") / "board.target.core.commit.fsm_state.txt"
    assert len(names.read_text().splitlines()) > 5
