"""The bank: every prefix of its chains is a sound database, and half a chain rarely is."""

import random

import apsw
import pytest

from firmware_model.geometry import Geometry
from host_tools import bank, workloads
from host_tools.bank import BankError, Extent, audit
from host_tools.errors import PortLost, UsageError
from tests.host_tools.test_workloads import Memory

SIZES = [
    Geometry(),
    Geometry(volumes=1, sets=1),
    Geometry(tracks_per_volume=64, track_bytes=1024),
    Geometry(tracks_per_volume=16, track_bytes=4096, links=1),
]


def written(geometry, chains=80, seed=1):
    store = Memory(geometry)
    workloads.run("bank", store, chains, seed)
    return store, Extent.of(geometry, store.volume_set)


@pytest.mark.parametrize("geometry", SIZES,
                         ids=lambda g: f"{g.volumes}x{g.tracks_per_volume}x{g.track_bytes}")
def test_every_prefix_is_sound(geometry):
    store, extent = written(geometry)
    assert len(store.chains) == 80
    for number, state in enumerate(store.states):
        found = audit(extent.extract(state))
        assert found.ok, (number, found)
        assert found.empty == (number == 0)
    assert found.accounts == found.expected_accounts == extent.accounts()
    assert found.total == found.accounts * bank.START_BALANCE


def test_tracks_smaller_than_a_page():
    geometry = Geometry(volumes=4, tracks_per_volume=512, track_bytes=256, chain_limit=85,
                        spare_slots=100)
    store, extent = written(geometry)
    assert extent.page_size == 512
    assert all(len(chain) <= 85 for chain in store.chains)
    assert all(audit(extent.extract(state)).ok for state in store.states)


def test_chains_are_like_those_of_real_databases():
    store, _ = written(Geometry(), 200)
    sizes = sorted(map(len, store.chains))
    assert sizes[-1] <= 30
    assert 3 <= sizes[100] <= 12


def test_a_chain_cut_in_the_middle_is_usually_broken():
    """The check can fail: half a chain is noticed in most images."""
    rng = random.Random(5)
    store, extent = written(Geometry(), 120)
    broken = 0
    for _ in range(60):
        number = rng.randrange(12, 120)
        chain = store.chains[number]
        image = bytearray(store.states[number])
        for volume, track, content in chain[:rng.randrange(1, max(2, len(chain)))]:
            at = store.geometry.linear(volume, track) * 512
            image[at:at + 512] = content
        if bytes(image) != store.states[number + 1]:
            broken += not audit(extent.extract(bytes(image))).ok
    assert broken > 30


def test_the_same_seed_writes_the_same_bytes():
    assert written(Geometry())[0].chains == written(Geometry())[0].chains
    assert written(Geometry(), seed=2)[0].chains != written(Geometry())[0].chains


def test_a_bank_that_is_there_already_is_used():
    store, extent = written(Geometry(), 40)
    workloads.run("bank", store, 10, 9)
    assert len(store.chains) == 50
    found = audit(extent.extract(bytes(store.image)))
    assert found.ok
    assert found.accounts == extent.accounts()


def test_the_bank_lives_in_the_set_of_volume_0():
    store = Memory(Geometry(), [1, 0, 1, 0])
    workloads.run("bank", store, 60, 1)
    assert {volume for chain in store.chains for volume, _, _ in chain} <= {0, 2}
    extent = Extent.of(store.geometry, store.volume_set)
    assert extent.volumes == (0, 2)
    assert audit(extent.extract(bytes(store.image))).ok


def test_one_transaction_is_one_chain():
    store = Memory()
    with bank.database(store) as connection:
        connection.execute("CREATE TABLE t(x)")
        before = len(store.chains)
        with connection:
            for n in range(100):
                connection.execute("INSERT INTO t VALUES(?)", (n,))
        assert len(store.chains) == before + 1


def insert(store, rows, size, at_once):
    """Rows of ``size`` bytes, in one transaction or each in its own."""
    with bank.database(store) as connection:
        connection.execute("CREATE TABLE t(x)")
        if at_once:
            connection.execute("BEGIN")
        connection.executemany("INSERT INTO t VALUES(?)", [(bytes(size),)] * rows)
        if at_once:
            connection.execute("COMMIT")


def test_a_chain_that_is_too_long_is_refused_and_not_split():
    class Limited(Memory):
        def submit(self, writes, *, depth=None):
            if len(writes) > 4:
                raise UsageError("a chain of 5 commands exceeds the board's limit of 4")
            return super().submit(writes, depth=depth)

    store = Limited()
    with pytest.raises(UsageError, match="limit of 4"):
        insert(store, 40, 200, at_once=True)
    assert store.chains
    assert all(len(chain) <= 4 for chain in store.chains)


def test_a_full_set_is_said_to_be_full():
    store = Memory(Geometry(volumes=1, tracks_per_volume=16, sets=1))
    with pytest.raises(BankError, match="more than the 16 tracks"):
        insert(store, 100, 300, at_once=False)


@pytest.mark.parametrize(("geometry", "words"), [
    (Geometry(volumes=1, tracks_per_volume=4, sets=1), "too few for the bank"),
    (Geometry(track_bytes=64, chain_limit=21), "too short for the bank"),
])
def test_boards_that_are_too_small(geometry, words):
    with pytest.raises(UsageError, match=words):
        workloads.run("bank", Memory(geometry), 10, 1)


def test_sql_errors_are_reported_as_such():
    with pytest.raises(BankError, match=r"SQLite.*no such table"), \
            bank.database(Memory()) as connection:
        connection.execute("SELECT * FROM missing")


def test_audit_of_garbage():
    assert audit(bytes(100)).empty
    assert not audit(b"garbage" * 1000).ok
    store, extent = written(Geometry(), 40)
    data = bytearray(extent.extract(bytes(store.image)))
    assert audit(bytes(data)).ok
    data[3 * 512:5 * 512] = bytes(1024)
    assert not audit(bytes(data)).ok
    assert not audit(bytes(data[:1024])).ok


def test_audit_notices_wrong_books():
    store, extent = written(Geometry(), 40)
    connection = apsw.Connection(":memory:")
    data = extent.extract(bytes(store.image))
    connection.deserialize("main", data[:bank.database_bytes(data)])
    connection.execute("UPDATE account SET balance = balance + 1 WHERE id = 5")
    found = audit(bytes(connection.serialize("main")))
    connection.close()
    assert found.integrity == "ok"
    assert not found.ok


def test_a_board_that_fails_is_not_blamed_on_sqlite():
    class Gone(Memory):
        def read(self, volume, track, count=1):
            raise PortLost("port x went away")

    with pytest.raises(PortLost, match="port x went away"):
        insert(Gone(), 1, 10, at_once=False)


def test_an_interrupt_passes_through_sqlite():
    class Interrupted(Memory):
        def submit(self, writes, *, depth=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        insert(Interrupted(), 1, 10, at_once=False)


def test_what_the_caller_raises_is_not_blamed_on_sqlite():
    def submitted(_):
        raise PortLost("port y went away")

    with pytest.raises(PortLost, match="port y went away"):
        workloads.run("bank", Memory(), 10, 1, submitted)
