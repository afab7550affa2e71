// The half of the simulated board that does not know the gateware: options, ports, main loop.
//
// Each host line is offered twice, as a pseudo-terminal and as a loopback TCP listener. It serves
// one program: a TCP client holds the lock on the pty that serial programs take (flock), and is
// refused while one of them holds it. Of programs that take no lock, whoever spoke last gets the
// answers; before anybody spoke there are none to give.
// Nothing here ever blocks: a client that does not read loses bytes, as on any serial port, and a
// client that writes faster than the line finds the kernel's buffer full.

#include <arpa/inet.h>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdexcept>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

namespace {

// Clocks between looks at the ports: about a quarter of a millisecond, so that a look costs
// less than 1 % and a client still gets a quick answer.
constexpr uint64_t SLICE = 1024;

// Quiet for this long, and the process starts to nap between slices.
constexpr double QUIET_SECONDS = 2.0;
constexpr long NAP_NANOSECONDS = 2'000'000;

volatile std::sig_atomic_t stop_requested = 0;

void request_stop(int) { stop_requested = 1; }

double now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

double cpu_seconds() {
    timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

[[noreturn]] void fail(const std::string &what) {
    throw std::runtime_error(what + ": " + std::strerror(errno));
}

void set_nonblocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

// One host line and its two doors to the outside.
class Port {
public:
    Port(const char *name, uint32_t divisor) : line(divisor), name_(name) {
        open_pty();
        open_listener();
    }

    ~Port() {
        for (int fd : {client_, listener_, slave_, master_})
            if (fd >= 0) close(fd);
    }

    Port(const Port &) = delete;
    Port &operator=(const Port &) = delete;

    const std::string &pty() const { return pty_; }
    std::string url() const { return "socket://127.0.0.1:" + std::to_string(tcp_port_); }
    bool has_client() const { return client_ >= 0; }

    static constexpr size_t WATCHED = 3;

    // Fills in what has to be watched; serve() must be called with the same array afterwards.
    void watch(pollfd *fds) const {
        // A client is only read while there is room: so it feels the speed of the line.
        const bool room = line.to_board.room() >= CHUNK;
        fds[0] = {listener_, POLLIN, 0};
        fds[1] = {room ? master_ : -1, POLLIN, 0};
        fds[2] = {client_, static_cast<short>(room ? POLLIN | POLLRDHUP : POLLRDHUP), 0};
    }

    // Moves bytes both ways; true if a client said something.
    bool serve(const pollfd *fds) {
        bool spoken = false;
        if (fds[1].revents & POLLIN) spoken |= read_pty();
        if (fds[2].revents & POLLIN) spoken |= read_client();
        else if (fds[2].revents) drop_client();     // gone, and the line takes no more of it now
        if (fds[0].revents) accept_client(fds[2].revents & (POLLRDHUP | POLLHUP | POLLERR));
        write_answers();
        if (spoken) line.woken();
        return spoken;
    }

    Line line;

private:
    enum class Speaker { NONE, PTY, TCP };
    static constexpr size_t CHUNK = 4096;

    void open_pty() {
        master_ = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (master_ < 0 || grantpt(master_) || unlockpt(master_)) fail("cannot open a pty");
        char path[128];
        if (ptsname_r(master_, path, sizeof path)) fail("cannot name a pty");
        pty_ = path;
        // Kept open: at the last close of this end the kernel would forget that it is raw.
        slave_ = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (slave_ < 0) fail("cannot open " + pty_);
        termios settings;
        if (tcgetattr(slave_, &settings)) fail("cannot set up " + pty_);
        cfmakeraw(&settings);
        if (tcsetattr(slave_, TCSANOW, &settings)) fail("cannot set up " + pty_);
        // Packet mode tells us when a client flushes its input: stale answers go then, too.
        int on = 1;
        if (ioctl(master_, TIOCPKT, &on)) fail("cannot set up " + pty_);
        set_nonblocking(master_);
    }

    void open_listener() {
        listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        auto *generic = reinterpret_cast<sockaddr *>(&address);
        // Answers that nobody reads should be lost early, not pile up in the kernel.
        const int buffer = 1 << 16;
        setsockopt(listener_, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
        setsockopt(listener_, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
        if (listener_ < 0 || bind(listener_, generic, length) || listen(listener_, 4)
            || getsockname(listener_, generic, &length))
            fail("cannot listen on the loopback interface");
        tcp_port_ = ntohs(address.sin_port);
        set_nonblocking(listener_);
    }

    // ``hung_up``: the present client has closed its end, so the next one need not wait for it.
    void accept_client(bool hung_up) {
        const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) return;
        if (client_ >= 0 && hung_up) drop_client();
        if (client_ >= 0 || flock(slave_, LOCK_EX | LOCK_NB)) {
            const std::string told = "farside: the " + name_ + " port has another client\n";
            (void)!send(fd, told.data(), told.size(), MSG_NOSIGNAL);
            close(fd);
            return;
        }
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        client_ = fd;
    }

    bool read_pty() {
        uint8_t buffer[1 + CHUNK];
        const ssize_t got = read(master_, buffer, sizeof buffer);
        if (got < 1) return false;
        if (buffer[0] != TIOCPKT_DATA) {
            if ((buffer[0] & TIOCPKT_FLUSHREAD) && speaker_ == Speaker::PTY)
                line.from_board.clear();
            return false;
        }
        return take(Speaker::PTY, buffer + 1, static_cast<size_t>(got - 1));
    }

    bool read_client() {
        uint8_t buffer[CHUNK];
        const ssize_t got = recv(client_, buffer, sizeof buffer, 0);
        if (got > 0) return take(Speaker::TCP, buffer, static_cast<size_t>(got));
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
        drop_client();
        return false;
    }

    void drop_client() {
        close(client_);
        client_ = -1;
        flock(slave_, LOCK_UN);
        if (speaker_ == Speaker::TCP) speaker_ = Speaker::NONE;
    }

    bool take(Speaker speaker, const uint8_t *bytes, size_t count) {
        if (count == 0) return false;
        if (speaker != speaker_) {
            // What is left belongs to a conversation of somebody else.
            line.from_board.clear();
            speaker_ = speaker;
        }
        for (size_t i = 0; i < count; ++i) line.to_board.push(bytes[i]);
        return true;
    }

    void write_answers() {
        if (speaker_ == Speaker::NONE) line.from_board.clear();
        while (!line.from_board.empty()) {
            size_t length;
            const uint8_t *bytes = line.from_board.front(length);
            const ssize_t written = speaker_ == Speaker::TCP
                                        ? send(client_, bytes, length, MSG_NOSIGNAL)
                                        : write(master_, bytes, length);
            if (written <= 0) return;
            line.from_board.drop(static_cast<size_t>(written));
        }
    }

    const std::string name_;
    std::string pty_;
    uint16_t tcp_port_ = 0;
    int master_ = -1;
    int slave_ = -1;
    int listener_ = -1;
    int client_ = -1;
    Speaker speaker_ = Speaker::NONE;
};

struct Options {
    Setup setup;
    uint64_t max_clocks = ~uint64_t{0};
    double idle_exit = 0;       // seconds; 0: never
    bool stay_with_stdin = false;
};

Options parse(int argc, char **argv) {
    Options options;
    Setup &setup = options.setup;
    for (int i = 1; i < argc; ++i) {
        const std::string name = argv[i];
        if (name == "--stay-with-stdin") {
            options.stay_with_stdin = true;
            continue;
        }
        if (++i == argc) throw std::runtime_error("option " + name + " needs a value");
        const std::string text = argv[i];
        if (name == "--waves") {
            setup.waves = text;
            continue;
        }
        size_t used = 0;
        double number = -1;
        try {
            number = std::stod(text, &used);
        } catch (const std::exception &) {
            used = 0;
        }
        if (used != text.size() || number < 0)
            throw std::runtime_error("option " + name + ": '" + text + "' is no number");
        const auto clocks = static_cast<uint64_t>(number);
        const auto word = static_cast<uint32_t>(number);
        if (name == "--clock-hz") setup.clock_hz = number;
        else if (name == "--host-divisor") setup.host_divisor = word;
        else if (name == "--link-divisor") setup.link_divisor = word;
        else if (name == "--delay") setup.delay = word;
        else if (name == "--byte-error") setup.byte_error = word;
        else if (name == "--frame-loss") setup.frame_loss = word;
        else if (name == "--seed") setup.seed = word;
        else if (name == "--waves-start") setup.waves_start = clocks;
        else if (name == "--waves-stop") setup.waves_stop = clocks;
        else if (name == "--check-every" && clocks) setup.check_every = clocks;
        else if (name == "--max-clocks") options.max_clocks = clocks;
        else if (name == "--idle-exit") options.idle_exit = number;
        else throw std::runtime_error("unknown option " + name);
    }
    return options;
}

// Decides when nobody needs the simulation to hurry.
class Quiet {
public:
    // True if the caller may nap. ``spoken``: a client said something since the last call.
    bool observe(bool spoken, bool connected, uint64_t activity, double time) {
        if (spoken || connected) heard_ = time;
        if (activity != activity_) moved_ = time;
        activity_ = activity;
        return time - heard_ > QUIET_SECONDS && time - moved_ > QUIET_SECONDS;
    }

    double since_heard(double time) const { return time - heard_; }

private:
    double heard_ = now();
    double moved_ = now();
    uint64_t activity_ = 0;
};

int run(const Options &options) {
    Port source("source", options.setup.host_divisor);
    Port target("target", options.setup.host_divisor);
    auto model = make_model(options.setup, source.line, target.line);

    std::printf("{\"source\": \"%s\", \"target\": \"%s\", \"source_socket\": \"%s\", "
                "\"target_socket\": \"%s\", \"clock_hz\": %.0f, \"pid\": %d}\n",
                source.pty().c_str(), target.pty().c_str(), source.url().c_str(),
                target.url().c_str(), options.setup.clock_hz, static_cast<int>(getpid()));
    std::fflush(stdout);

    Quiet quiet;
    const double started = now();
    double napped = 0;
    while (!stop_requested && model->clock < options.max_clocks) {
        const uint64_t left = options.max_clocks - model->clock;
        model->run(left < SLICE ? left : SLICE);

        constexpr size_t W = Port::WATCHED;
        pollfd fds[2 * W + 1];
        source.watch(fds);
        target.watch(fds + W);
        fds[2 * W] = {options.stay_with_stdin ? STDIN_FILENO : -1, POLLIN, 0};
        if (poll(fds, 2 * W + 1, 0) < 0) {
            if (errno != EINTR) fail("poll");
            continue;
        }
        bool spoken = source.serve(fds);
        spoken |= target.serve(fds + W);
        if (fds[2 * W].revents) {
            char ignored[64];
            if (read(STDIN_FILENO, ignored, sizeof ignored) <= 0) break;
        }

        const double time = now();
        const bool connected = source.has_client() || target.has_client();
        if (quiet.observe(spoken, connected, model->activity(), time)) {
            const timespec nap{0, NAP_NANOSECONDS};
            nanosleep(&nap, nullptr);
            napped += now() - time;
        }
        if (options.idle_exit > 0 && quiet.since_heard(time) > options.idle_exit) break;
    }

    const double seconds = now() - started - napped;
    const uint64_t clocks = model->clock;
    model.reset();
    std::fprintf(stderr,
                 "{\"clocks\": %llu, \"busy_seconds\": %.3f, \"cpu_seconds\": %.3f, "
                 "\"clock_rate\": %.0f, "
                 "\"source_overruns\": %llu, \"target_overruns\": %llu}\n",
                 static_cast<unsigned long long>(clocks), seconds, cpu_seconds(),
                 seconds > 0 ? static_cast<double>(clocks) / seconds : 0.0,
                 static_cast<unsigned long long>(source.line.overruns),
                 static_cast<unsigned long long>(target.line.overruns));
    return 0;
}

} // namespace

int main(int argc, char **argv) {
    struct sigaction stop{};
    stop.sa_handler = request_stop;
    for (int number : {SIGINT, SIGTERM, SIGHUP}) sigaction(number, &stop, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    try {
        return run(parse(argc, argv));
    } catch (const std::exception &error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 1;
    }
}
