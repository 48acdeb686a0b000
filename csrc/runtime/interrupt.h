// Long jobs ask now and then whether they are still wanted: so Ctrl-C can end them.
#pragma once

#include <atomic>
#include <cstdint>

namespace lvm {

// Ends the job at hand by an exception where its caller's check says so, or where another thread of it has
// failed. Costs some nanoseconds: call it between pieces of work of at most some 100 milliseconds.
void poll();

// What poll() asks on this thread while the scope lives.
class PollScope {
  public:
    // `check`, unless null, ten times a second: it throws to end the job. Nothing else.
    explicit PollScope(void (*check)());

    // What it asked before, and whether the job has failed on another thread.
    explicit PollScope(const std::atomic<bool>& has_failed);

    ~PollScope();
    PollScope(const PollScope&) = delete;
    PollScope& operator=(const PollScope&) = delete;

  private:
    friend void poll();
    struct Questions {
        void (*check)() = nullptr;
        int64_t due = 0;  // when to call it next, in milliseconds
        const std::atomic<bool>* has_failed = nullptr;
    };
    static thread_local Questions asked_;
    Questions before_;
};

}  // namespace lvm
