// The simulated board as a library: one board a process and library, driven from Python.
//
// Time passes only in farside_run(), so what happens depends on the calls alone. A call that
// fails returns a negative number, and farside_error() says why. See sim/native.py.

#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "harness.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

constexpr uint64_t POKE_CLOCKS = 256; // an access takes four, and after power-up a hundred

enum Event { NOTHING = 0, SOURCE_FRAME = 1, TARGET_FRAME = 2, LOGGED = 4 };

struct Board {
    Line source{1};
    Line target{1};
    std::unique_ptr<Model> model;
    Watch watch;
    // What is copied into the log whenever the watch sees a change, in this order.
    std::vector<std::pair<const void *, size_t>> recorded;
    // A table whose rows name slots of a data memory: what is visible in them is recorded, too.
    struct {
        const Memory *table = nullptr;
        const Memory *data = nullptr;
        std::vector<uint32_t> rows;
        uint32_t slot_mask = 0;
        size_t track_bytes = 0;
    } image;
    std::vector<uint8_t> log;

    Line &line(int side) { return side ? target : source; }
};

// Never destroyed: Verilator's own state may be gone by then.
Board &board = *new Board;
std::string error;

template <typename Function> int64_t guarded(Function function) {
    try {
        return function();
    } catch (const std::exception &caught) {
        error = caught.what();
        return -1;
    }
}

uint64_t element(const Memory &memory, size_t row) {
    uint64_t value = 0;
    const auto *at = static_cast<const uint8_t *>(memory.data) + row * memory.element;
    std::memcpy(&value, at, std::min(memory.element, sizeof value)); // little-endian machines
    return value;
}

const Memory &find(int64_t number) {
    const auto &memories = board.model->memories();
    if (number < 0 || static_cast<size_t>(number) >= memories.size())
        throw std::runtime_error("there is no memory " + std::to_string(number));
    return memories[static_cast<size_t>(number)];
}

template <typename Source> void append(const Source *bytes, size_t count) {
    const auto *at = reinterpret_cast<const uint8_t *>(bytes);
    board.log.insert(board.log.end(), at, at + count);
}

// The tracks that the table shows, one after the other.
void copy_image(const Memory &table, const Memory &data, const uint32_t *rows, size_t count,
                uint32_t slot_mask, size_t track_bytes, uint8_t *into) {
    for (size_t n = 0; n < count; ++n, into += track_bytes) {
        const size_t slot = element(table, rows[n]) & slot_mask;
        if ((slot + 1) * track_bytes > data.bytes())
            std::memset(into, 0xEE, track_bytes); // a slot that does not exist shows as such
        else
            std::memcpy(into, static_cast<const uint8_t *>(data.data) + slot * track_bytes,
                        track_bytes);
    }
}

void record() {
    const uint64_t clock = board.model->clock;
    append(&clock, sizeof clock);
    for (const auto &[data, bytes] : board.recorded)
        append(static_cast<const uint8_t *>(data), bytes);
    if (!board.image.table) return;
    const auto &image = board.image;
    const size_t at = board.log.size();
    board.log.resize(at + image.rows.size() * image.track_bytes);
    copy_image(*image.table, *image.data, image.rows.data(), image.rows.size(), image.slot_mask,
               image.track_bytes, board.log.data() + at);
}

} // namespace

EXPORT const char *farside_error() { return error.c_str(); }

// Power-up. ``waves`` may be null; a board with waveforms is made anew.
EXPORT int64_t farside_start(double clock_hz, uint32_t host_divisor, uint32_t link_divisor,
                             uint32_t delay, uint32_t byte_error, uint32_t frame_loss,
                             uint32_t seed, uint32_t fault, const char *waves,
                             uint64_t waves_start) {
    return guarded([&] {
        Setup setup;
        setup.clock_hz = clock_hz;
        setup.host_divisor = host_divisor;
        setup.link_divisor = link_divisor;
        setup.delay = delay;
        setup.byte_error = byte_error;
        setup.frame_loss = frame_loss;
        setup.seed = seed;
        if (waves) setup.waves = waves;
        setup.waves_start = waves_start;
        board.source = Line(host_divisor);
        board.target = Line(host_divisor);
        board.watch.clear();
        board.recorded.clear();
        board.image.table = nullptr;
        board.log.clear();
        if (waves) board.model.reset();
        if (!board.model) board.model = make_model(setup, board.source, board.target);
        board.model->outside = Outside();
        board.model->outside.fault = fault;
        board.model->restart(setup);
        return 0;
    });
}

// Ends the board; waveforms are complete then.
EXPORT void farside_stop() { board.model.reset(); }

EXPORT uint64_t farside_clock() { return board.model->clock; }

