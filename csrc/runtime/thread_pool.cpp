#include "runtime/thread_pool.h"

#include <pthread.h>
#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "runtime/interrupt.h"
#include "runtime/relax.h"
#include "runtime/torch_openmp.h"

namespace lvm {
namespace {

int checked_count(const std::string& text, const std::string& where) {
    char* end = nullptr;
    const long count = std::strtol(text.c_str(), &end, 10);
    if (text.empty() || *end != '\0' || count < 1 || count > kMostThreads) {
        throw std::invalid_argument(where + ": expected a whole number from 1 to 1024, got '" + text + "'");
    }
    return static_cast<int>(count);
}

int default_count() {
    if (const char* wanted = std::getenv("LVM_FAST_NUM_THREADS"); wanted && *wanted) {
        return checked_count(wanted, "LVM_FAST_NUM_THREADS");
    }
#if defined(__linux__)
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0) return std::clamp(CPU_COUNT(&cpus), 1, kMostThreads);
#endif
    return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kMostThreads);
}

using Body = std::function<void(int64_t, int64_t, int)>;

// Looks that take some 20 microseconds: jobs often follow each other closely, and waking a sleeping thread
// takes longer than that.
constexpr int kLooks = 400, kLongLooks = 50 * kLooks;

// Whether `ready` came true while watching.
template <class Ready>
bool watch(int looks, const Ready& ready) {
    for (int look = 0; look < looks; ++look) {
        if (ready()) return true;
        relax();
    }
    return false;
}

thread_local bool at_work = false;  // whether this thread is inside a job

struct AtWork {
    AtWork() { at_work = true; }
    ~AtWork() { at_work = false; }
};

class ThreadPool {
  public:
    explicit ThreadPool(int count) : count_(count) {}
    ~ThreadPool() { stop_workers(); }

    int count() const { return count_.load(std::memory_order_relaxed); }

    void resize(int count) {
        if (at_work)
            throw std::logic_error("set_num_threads: expected a call between jobs, got one from within");
        const std::lock_guard<std::mutex> busy(busy_);
        stop_workers();
        count_.store(count, std::memory_order_relaxed);
    }

    void run(int64_t count, int64_t grain, const Body& body, int most_workers) {
        const bool is_small = count <= grain || most_workers == 1 || this->count() == 1;
        if (at_work || is_small) return run_alone(count, grain, body);
        std::unique_lock<std::mutex> busy(busy_, std::try_to_lock);
        if (!busy.owns_lock()) return run_alone(count, grain, body);
        const AtWork here;
        job_ = {&body, count, grain, most_workers};
        next_.store(0, std::memory_order_relaxed);
        has_failed_.store(false, std::memory_order_relaxed);
        // OpenMP would end and start threads whenever the number changed: ours must be torch's.
        if (const OpenMp* openmp = torch_openmp(); openmp && openmp->max_threads() == this->count()) {
            run_on(*openmp);
        } else {
            run_on_own();
        }
        if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    }

  private:
    struct Job {
        const Body* body = nullptr;
        int64_t count = 0, grain = 1;
        int most_workers = 1;
    };

    // A long job of one thread, too, can be ended between its pieces.
    static void run_alone(int64_t count, int64_t grain, const Body& body) {
        for (int64_t begin = 0; begin < count; begin += grain) {
            poll();
            body(begin, std::min(begin + grain, count), 0);
        }
    }

    void run_on(const OpenMp& openmp) {
        const auto join = [&openmp, this] {
            const int worker = openmp.thread_num();
            if (worker == 0) {
                work(0);
                await_others(kLongLooks);
            } else if (worker < job_.most_workers) {
                active_.fetch_add(1);
                help(worker);
            }
        };
        using Join = const decltype(join);
        void* data = const_cast<std::remove_const_t<Join>*>(&join);
        openmp.parallel([](void* joined) { (*static_cast<Join*>(joined))(); }, data,
                        static_cast<unsigned>(count()), 0);
    }

