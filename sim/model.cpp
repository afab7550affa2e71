// The half of the simulated board that knows the verilated model.

#include <cmath>
#include <cstring>
#include <stdexcept>

#include "Vboard.h"
#include "Vboard___024root.h"
#include "harness.h"
#include "verilated.h"

#if VM_TRACE_FST
#include "verilated_fst_c.h"
using Waves = VerilatedFstC;
#elif VM_TRACE
#include "verilated_vcd_c.h"
using Waves = VerilatedVcdC;
#endif

#if FARSIDE_FILTER
// Of sim/activity.py: one rising edge, if inputs are only used by registers and the filter.
void farside_clock(Vboard___024root *board);
bool farside_check_clock(Vboard___024root *board);
void farside_wake_all();
#endif

namespace {

template <typename Row, size_t ROWS>
void add_memory(std::vector<Memory> &memories, const char *name, VlUnpacked<Row, ROWS> &rows) {
    memories.push_back({name, &rows[0], sizeof(Row), ROWS});
}

// All memories of the design; sim/build.py writes the list.
std::vector<Memory> list_memories(Vboard___024root *root) {
    std::vector<Memory> memories;
#define FARSIDE_MEMORY(name, member) add_memory(memories, name, root->member);
#include "memories.inc"
#undef FARSIDE_MEMORY
    return memories;
}

class VerilatedBoard final : public Model {
public:
    VerilatedBoard(const Setup &setup, Line &source, Line &target)
        : source_(source), target_(target), setup_(setup),
          period_ps_(std::llround(1e12 / setup.clock_hz)) {
        set_inputs();
        board_.eval();
        memories_ = list_memories(board_.rootp);
        const auto *root = reinterpret_cast<const uint8_t *>(board_.rootp);
        power_up_.assign(root, root + sizeof *board_.rootp);
        if (!setup.waves.empty()) open_waves();
    }

    ~VerilatedBoard() override {
#if VM_TRACE
        if (waves_) waves_->close();
#endif
        board_.final();
    }

    void run(uint64_t clocks) override {
        for (const uint64_t end = clock + clocks; clock < end; ++clock) step();
        flush();
    }

    bool run_watched(uint64_t clocks, Watch &watch) override {
        const uint64_t end = clock + clocks;
        const uint64_t seen = source_.delimiters + target_.delimiters;
        bool found = false;
        while (clock < end && !found) {
            step();
            ++clock;
            found = watch.look() || source_.delimiters + target_.delimiters != seen;
        }
        flush();
        return found;
    }

    void restart(const Setup &setup) override {
        // The root holds all state; what it points to belongs to the model and never changes.
        std::memcpy(static_cast<void *>(board_.rootp), power_up_.data(), sizeof *board_.rootp);
        memories_changed();
        setup_ = setup;
        set_inputs();
        clock = 0;
    }

    bool look_outside() override {
#if FARSIDE_TAPPED
        board_.poke_addr = outside.poke_addr;
        board_.poke_data = outside.poke_data;
        board_.poke_given = outside.poke_given;
        board_.source_reset = outside.source_reset;
        board_.target_reset = outside.target_reset;
        board_.source_generation = outside.source_generation;
        board_.target_generation = outside.target_generation;
        board_.fault = outside.fault;
        return board_.poke_taken == outside.poke_given;
#else
        return false;
#endif
    }

    const std::vector<Memory> &memories() const override { return memories_; }

    const void *initial(const Memory &memory) const override {
        const auto *root = reinterpret_cast<const uint8_t *>(board_.rootp);
        return power_up_.data() + (static_cast<const uint8_t *>(memory.data) - root);
    }

    void memories_changed() override {
#if FARSIDE_FILTER
        farside_wake_all();
#endif
    }

    uint32_t links_up([[maybe_unused]] int side) const override {
#if FARSIDE_TAPPED
        return side ? board_.target_links_up : board_.source_links_up;
#else
        return 0;
#endif
    }

    uint64_t activity() const override { return board_.activity; }

private:
    void set_inputs() {
        board_.source_rx = 1;
        board_.target_rx = 1;
        board_.host_divisor = setup_.host_divisor;
        board_.link_divisor = setup_.link_divisor;
        board_.init_delay = setup_.delay;
        board_.init_byte_error = setup_.byte_error;
        board_.init_frame_loss = setup_.frame_loss;
        board_.init_seed = setup_.seed;
        board_.clk = 0;
        look_outside();
    }

    void step() {
#if VM_TRACE
        if (waves_) {
            one_traced_clock();
            return;
        }
#endif
        one_clock();
    }

    void flush() {
#if VM_TRACE
        if (waves_) waves_->flush();
#endif
    }

    void one_clock() {
#if FARSIDE_FILTER
        if (clock != 0) {
            if (clock % setup_.check_every != 0) {
                farside_clock(board_.rootp);
            } else if (!farside_check_clock(board_.rootp)) {
                throw std::runtime_error("the activity filter differs at clock "
                                         + std::to_string(clock));
            }
            move_host_lines();
            return;
        }
#endif
        board_.clk = 1;
        board_.eval();
        move_host_lines();
        board_.clk = 0;
        board_.eval();
    }

    void move_host_lines() {
        board_.source_rx = source_.step(clock, board_.source_tx);
        board_.target_rx = target_.step(clock, board_.target_tx);
    }

#if VM_TRACE
    void one_traced_clock() {
        const bool wanted = clock >= setup_.waves_start && clock < setup_.waves_stop;
        board_.clk = 1;
        board_.eval();
        if (wanted) waves_->dump(clock * period_ps_);
        move_host_lines();
        board_.clk = 0;
        board_.eval();
        if (wanted) waves_->dump(clock * period_ps_ + period_ps_ / 2);
    }
#endif

    void open_waves() {
#if VM_TRACE
        waves_ = std::make_unique<Waves>();
        board_.trace(waves_.get(), 99);
        waves_->open(setup_.waves.c_str());
        if (!waves_->isOpen())
            throw std::runtime_error("cannot write waveforms to " + setup_.waves);
#else
        throw std::runtime_error("this model was built without waveforms");
#endif
    }

    // Before the model, which asks whether anything will ever be traced.
    const bool tracing_ = (Verilated::traceEverOn(VM_TRACE), true);
    Vboard board_;
    Line &source_;
    Line &target_;
    Setup setup_;
    const uint64_t period_ps_;
    std::vector<Memory> memories_;
    std::vector<uint8_t> power_up_;     // all of the model's state before the first clock
#if VM_TRACE
    std::unique_ptr<Waves> waves_;
#endif
};

} // namespace

std::unique_ptr<Model> make_model(const Setup &setup, Line &source, Line &target) {
    return std::make_unique<VerilatedBoard>(setup, source, target);
}
