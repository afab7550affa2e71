// What the two halves of the simulated board share.
//
// harness.cpp owns everything that does not depend on the gateware: options, pseudo-terminals,
// sockets, signals, the main loop. It is compiled once. model.cpp owns the verilated model and
// the loop over its clocks; it is compiled for each model. A Line stands between them.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

// A bounded queue of bytes.
class Bytes {
public:
    explicit Bytes(size_t capacity) : ring_(capacity) {}

    size_t size() const { return size_; }
    size_t room() const { return ring_.size() - size_; }
    bool empty() const { return size_ == 0; }
    void clear() { size_ = 0; }

    // Appends a byte; false, and nothing done, when full.
    bool push(uint8_t byte) {
        if (room() == 0) return false;
        ring_[(head_ + size_) % ring_.size()] = byte;
        ++size_;
        return true;
    }

    uint8_t pop() {
        const uint8_t byte = ring_[head_];
        drop(1);
        return byte;
    }

    // The longest run of bytes at the front that lies in one piece.
    const uint8_t *front(size_t &length) const {
        length = size_ < ring_.size() - head_ ? size_ : ring_.size() - head_;
        return &ring_[head_];
    }

    void drop(size_t count) {
        head_ = (head_ + count) % ring_.size();
        size_ -= count;
    }

private:
    std::vector<uint8_t> ring_;
    size_t head_ = 0;
    size_t size_ = 0;
};

// One end of a host line: turns bytes into levels and back, ten bits a byte, at a divisor of
// clocks a bit in 1/256, as the gateware does. Times are kept in 1/256 clock, so the fraction
// of a clock is never lost.
class Line {
public:
    explicit Line(uint32_t divisor) : divisor_(divisor) {}

    // Called once a clock with the level that the board drives; returns the level it sees.
    bool step(uint64_t clock, bool level) {
        if (clock < due_ && (level || receiving_)) return driven_;
        const uint64_t now = clock << 8;
        if (receiving_ ? now >= sample_at_ : !level) receive(now, level);
        if (now >= change_at_) transmit(now);
        settle();
        return driven_;
    }

    // Bytes that wait to be sent to the board. Call woken() after adding some.
    Bytes to_board{1 << 14};
    void woken() { due_ = 0; }

    // Bytes that came from the board. When full, the newest are lost, as in any UART.
    Bytes from_board{1 << 16};

    uint64_t overruns = 0;  // bytes lost because nobody took them
    uint64_t malformed = 0; // bytes without a stop bit
    uint64_t sent = 0;
    uint64_t received = 0;
    uint64_t delimiters = 0; // bytes received that end a frame

private:
    void receive(uint64_t now, bool level) {
        if (!receiving_) {
            receiving_ = true;
            bit_ = 0;
            sample_at_ = now + divisor_ / 2;
            return;
        }
        sample_at_ += divisor_;
        if (broken_) {
            // No stop bit came: wait for the line to idle before looking for a start bit.
            if (level) broken_ = receiving_ = false;
        } else if (bit_ == 0 && level) {
            receiving_ = false;
        } else if (bit_ == 9) {
            broken_ = !level;
            receiving_ = broken_;
            if (level) {
                ++received;
                delimiters += shift_ == 0;
                if (!from_board.push(shift_)) ++overruns;
            } else {
                ++malformed;
            }
        } else {
            shift_ = static_cast<uint8_t>(shift_ >> 1 | (level ? 0x80 : 0));
            ++bit_;
        }
    }

    void transmit(uint64_t now) {
        if (bits_left_ == 0) {
            if (to_board.empty()) {
                change_at_ = NEVER;
                return;
            }
            pattern_ = static_cast<uint16_t>(to_board.pop() << 1 | 0x200);
            bits_left_ = 10;
            if (change_at_ == NEVER || now > change_at_ + divisor_) change_at_ = now;
            ++sent;
        }
        driven_ = pattern_ & 1;
        pattern_ >>= 1;
        --bits_left_;
        change_at_ += divisor_;
    }

