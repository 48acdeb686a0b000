#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>

#include "check.h"
#include "runtime/interrupt.h"
#include "runtime/thread_pool.h"

namespace lvm {
namespace {

void check_every_index_once(int64_t count, int64_t grain) {
    std::vector<std::atomic<int>> visits(static_cast<size_t>(count));
    parallel_for(count, grain, [&](int64_t begin, int64_t end, int worker) {
        CHECK(0 <= begin && begin < end && end <= count && worker >= 0 && worker < num_threads());
        for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
    });
    for (const auto& visit : visits) CHECK(visit == 1);
}

void check_at_most(int workers) {
    parallel_for(
        300, 1,
        [&](int64_t, int64_t, int worker) {
            CHECK(worker < std::min(workers, num_threads()));
            std::this_thread::sleep_for(std::chrono::microseconds(100));  // long enough for others to join
        },
        workers);
}

void check_exceptions_arrive() {
    bool caught = false;
    try {
        parallel_for(1000, 1, [](int64_t begin, int64_t end, int) {
            if (begin <= 500 && 500 < end) throw std::runtime_error("expected");
        });
    } catch (const std::runtime_error&) {
        caught = true;
    }
    CHECK(caught);
}

void check_nested_and_concurrent_calls() {
    std::atomic<int64_t> total{0};
    const auto job = [&] {
        for (int round = 0; round < 50; ++round) {
            parallel_for(8, 1, [&](int64_t begin, int64_t end, int) {
                parallel_for(end - begin, 1,
                             [&](int64_t first, int64_t last, int) { total += last - first; });
            });
        }
    };
    std::vector<std::thread> callers;
    for (int i = 0; i < 4; ++i) callers.emplace_back(job);
    for (std::thread& caller : callers) caller.join();
    CHECK(total == 4 * 50 * 8);
}

struct Enough : std::exception {};

// A job that would never end, but whose caller asks it to.
void check_a_caller_can_end_a_job() {
    for (const int64_t grain : {int64_t{1}, int64_t{1} << 40}) {
        bool caught = false;
        const PollScope scope([] { throw Enough(); });
        try {
            parallel_for(int64_t{1} << 40, grain, [&](int64_t, int64_t, int) {
                for (;;) poll();
            });
        } catch (const Enough&) {
            caught = true;
        }
        CHECK(caught);
    }
    check_every_index_once(1001, 3);
}

// Even while it waits for the others: their pieces hear of it.
void check_a_caller_can_end_a_job_of_others() {
    if (num_threads() == 1) return;
    const std::thread::id caller = std::this_thread::get_id();
    std::atomic<bool> is_helped{false};
    bool caught = false;
    const PollScope scope([] { throw Enough(); });
    try {
        parallel_for(2, 1, [&](int64_t, int64_t, int) {
            if (std::this_thread::get_id() == caller) {
                while (!is_helped) std::this_thread::yield();
                return;
            }
            is_helped = true;
            for (;;) poll();
        });
    } catch (const Enough&) {
        caught = true;
    }
    CHECK(caught);
}

void check_an_error_ends_the_pieces_of_others() {
    if (num_threads() == 1) return;
    bool caught = false;
    try {
        parallel_for(2, 1, [&](int64_t begin, int64_t, int) {
            if (begin == 1) throw std::runtime_error("expected");
            for (;;) poll();
        });
    } catch (const std::runtime_error&) {
        caught = true;
    }
    CHECK(caught);
}

void check_no_resizing_from_within() {
    if (num_threads() == 1) return;
    bool caught = false;
    try {
        parallel_for(1000, 1, [](int64_t, int64_t, int) { set_num_threads(3); });
    } catch (const std::logic_error&) {
        caught = true;
    }
    CHECK(caught);
}

// Also where the outer call has nothing to share.
void check_nested_in_small_calls() {
    std::atomic<int64_t> total{0};
    parallel_for(4, 100, [&](int64_t begin, int64_t end, int) {
        parallel_for(100 * (end - begin), 1,
                     [&](int64_t first, int64_t last, int) { total += last - first; });
    });
    CHECK(total == 400);
}

void check_resizing_beside_work() {
    const int before = num_threads();
    std::atomic<int64_t> total{0};
    std::thread caller([&] {
        for (int round = 0; round < 200; ++round)
            parallel_for(64, 1, [&](int64_t begin, int64_t end, int) { total += end - begin; });
    });
    for (int round = 0; round < 50; ++round) set_num_threads(1 + round % 3);
    caller.join();
    set_num_threads(before);
    CHECK(total == 200 * 64);
}

// ThreadSanitizer and emulators of processors do not follow threads of a child.
#if !defined(__SANITIZE_THREAD__) && !defined(LVM_FAST_EMULATED)
void check_forked_child_keeps_the_count() {
    const pid_t child = fork();
    if (child == 0) {
        check_every_index_once(100, 1);
        _exit(num_threads());
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == num_threads());
}
#endif

template <class Test>
void at_several_threads(const Test& test) {
    for (int threads : {1, 7, 2}) {
        set_num_threads(threads);
        test();
    }
}

TEST_CASE("every index comes once") {
    at_several_threads([] {
        for (int64_t count : {0, 1, 2, 100, 1001}) {
            for (int64_t grain : {1, 3, 5000}) check_every_index_once(count, grain);
        }
    });
}

TEST_CASE("no more workers than allowed") {
    at_several_threads([] {
        for (int workers : {1, 2, 1000}) check_at_most(workers);
    });
}

TEST_CASE("exceptions arrive") { at_several_threads(check_exceptions_arrive); }

TEST_CASE("nested and concurrent calls") { at_several_threads(check_nested_and_concurrent_calls); }

TEST_CASE("nested calls in small ones") { at_several_threads(check_nested_in_small_calls); }

TEST_CASE("resizing beside work") { at_several_threads(check_resizing_beside_work); }

TEST_CASE("a caller can end a job") { at_several_threads(check_a_caller_can_end_a_job); }

TEST_CASE("a caller can end a job of others") { at_several_threads(check_a_caller_can_end_a_job_of_others); }

TEST_CASE("an error ends the pieces of others") {
    at_several_threads(check_an_error_ends_the_pieces_of_others);
}

TEST_CASE("no resizing from within") { at_several_threads(check_no_resizing_from_within); }

#if !defined(__SANITIZE_THREAD__) && !defined(LVM_FAST_EMULATED)
TEST_CASE("a forked child keeps the count") { at_several_threads(check_forked_child_keeps_the_count); }
#endif

}  // namespace
}  // namespace lvm
