"""Every bound of the geometry, by name, with its message."""

import pytest

from firmware_model.geometry import Geometry, GeometryError

# Parameters that break one bound, and what the message must name: parameter, value, bound.
BAD = [
    ({"volumes": 0}, "volumes 0 is outside 1..128"),
    ({"volumes": 129}, "volumes 129 is outside 1..128"),
    ({"tracks_per_volume": 65537}, "tracks_per_volume 65537 is outside 1..65536"),
    ({"track_bytes": 8}, "track_bytes 8 is outside 16..4096"),
    ({"track_bytes": 96}, "track_bytes 96 is not a power of two"),
    ({"sets": 17}, "sets 17 is outside 1..16"),
    ({"links": 9}, "links 9 is outside 1..8"),
    ({"window": 24}, "window 24 is not a power of two"),
    ({"groups_in_flight": 3}, "groups_in_flight 3 is not a power of two"),
    ({"chain_limit": 171}, "chain_limit 171 is outside 1..170"),
    ({"chain_limit": 100, "spare_slots": 101}, "spare_slots 101 is outside 102..65536"),
    ({"chain_limit": 100, "staging_slots": 99}, "staging_slots 99 is outside 100..65536"),
    ({"link_baud": 3_000_001}, "link_baud 3000001 is outside 300..3000000"),
    ({"volumes": 128, "tracks_per_volume": 1024}, "17 index bits"),
    ({"volumes": 4, "tracks_per_volume": 16384, "track_bytes": 64, "chain_limit": 20},
     "slots exceed 65536"),
    ({"volumes": 30, "sets": 1}, "30 volumes do not fit 1 sets of at most 20"),
    ({"links": 2.0}, "links must be a whole number"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[m for _, m in BAD])
@pytest.mark.requirement("R24")
def test_a_bad_parameter_is_named_with_its_bound(changes, message):
    with pytest.raises(GeometryError) as caught:
        Geometry(**changes)
    assert message in str(caught.value)


@pytest.mark.parametrize("changes", [
    {}, {"volumes": 1, "tracks_per_volume": 1}, {"volumes": 3, "tracks_per_volume": 5},
    {"track_bytes": 16, "chain_limit": 5}, {"links": 8, "sets": 16, "window": 4},
])
def test_index_and_place_are_inverse_and_images_are_dense(changes):
    geometry = Geometry(**changes)
    seen = []
    for volume in range(geometry.volumes):
        for track in range(geometry.tracks_per_volume):
            index = geometry.index(volume, track)
            assert index < 1 << geometry.track_index_bits
            assert geometry.place(index) == (volume, track)
            seen.append(geometry.linear(volume, track))
    assert seen == list(range(geometry.tracks))
    assert geometry.image_bytes == geometry.tracks * geometry.track_bytes


def test_places_outside_are_refused_by_number():
    geometry = Geometry(volumes=3, tracks_per_volume=5)
    with pytest.raises(GeometryError, match=r"volume 3 is outside 0\.\.2"):
        geometry.index(3, 0)
    with pytest.raises(GeometryError, match=r"track 5 is outside 0\.\.4"):
        geometry.linear(0, 5)


def test_fingerprint_sees_what_both_ends_must_share_and_only_that():
    geometry = Geometry()
    assert geometry.fingerprint != geometry.replace(track_bytes=256, chain_limit=80).fingerprint
    assert geometry.fingerprint != geometry.replace(staging_slots=300).fingerprint
    assert geometry.fingerprint == geometry.replace(link_baud=115_200).fingerprint


def test_divisor_is_clocks_a_bit_in_256ths():
    geometry = Geometry(clock_hz=12_000_000)
    assert geometry.divisor(1_000_000) == 12 * 256
    assert geometry.divisor(115_200) == round(12_000_000 * 256 / 115_200)
    with pytest.raises(GeometryError, match=r"baud 3000001 is outside 300\.\.3000000"):
        geometry.divisor(3_000_001)


def test_the_group_limit_fits_an_order_packet_into_a_slot():
    assert Geometry().group_limit == 170
    assert Geometry(staging_slots=120).group_limit == 120
    assert Geometry(track_bytes=4096, staging_slots=1000).group_limit == 255
