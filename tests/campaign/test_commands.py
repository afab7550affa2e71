"""The commands: a report, a failure made smaller and written down, and the same failure again."""

import json

import pytest

from host_tools import cli
from tests.campaign.test_crew import SEEDS


def run(capsys, *arguments):
    code = cli.main([str(a) for a in arguments])
    return code, *capsys.readouterr()


def test_a_campaign_reports_what_it_contained(capsys):
    code, out, _ = run(capsys, "campaign", "--runs", len(SEEDS), "--seed", SEEDS.start,
                       "--workers", 1, "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["runs"], report["violations"]) == (len(SEEDS), [])
    assert report["boards"] == {"pair": len(SEEDS)}
    assert report["contained"]["chains"] > 0
    assert report["contained"]["frames"] > report["contained"]["groups"] > 0
    code, out, _ = run(capsys, "campaign", "--runs", 1, "--seed", SEEDS.start, "--workers", 1)
    assert code == 0
    assert "1 trials from seed" in out
    assert "boards: pair 1\n" in out
    assert "0 violations" in out


def test_a_failure_is_written_down_and_repeats(capsys, tmp_path):
    code, out, _ = run(capsys, "campaign", "--runs", 200, "--seed", SEEDS.start, "--workers", 1,
                       "--mutation", "slot_freed_while_pending", "--keep", tmp_path, "--json",
                       "--no-waves")
    assert code == 1
    one, = json.loads(out)["violations"]
    code, out, _ = run(capsys, "replay", one["scenario"], "--json")
    again = json.loads(out)
    assert code == 1
    assert again["seed"] == one["seed"]
    assert again["violation"].split(": ")[1][:10] == one["violation"].split(": ")[1][:10]
    assert one["steps"] <= 6, "it takes a few chains, not a dozen"
    code, second, _ = run(capsys, "replay", one["scenario"])
    assert code == 1
    assert second.split() == again["violation"].split()


@pytest.mark.parametrize(("arguments", "message"), [
    (["campaign", "--keep", "/nowhere"], "--keep /nowhere is no directory"),
    (["campaign", "--scheduler", "tcp://x:1", "--workers", "2"], "--workers is for this machine"),
    (["replay", "/nowhere.json"], "cannot read /nowhere.json"),
    (["replay", "README.md"], "README.md is no scenario file"),
])
def test_what_cannot_be_meant(capsys, arguments, message):
    code, _, error = run(capsys, *arguments)
    assert code == 2
    assert message in error
