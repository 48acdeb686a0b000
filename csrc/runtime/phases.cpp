#include "runtime/phases.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "core/alignment.h"
#include "runtime/interrupt.h"
#include "runtime/relax.h"
#include "runtime/thread_pool.h"

namespace lvm {
namespace {

using Work = std::function<void(int64_t, int)>;

constexpr int kPatience =
    200;                      // looks at a share whose thread is late before another takes it: 5 microseconds
constexpr int kYield = 2000;  // looks before the core is offered to others: a thread at work may wait for it
constexpr int kBetweenPolls = 8;  // phases, which take microseconds each

// Where one share stands. Everyone watches `done`; `taken` is left to the thread whose share it is, in whose
// cache it stays, unless that thread is late.
struct Share {
    alignas(kCacheLine) std::atomic<int64_t> done{0};   // phases
    alignas(kCacheLine) std::atomic<int64_t> taken{0};  // phases
    std::atomic<bool> has_thread{false};

    bool is_done(int64_t phase) const { return done.load(std::memory_order_acquire) > phase; }
    bool take(int64_t phase) {
        return taken.load(std::memory_order_relaxed) == phase &&
               taken.compare_exchange_strong(phase, phase + 1, std::memory_order_relaxed);
    }
    void finish(int64_t phase) { done.store(phase + 1, std::memory_order_release); }
};

class Board {
  public:
    Board(int64_t phases, int shares, const Work& work)
        : phases_(phases), shares_(static_cast<size_t>(shares)), work_(work) {}

    // One thread's way through all phases, its own share first.
    void attend(int own) {
        at(own).has_thread.store(true, std::memory_order_relaxed);
        for (int64_t phase = all_done(); phase < phases_; ++phase) {
            if (phase % kBetweenPolls == 0) poll();
            attempt(phase, own);
            for (int i = 1; i < count(); ++i) see_done(phase, (own + i) % count());
            see_done(phase, own);
        }
    }

  private:
    int count() const { return static_cast<int>(shares_.size()); }
    Share& at(int share) { return shares_[static_cast<size_t>(share)]; }

    // How many phases are over: where a thread that comes late begins.
    int64_t all_done() const {
        int64_t least = phases_;
        for (const Share& share : shares_)
            least = std::min(least, share.done.load(std::memory_order_acquire));
        return least;
    }

    void attempt(int64_t phase, int share) {
        if (!at(share).take(phase)) return;
        work_(phase, share);
        at(share).finish(phase);
    }

    void see_done(int64_t phase, int share) {
        for (int looks = 0; !at(share).is_done(phase); ++looks) {
            const bool late = looks >= kPatience || !at(share).has_thread.load(std::memory_order_relaxed);
            if (late) attempt(phase, share);
            if (looks < kYield) {
                relax();
            } else {
                poll();
                std::this_thread::yield();
            }
        }
    }

    int64_t phases_;
    std::vector<Share> shares_;
    const Work& work_;
};

}  // namespace

void run_phases(int64_t phases, int shares, const Work& work) {
    Board board(phases, shares, work);
    parallel_for(
        shares, 1,
        [&](int64_t begin, int64_t end, int) {
            for (int64_t share = begin; share < end; ++share) board.attend(static_cast<int>(share));
        },
        shares);
}

}  // namespace lvm