    void settle() {
        if (change_at_ == NEVER && !to_board.empty()) change_at_ = 0;
        const uint64_t sample = receiving_ ? sample_at_ : NEVER;
        const uint64_t first = change_at_ < sample ? change_at_ : sample;
        due_ = first == NEVER ? NEVER : (first + 255) >> 8;
    }

    static constexpr uint64_t NEVER = ~uint64_t{0};

    uint32_t divisor_;
    uint64_t due_ = 0; // in clocks: nothing can happen before, unless a start bit comes
    bool driven_ = true;
    bool receiving_ = false;
    bool broken_ = false;
    uint8_t shift_ = 0;
    int bit_ = 0;
    uint16_t pattern_ = 0;
    int bits_left_ = 0;
    uint64_t sample_at_ = NEVER;
    uint64_t change_at_ = 0;
};

// What the model is started with.
struct Setup {
    double clock_hz = 12e6;
    uint32_t host_divisor = 6 * 256;
    uint32_t link_divisor = 12 * 256;
    uint32_t delay = 0;
    uint32_t byte_error = 0;
    uint32_t frame_loss = 0;
    uint32_t seed = 1;
    std::string waves;
    uint64_t waves_start = 0;
    uint64_t waves_stop = ~uint64_t{0};
    uint64_t check_every = ~uint64_t{0};    // clocks between checks of the activity filter
};

// A memory of the gateware, by its full name in the Verilog. Every row takes ``element`` bytes.
struct Memory {
    std::string name;
    void *data;
    size_t element;
    size_t rows;
    size_t bytes() const { return element * rows; }
};

// Sixteen-bit rows of a memory, looked at after every clock.
class Watch {
public:
    void add(const uint16_t *word) { words_.push_back({word, *word}); }
    void clear() { words_.clear(); }

    // Whether any of them has changed since the last look.
    bool look() {
        bool changed = false;
        for (Word &word : words_) {
            changed |= *word.now != word.last;
            word.last = *word.now;
        }
        changed_ |= changed;
        return changed;
    }

    // Whether any look has found a change since this was asked.
    bool take() { return std::exchange(changed_, false); }

private:
    struct Word {
        const uint16_t *now;
        uint16_t last;
    };
    std::vector<Word> words_;
    bool changed_ = false;
};

// What goes on around the board: only a board of sim/tapped.py can be told.
struct Outside {
    uint32_t poke_addr = 0;
    uint32_t poke_data = 0;
    bool poke_given = false;
    bool source_reset = false;
    bool target_reset = false;
    uint32_t source_generation = 0;
    uint32_t target_generation = 0;
    uint32_t fault = 0;
};

// The verilated gateware of the whole board.
class Model {
public:
    virtual ~Model() = default;
    // Runs so many clocks.
    virtual void run(uint64_t clocks) = 0;
    // The same, but ends after a clock in which a host line has got a delimiter or ``watch`` has
    // seen a change; true if it has.
    virtual bool run_watched(uint64_t clocks, Watch &watch) = 0;
    // Back to power-up, with another setup. ``outside`` stays as it is.
    virtual void restart(const Setup &setup) = 0;
    // Takes over ``outside``; a poke has been taken when this returns true.
    virtual bool look_outside() = 0;
    virtual const std::vector<Memory> &memories() const = 0;
    // What the memory held at power-up.
    virtual const void *initial(const Memory &memory) const = 0;
    // To be called when a memory has been written from outside.
    virtual void memories_changed() = 0;
    // Bit n: link n has a session at the source (0) or the target (1).
    virtual uint32_t links_up(int side) const = 0;
    // Changes whenever a byte has travelled on any link.
    virtual uint64_t activity() const = 0;
    uint64_t clock = 0;
    Outside outside;
};

// Throws std::runtime_error with a message for the user.
std::unique_ptr<Model> make_model(const Setup &setup, Line &source, Line &target);
