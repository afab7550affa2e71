// Executable for cocotb with a clock of its own.
//
// A clock that cocotb drives costs two passes through its callbacks a cycle. Here the clock runs
// in C++, and cocotb is called only at the times it asked for and when a signal it watches has
// changed: so simulated time passes nearly as fast as in the free-running board.
//
// FARSIDE_CLOCK_PS is the period of port clk in picoseconds. Without it cocotb has to drive clk.

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "Vtop.h"
#include "verilated.h"
#include "verilated_vpi.h"

#if VM_TRACE_FST
#include "verilated_fst_c.h"
using Waves = VerilatedFstC;
#elif VM_TRACE
#include "verilated_vcd_c.h"
using Waves = VerilatedVcdC;
#endif

extern "C" void vlog_startup_routines_bootstrap(void);

namespace {

constexpr uint64_t NEVER = ~uint64_t{0};

class Simulation {
public:
    explicit Simulation(uint64_t period) : half_(period / 2), edge_(period ? period : NEVER) {
#if VM_TRACE
        if (const char *file = std::getenv("FARSIDE_WAVES")) {
            Verilated::traceEverOn(true);
            waves_ = std::make_unique<Waves>();
            top_.trace(waves_.get(), 99);
            waves_->open(file);
        }
#endif
    }

    ~Simulation() {
        top_.final();
        VerilatedVpi::callCbs(cbEndOfSimulation);
#if VM_TRACE
        if (waves_) waves_->close();
#endif
    }

    void run() {
        VerilatedVpi::callCbs(cbStartOfSimulation);
        while (VerilatedVpi::callValueCbs()) {}
        step(true);
        while (!Verilated::gotFinish()) {
            const uint64_t asked = VerilatedVpi::cbNextDeadline();
            if (asked == NEVER && !watched()) break;
            const bool clocked = edge_ <= asked;
            const bool called = asked <= edge_;
            Verilated::threadContextp()->time(clocked ? edge_ : asked);
            VerilatedVpi::callCbs(cbNextSimTime);
            if (called) {
                VerilatedVpi::callTimedCbs();
                while (VerilatedVpi::callValueCbs()) {}
            }
            if (clocked) {
                top_.clk = !top_.clk;
                edge_ += half_;
            }
            step(called);
        }
    }

private:
    // Evaluates until nothing changes any more. ``busy``: cocotb has already had its say in this
    // time step, so it may have asked for the callbacks at its end.
    void step(bool busy) {
        bool again;
        do {
            top_.eval_step();
            VerilatedVpi::clearEvalNeeded();
            busy |= settle();
            again = VerilatedVpi::evalNeeded();
            if (!again && busy) {
                VerilatedVpi::callCbs(cbReadWriteSynch);
                settle();
                again = VerilatedVpi::evalNeeded();
            }
        } while (again);
        top_.eval_end_step();
        if (busy) VerilatedVpi::callCbs(cbReadOnlySynch);
#if VM_TRACE
        if (waves_) waves_->dump(Verilated::threadContextp()->time());
#endif
    }

    // Passes values to and fro; true if cocotb was called.
    static bool settle() {
        VerilatedVpi::doInertialPuts();
        bool called = false;
        while (VerilatedVpi::callValueCbs()) called = true;
        return called;
    }

    static bool watched() { return VerilatedVpi::hasCbs(cbValueChange); }

    Vtop top_{""};
    const uint64_t half_;
    uint64_t edge_;
#if VM_TRACE
    std::unique_ptr<Waves> waves_;
#endif
};

} // namespace

int main(int argc, char **argv) {
    Verilated::commandArgs(argc, argv);
    Verilated::fatalOnVpiError(false);
    const char *period = std::getenv("FARSIDE_CLOCK_PS");
    {
        Simulation simulation(period ? std::strtoull(period, nullptr, 10) : 0);
        vlog_startup_routines_bootstrap();
        simulation.run();
    }
    return Verilated::threadContextp()->errorCount() > 0;
}
