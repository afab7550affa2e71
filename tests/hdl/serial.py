"""Serial lines in simulation, clock by clock."""


class Sender:
    """Produces the level of a line: ``step()`` once a clock.

    ``bit`` is the length of a bit in clocks, not necessarily whole.
    """

    def __init__(self, bit):
        self.bit = bit
        self.levels = []        # (end of this level in clocks, level)
        self.now = 0
        self.end = 0.0

    def level(self, level, clocks):
        self.end = max(self.end, self.now) + clocks
        self.levels.append((self.end, level))

    def send(self, data, stop=1):
        for byte in data:
            for level in [0, *(byte >> i & 1 for i in range(8)), stop]:
                self.level(level, self.bit)

    @property
    def idle(self):
        return not self.levels

    def step(self):
        while self.levels and self.levels[0][0] <= self.now:
            self.levels.pop(0)
        self.now += 1
        return self.levels[0][1] if self.levels else 1


class Listener:
    """Reads a line, ``step(level)`` once a clock, sampling in the middle of each bit.

    ``data`` has the bytes, ``starts`` the clock of each byte's start edge. A low stop bit is an
    error: nothing here may send one.
    """

    def __init__(self, bit):
        self.bit = bit
        self.now = 0
        self.data = bytearray()
        self.starts = []
        self._start = None
        self._bits = []

    @property
    def inside(self):
        """A byte has begun and not ended."""
        return self._start is not None

    def step(self, level):
        if self._start is None and not level:
            self._start = self.now
            self._bits = []
        if self._start is not None and self.now >= self._start + (len(self._bits) + 0.5) * self.bit:
            self._bits.append(level)
            if len(self._bits) == 10:
                assert self._bits[0] == 0, "glitch on the line"
                assert self._bits[9] == 1, "no stop bit"
                self.data.append(sum(b << i for i, b in enumerate(self._bits[1:9])))
                self.starts.append(self._start)
                self._start = None
        self.now += 1
