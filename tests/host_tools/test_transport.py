"""Ports: what opens, what is refused, and in which words."""

import errno
import os
import pty
import socket
import threading
import time
import tty

import pytest
import serial

from host_tools import transport
from host_tools.errors import (
    Exit,
    NoPermission,
    NoSuchPort,
    NotASerialPort,
    PortBusy,
    PortLost,
    TransportError,
)
from host_tools.transport import SerialTransport


@pytest.fixture
def line():
    """A pty: (path, file descriptor of the far end)."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    yield os.ttyname(slave), master
    os.close(master)
    os.close(slave)


def read_exactly(port, count):
    data = b""
    end = time.monotonic() + 5
    while len(data) < count and time.monotonic() < end:
        data += port.read(0.1)
    return data


def test_bytes_pass_both_ways_over_a_pty(line):
    path, far = line
    port = SerialTransport(path)
    try:
        os.write(far, b"\x00abc\xff")
        assert read_exactly(port, 5) == b"\x00abc\xff"
        port.write(bytes(range(256)))
        assert os.read(far, 4096) == bytes(range(256))
    finally:
        port.close()
        port.close()


def test_bytes_pass_both_ways_over_a_socket():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = SerialTransport(f"socket://127.0.0.1:{server.getsockname()[1]}")
        far, _ = server.accept()
        with far:
            far.sendall(b"x" * 100_000)
            assert read_exactly(port, 100_000) == b"x" * 100_000
            port.write(b"y" * 1000)
            assert far.recv(4096)[:1] == b"y"
        port.close()


def test_read_returns_nothing_after_the_timeout(line):
    port = SerialTransport(line[0])
    start = port.now()
    assert port.read(0.05) == b""
    assert 0.04 < port.now() - start < 2
    assert port.read(0) == b""
    port.close()


def test_large_writes_wait_for_the_reader(line):
    path, far = line
    port = SerialTransport(path)
    got = bytearray()

    def drain():
        while len(got) < 200_000:
            got.extend(os.read(far, 65536))

    reader = threading.Thread(target=drain)
    reader.start()
    port.write(b"z" * 200_000)
    reader.join(10)
    assert len(got) == 200_000
    port.close()


def refused(kind, port):
    with pytest.raises(kind) as error:
        SerialTransport(port)
    text = str(error.value)
    assert port in text
    assert "\n" not in text
    assert error.value.exit_code == Exit.DEVICE
    return text


@pytest.mark.parametrize("port", ["/dev/no-such-port", "nonsense://x"])
def test_missing_port(port):
    refused(NoSuchPort, port)


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
    assert "farside board" in refused(NoSuchPort, f"socket://127.0.0.1:{number}")


def test_busy_port(line):
    first = SerialTransport(line[0])
    assert "close the program" in refused(PortBusy, line[0])
    first.close()
    SerialTransport(line[0]).close()


def test_no_permission_names_the_group(monkeypatch):
    def refuse(*_, **__):
        raise serial.SerialException(errno.EACCES, "could not open port")

    monkeypatch.setattr(transport.serial, "serial_for_url", refuse)
    monkeypatch.setattr(transport, "_group_of", lambda port: "uucp")
    assert "join the group uucp" in refused(NoPermission, "/dev/ttyUSB0")


def test_group_of_a_port_that_cannot_be_looked_at():
    assert transport._group_of("/dev/no-such-port") == "dialout"


def test_regular_file_and_directory(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    refused(NotASerialPort, str(file))
    refused(NotASerialPort, str(tmp_path))
    assert file.read_text() == "x"


def test_unknown_failure_is_still_a_line(monkeypatch):
    def refuse(*_, **__):
        raise serial.SerialException("the moon is in the wrong phase")

    monkeypatch.setattr(transport.serial, "serial_for_url", refuse)
    assert "moon" in refused(TransportError, "/dev/ttyUSB0")


def test_port_that_goes_away():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = SerialTransport(f"socket://127.0.0.1:{server.getsockname()[1]}")
        far, _ = server.accept()
        far.sendall(b"last words\0")
        far.close()
        assert read_exactly(port, 11) == b"last words\0"
        with pytest.raises(PortLost, match="went away"):
            read_exactly(port, 1)
        port.close()


def test_port_that_takes_no_data(line, monkeypatch):
    monkeypatch.setattr(transport, "WRITE_TIMEOUT", 0.2)
    port = SerialTransport(line[0])
    with pytest.raises(PortLost, match="takes no data"):
        port.write(b"x" * 1_000_000)
    port.close()


def test_hexdump_is_short():
    assert str(transport.Hexdump(b"\x01\x02")) == "01 02"
    assert str(transport.Hexdump(bytes(1000))).endswith("(1000 bytes)")
