#include "runtime/interrupt.h"

#include <ctime>
#include <exception>

namespace lvm {
namespace {

constexpr int64_t kBetweenChecks = 100;  // milliseconds

// Where the system has a clock that is quicker than exact, by that one.
int64_t milliseconds() {
#if defined(CLOCK_MONOTONIC_COARSE)
    constexpr clockid_t kClock = CLOCK_MONOTONIC_COARSE;
#else
    constexpr clockid_t kClock = CLOCK_MONOTONIC;
#endif
    timespec now;
    clock_gettime(kClock, &now);
    return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

// Leaves a job that has failed on another thread, which has told why.
struct FailedElsewhere : std::exception {};

}  // namespace

thread_local PollScope::Questions PollScope::asked_;

PollScope::PollScope(void (*check)()) : before_(asked_) {
    asked_ = {check, check ? milliseconds() + kBetweenChecks : 0, nullptr};
}

PollScope::PollScope(const std::atomic<bool>& has_failed) : before_(asked_) {
    asked_.has_failed = &has_failed;
}

PollScope::~PollScope() {
    if (asked_.check == before_.check) before_.due = asked_.due;
    asked_ = before_;
}

void poll() {
    PollScope::Questions& asked = PollScope::asked_;
    if (asked.has_failed && asked.has_failed->load(std::memory_order_relaxed)) throw FailedElsewhere();
    if (!asked.check || milliseconds() < asked.due) return;
    asked.check();
    asked.due = milliseconds() + kBetweenChecks;
}

}  // namespace lvm