    void run_on_own() {
        start_workers();
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            open_ = true;
            generation_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        work(0);
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            open_ = false;  // whoever has not begun need not come any more
        }
        await_others(kLooks);
    }

    // Waits as the caller, who may still be told to end the job.
    void await_others(int looks) {
        constexpr std::chrono::milliseconds kBetweenPolls{50};
        const auto are_done = [this] { return active_.load(std::memory_order_acquire) == 0; };
        while (!watch(looks, are_done)) {
            attempt(poll);
            std::unique_lock<std::mutex> lock(mutex_);
            if (done_.wait_for(lock, kBetweenPolls, are_done)) return;
        }
    }

    void start_workers() {
        if (!workers_.empty()) return;
        stopping_ = false;
        try {
            for (int worker = 1; worker < count(); ++worker) {
                workers_.emplace_back([this, worker, seen = generation_.load()] { loop(worker, seen); });
            }
        } catch (const std::system_error&) {  // the system allows no more: fewer do the work
        }
    }

    void stop_workers() {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            stopping_ = true;
        }
        wake_.notify_all();
        for (std::thread& worker : workers_) worker.join();
        workers_.clear();
    }

    void loop(int worker, uint64_t seen) {
        for (;;) {
            watch(kLooks, [&] { return generation_.load(std::memory_order_acquire) != seen; });
            {
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, [&] { return stopping_ || generation_.load() != seen; });
                if (stopping_) return;
                seen = generation_.load();
                if (!open_ || worker >= job_.most_workers) continue;
                active_.fetch_add(1);
            }
            help(worker);
        }
    }

    // As one of the active.
    void help(int worker) {
        const AtWork here;
        work(worker);
        if (active_.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
        const std::lock_guard<std::mutex> lock(mutex_);
        done_.notify_one();
    }

    void work(int worker) {
        const PollScope scope(has_failed_);
        attempt([&] {
            for (;;) {
                poll();
                const int64_t begin = next_.fetch_add(job_.grain, std::memory_order_relaxed);
                if (begin >= job_.count) break;
                (*job_.body)(begin, std::min(begin + job_.grain, job_.count), worker);
            }
        });
    }

    // An exception ends the job.
    template <class Action>
    void attempt(const Action& action) {
        try {
            action();
        } catch (...) {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (!error_) error_ = std::current_exception();
            has_failed_.store(true, std::memory_order_relaxed);
            next_.store(job_.count, std::memory_order_relaxed);
        }
    }

    std::mutex busy_;   // held by the one caller whose job runs
    std::mutex mutex_;  // guards the job, open_, stopping_ and error_
    std::condition_variable wake_, done_;
    std::vector<std::thread> workers_;
    std::atomic<int> count_;
    bool stopping_ = false;
    bool open_ = false;                    // whether workers may still join the job
    std::atomic<uint64_t> generation_{0};  // of the job
    std::atomic<int> active_{0};           // workers at the job, the caller not counted
    std::atomic<bool> has_failed_{false};
    std::atomic<int64_t> next_{0};  // where the next piece begins
    Job job_;
    std::exception_ptr error_;
};

ThreadPool* the_pool = nullptr;
std::mutex pool_mutex;
std::atomic<int> chosen_count{0};  // by set_num_threads: a forked child keeps to it

ThreadPool& pool() {
    const std::lock_guard<std::mutex> lock(pool_mutex);
    if (!the_pool) {
        const int chosen = chosen_count.load();
        the_pool = new ThreadPool(chosen ? chosen : default_count());
        // A forked child has none of our threads: it drops the parent's pool and makes its own at first use.
        static const int registered = pthread_atfork(nullptr, nullptr, [] {
            new (&pool_mutex) std::mutex;
            the_pool = nullptr;
        });
        (void)registered;
    }
    return *the_pool;
}

}  // namespace

int num_threads() { return pool().count(); }

void set_num_threads(int count) {
    pool().resize(checked_count(std::to_string(count), "set_num_threads"));
    chosen_count.store(count);
}

void parallel_for(int64_t count, int64_t grain, const Body& body, int most_workers) {
    if (count > 0) pool().run(count, std::max<int64_t>(grain, 1), body, most_workers);
}

}  // namespace lvm
