"""A source without gateware: cuts random groups, and judges what the target shows."""

import dataclasses

from firmware_model import wire
from firmware_model.wire import TargetFlag, Type


@dataclasses.dataclass
class Frame:
    """One frame to send: how ``wire.pack`` wants it."""

    type: Type
    fields: dict
    payload: bytes


@dataclasses.dataclass
class _Set:
    number: int
    places: list                        # (volume, track) of the set
    images: list = dataclasses.field(default_factory=list)      # one a chain, cumulative
    next: int = wire.FIRST_GROUP        # group to cut next, not wrapped
    done: int = 0                       # last group acknowledged
    in_flight: dict = dataclasses.field(default_factory=dict)   # group -> (places, chains so far)
    frames: dict = dataclasses.field(default_factory=dict)      # group -> its frames
    acked_chains: int = 0
    floor: int = 0                      # no reader may see an older prefix than this


LIFE = 0x0107
EPOCH = 1


class MiniSource:
    """Random chains in random groups for every set of a geometry.

    Keeps the rules that the target relies on: a track is in one uncommitted group only, at most
    ``groups_in_flight`` groups a set and ``staging_slots`` tracks are under way.

    The target must have been told to follow by the frames of :meth:`begin`; after that it is always
    in epoch ``EPOCH``.

    Every version of a track is different from every other, so a track that is read tells which
    prefixes of its set it can belong to.
    """

    def __init__(self, geometry, rng):
        self.geometry = geometry
        self.rng = rng
        self.versions = 0
        empty = bytes(geometry.track_bytes)
        self.sets = []
        for number in range(geometry.sets):
            places = [(v, t) for v in range(geometry.volumes) if geometry.initial_set(v) == number
                      for t in range(geometry.tracks_per_volume)]
            self.sets.append(_Set(number, places, [dict.fromkeys(places, empty)]))
        self.sets = [s for s in self.sets if s.places]

    def _data(self):
        self.versions += 1
        return (self.versions.to_bytes(4, "big") * self.geometry.track_bytes)[
            :self.geometry.track_bytes]

    def begin(self):
        """Frames that make a blank target follow, to be sent in this order."""
        frames = []
        for number in range(self.geometry.sets):
            frames.append(Frame(Type.ASK, {"set": number, "life": LIFE, "epoch": EPOCH - 1}, b""))
            frames.append(Frame(Type.BEGIN, {"set": number, "epoch": EPOCH}, b""))
        return frames

    def cut(self):
        """Frames of a new group of some set in a random order; empty if there is no room."""
        g, rng = self.geometry, self.rng
        set_ = rng.choice(self.sets)
        under_way = sum(len(places) for s in self.sets for places, _ in s.in_flight.values())
        pending = {place for places, _ in set_.in_flight.values() for place in places}
        room = min(g.group_limit, g.staging_slots - under_way, len(set_.places) - len(pending))
        if len(set_.in_flight) == g.groups_in_flight or room < 1:
            return []
        places = rng.sample([p for p in set_.places if p not in pending], rng.randint(1, room))
        header = {"set": set_.number, "epoch": EPOCH, "gseq": set_.next % 65536}
        frames, entries, rest = [], b"", places
        while rest:
            size = rng.randint(1, len(rest))
            chain, rest = rest[:size], rest[size:]
            image = dict(set_.images[-1])
            for n, (volume, track) in enumerate(chain):
                image[volume, track] = data = self._data()
                entries += wire.entry(volume, track, n == size - 1)
                frames.append(Frame(Type.DATA, header | {"volume": volume, "track": track}, data))
            set_.images.append(image)
        frames.append(Frame(Type.ORDER, header | {"count": len(places)}, entries))
        set_.in_flight[set_.next] = (places, len(set_.images) - 1)
        set_.frames[set_.next] = frames
        set_.next += 1
        rng.shuffle(frames)
        return list(frames)

    def resend(self):
        """All frames of all groups that are not acknowledged."""
        return [frame for set_ in self.sets for group in set_.in_flight
                for frame in set_.frames[group]]

    def on_status(self, fields):
        """The target says that every group up to ``gseq`` has committed."""
        state = next(s for s in self.sets if s.number == fields["set"])
        if not fields["flags"] & TargetFlag.FOLLOWING:
            assert fields["gseq"] == 0
            return
        assert (fields["epoch"], fields["life"]) == (EPOCH, LIFE)
        ahead = (fields["gseq"] - state.done) % 65536
        assert ahead < state.next - state.done, (
            f"set {state.number}: status for group {fields['gseq']}, which was never sent, "
            f"or back from {state.done}")
        for _ in range(ahead):
            state.done += 1
            _, state.acked_chains = state.in_flight.pop(state.done)
            del state.frames[state.done]
        state.floor = max(state.floor, state.acked_chains)

    @property
    def quiet(self):
        return not any(s.in_flight for s in self.sets)

    # -- the judge -------------------------------------------------------------------------

    def _set_of(self, volume):
        number = self.geometry.initial_set(volume)
        return next(s for s in self.sets if s.number == number)

    def seen(self, volume):
        """Prefix of the volume's set that a read that begins now must not fall behind."""
        return self._set_of(volume).floor

    def judge_read(self, volume, track, data, seen):
        """One track that was read: belongs to a prefix, and to none older than ``seen``."""
        set_ = self._set_of(volume)
        fits = [n for n, image in enumerate(set_.images) if image[volume, track] == data]
        assert fits, f"{volume}:{track} shows data that it never had (torn?): {data[:8].hex()}"
        late = [n for n in fits if n >= seen]
        assert late, (f"set {set_.number}: {volume}:{track} is of prefix {fits[-1]}, "
                      f"but prefix {seen} had been seen or acknowledged before")
        set_.floor = max(set_.floor, late[0])

    def judge_dump(self, image):
        """All tracks at one moment: each set is exactly one prefix; returns it by set."""
        found = {}
        for set_ in self.sets:
            mine = {place: image[place] for place in set_.places}
            fits = [n for n, state in enumerate(set_.images) if state == mine]
            assert fits, f"set {set_.number} is no prefix of its chains"
            assert fits[0] >= set_.floor, f"set {set_.number} went back to prefix {fits[0]}"
            set_.floor = found[set_.number] = fits[0]
        return found
