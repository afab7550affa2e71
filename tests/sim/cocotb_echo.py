"""cocotb tests on the bridged echo; run by test_cocotb.py."""

import os
import time

import cocotb
from cocotb.task import bridge
from cocotb.triggers import Timer
from cocotb.utils import get_sim_time

from firmware_model import wire
from firmware_model.geometry import Geometry
from sim.cocotb_uart import Bridge, CocotbTransport, FrameDecoder, UartMonitor, start_board

GEOMETRY = Geometry()
DATA = bytes(range(256)) * 2 + b"without a delimiter"


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def bridge_carries_bytes(dut):
    await start_board(dut, GEOMETRY)
    source, target = Bridge(dut, "source"), Bridge(dut, "target")
    for line in (source, target):
        await line.send(DATA)
        got = b""
        while len(got) < len(DATA):
            piece = await line.receive(0.001)
            assert piece, f"only {len(got)} bytes came back"
            got += piece
        assert got == DATA
    assert await target.receive(0.0005) == b""


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def monitor_sees_the_frames_on_the_line(dut):
    await start_board(dut, GEOMETRY)
    frames = []
    decoder = FrameDecoder(frames.append)
    monitor = UartMonitor(dut.source_line, GEOMETRY.divisor(GEOMETRY.host_baud), decoder.feed)
    line = Bridge(dut, "source")
    sent = wire.pack(wire.Type.READ, 7, tag=1, volume=2, track=3, count=4)
    await line.send(wire.to_line(sent) + b"garbage\0" + wire.to_line(sent) + b"\0\0")
    await Timer(2, "ms")
    assert [frame.encode() for frame in frames] == [sent, sent]
    assert decoder.bad == 1
    assert monitor.malformed == 0


@cocotb.test(timeout_time=100, timeout_unit="ms")
async def blocking_code_runs_on_simulated_time(dut):
    await start_board(dut, GEOMETRY)
    source, target = (CocotbTransport(Bridge(dut, name)) for name in ("source", "target"))

    def scenario():
        for transport in (source, target):
            transport.write(b"ping" * 20)
            got = b""
            while len(got) < 80:
                piece = transport.read(0.001)
                assert piece
                got += piece
            assert got == b"ping" * 20
        began = source.now()
        assert source.read(0.25e-3) == b""
        assert abs(target.now() - began - 0.25e-3) < 1e-6
        source.sleep(0.5e-3)
        assert abs(source.now() - began - 0.75e-3) < 1e-6
        return "done"

    assert await bridge(scenario)() == "done"


@cocotb.test(timeout_time=1000, timeout_unit="ms")
async def throughput(dut):
    """At least 10 KB of traffic a second of real time (several times that on an idle machine)."""
    await start_board(dut, GEOMETRY)
    line = Bridge(dut, "source")
    data = bytes(range(1, 256)) * 80
    began, simulated = time.perf_counter(), get_sim_time("sec")
    await line.send(data)
    seconds = time.perf_counter() - began
    clocks = (get_sim_time("sec") - simulated) * GEOMETRY.clock_hz
    print(f"{len(data) / seconds:.0f} bytes/s, {clocks / seconds / 1e6:.2f} MHz")
    assert len(data) / seconds > 10_000


@cocotb.test(skip="FAIL" not in os.environ)
async def fails_when_asked_to(dut):
    await Timer(1, "us")
    raise AssertionError("on purpose")
