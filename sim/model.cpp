// The half of the simulated board that knows the verilated model.

#include <cmath>
#include <stdexcept>

#include "Vboard.h"
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
#endif

namespace {

class VerilatedBoard final : public Model {
public:
    VerilatedBoard(const Setup &setup, Line &source, Line &target)
        : source_(source), target_(target), setup_(setup),
          period_ps_(std::llround(1e12 / setup.clock_hz)) {
        board_.source_rx = 1;
        board_.target_rx = 1;
        board_.host_divisor = setup.host_divisor;
        board_.link_divisor = setup.link_divisor;
        board_.init_delay = setup.delay;
        board_.init_byte_error = setup.byte_error;
        board_.init_frame_loss = setup.frame_loss;
        board_.init_seed = setup.seed;
        board_.clk = 0;
        board_.eval();
        if (!setup.waves.empty()) open_waves();
    }

    ~VerilatedBoard() override {
#if VM_TRACE
        if (waves_) waves_->close();
#endif
        board_.final();
    }

    void run(uint64_t clocks) override {
        const uint64_t end = clock + clocks;
#if VM_TRACE
        if (waves_) {
            for (; clock < end; ++clock) one_traced_clock();
            waves_->flush();
            return;
        }
#endif
        for (; clock < end; ++clock) one_clock();
    }

    uint64_t activity() const override { return board_.activity; }

private:
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
    const Setup setup_;
    const uint64_t period_ps_;
#if VM_TRACE
    std::unique_ptr<Waves> waves_;
#endif
};

} // namespace

std::unique_ptr<Model> make_model(const Setup &setup, Line &source, Line &target) {
    return std::make_unique<VerilatedBoard>(setup, source, target);
}