// Runs at most so many clocks; ends after a clock in which a frame has arrived on a host line or
// something was logged, and says which.
EXPORT int64_t farside_run(uint64_t clocks) {
    return guarded([&] {
        const uint64_t source = board.source.delimiters, target = board.target.delimiters;
        const uint64_t end = board.model->clock + clocks;
        int64_t events = NOTHING;
        while (!events && board.model->clock < end) {
            if (!board.model->run_watched(end - board.model->clock, board.watch)) break;
            if (board.source.delimiters != source) events |= SOURCE_FRAME;
            if (board.target.delimiters != target) events |= TARGET_FRAME;
            if (board.watch.take()) {
                record();
                events |= LOGGED;
            }
        }
        return events;
    });
}

EXPORT int64_t farside_write(int side, const uint8_t *bytes, size_t count) {
    return guarded([&]() -> int64_t {
        Line &line = board.line(side);
        if (line.to_board.room() < count) throw std::runtime_error("the host line is full");
        for (size_t i = 0; i < count; ++i) line.to_board.push(bytes[i]);
        line.woken();
        return 0;
    });
}

// Takes at most ``room`` of the bytes that have arrived; returns how many.
EXPORT int64_t farside_read(int side, uint8_t *into, size_t room) {
    Bytes &bytes = board.line(side).from_board;
    size_t taken = 0;
    while (taken < room && !bytes.empty()) into[taken++] = bytes.pop();
    return static_cast<int64_t>(taken);
}

EXPORT int64_t farside_links_up(int side) { return board.model->links_up(side); }

// Bytes that wait to be sent to the board.
EXPORT int64_t farside_unsent(int side) {
    return static_cast<int64_t>(board.line(side).to_board.size());
}

// Writes a channel register; takes a few clocks.
EXPORT int64_t farside_poke(uint32_t address, uint32_t value) {
    return guarded([&]() -> int64_t {
        Model &model = *board.model;
        model.outside.poke_addr = address;
        model.outside.poke_data = value;
        model.outside.poke_given = !model.outside.poke_given;
        for (uint64_t waited = 0; !model.look_outside(); ++waited) {
            if (waited == POKE_CLOCKS)
                throw std::runtime_error("the board does not take a register: is it tapped?");
            model.run_watched(1, board.watch);
            if (board.watch.take()) record();
        }
        return 0;
    });
}

// Holds a system in reset, or lets it go, from the next clock on; ``generation`` is what it is told.
EXPORT void farside_reset(int side, int held, uint32_t generation) {
    Outside &outside = board.model->outside;
    (side ? outside.target_reset : outside.source_reset) = held != 0;
    (side ? outside.target_generation : outside.source_generation) = generation;
    board.model->look_outside();
}

// -- memories ---------------------------------------------------------------------------------

EXPORT int64_t farside_memories() {
    return static_cast<int64_t>(board.model->memories().size());
}

EXPORT int64_t farside_memory(int64_t number, const char **name, void **data, size_t *element,
                              size_t *rows) {
    return guarded([&] {
        const Memory &memory = find(number);
        *name = memory.name.c_str();
        *data = memory.data;
        *element = memory.element;
        *rows = memory.rows;
        return 0;
    });
}

// Gives a memory the contents it has at power-up.
EXPORT int64_t farside_forget(int64_t number) {
    return guarded([&] {
        const Memory &memory = find(number);
        std::memcpy(memory.data, board.model->initial(memory), memory.bytes());
        board.model->memories_changed();
        return 0;
    });
}

// Copies the tracks that rows of a table show.
EXPORT int64_t farside_image(int64_t table, int64_t data, const uint32_t *rows, size_t count,
                             uint32_t slot_mask, size_t track_bytes, uint8_t *into) {
    return guarded([&] {
        copy_image(find(table), find(data), rows, count, slot_mask, track_bytes, into);
        return 0;
    });
}

// -- the log ----------------------------------------------------------------------------------

// Watch a row of a memory of 16-bit rows.
EXPORT int64_t farside_watch(int64_t number, size_t row) {
    return guarded([&] {
        const Memory &memory = find(number);
        if (memory.element != 2 || row >= memory.rows)
            throw std::runtime_error(memory.name + " has no 16-bit row " + std::to_string(row));
        board.watch.add(static_cast<const uint16_t *>(memory.data) + row);
        return 0;
    });
}

// Record the whole of a memory with every change.
EXPORT int64_t farside_record(int64_t number) {
    return guarded([&] {
        const Memory &memory = find(number);
        board.recorded.emplace_back(memory.data, memory.bytes());
        return 0;
    });
}

// Record an image with every change, after the memories.
EXPORT int64_t farside_record_image(int64_t table, int64_t data, const uint32_t *rows,
                                    size_t count, uint32_t slot_mask, size_t track_bytes) {
    return guarded([&] {
        board.image.table = &find(table);
        board.image.data = &find(data);
        board.image.rows.assign(rows, rows + count);
        board.image.slot_mask = slot_mask;
        board.image.track_bytes = track_bytes;
        return 0;
    });
}

// The log so far; it is empty afterwards, and its bytes stay where they are until the next call.
EXPORT const uint8_t *farside_log(size_t *bytes) {
    static std::vector<uint8_t> taken;
    taken.swap(board.log);
    board.log.clear();
    *bytes = taken.size();
    return taken.data();
}
