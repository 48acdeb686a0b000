#include "simd/thread_pool.h"

#include <pthread.h>
#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

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
    if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0) return std::max(1, CPU_COUNT(&cpus));
#endif
    return std::max(1u, std::thread::hardware_concurrency());
}

using Body = std::function<void(int64_t, int64_t, int)>;

class ThreadPool {
  public:
    ThreadPool() : count_(default_count()) {}
    ~ThreadPool() { stop_workers(); }

    int count() const { return count_; }

    void resize(int count) {
        const std::lock_guard<std::mutex> busy(busy_);
        stop_workers();
        count_ = count;
    }

    void run(int64_t count, int64_t grain, const Body& body, int most_workers) {
        std::unique_lock<std::mutex> busy(busy_, std::try_to_lock);
        if (!busy.owns_lock() || std::min(count_, most_workers) == 1 || count <= grain)
            return body(0, count, 0);
        start_workers();
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            body_ = &body;
            total_ = count;
            grain_ = grain;
            most_workers_ = most_workers;
            next_.store(0, std::memory_order_relaxed);
            running_ = static_cast<int>(workers_.size());
            error_ = nullptr;
            ++generation_;
        }
        wake_.notify_all();
        work(0);
        std::unique_lock<std::mutex> lock(mutex_);
        done_.wait(lock, [this] { return running_ == 0; });
        if (error_) std::rethrow_exception(error_);
    }

  private:
    void start_workers() {
        if (!workers_.empty()) return;
        stopping_ = false;
        for (int worker = 1; worker < count_; ++worker) {
            workers_.emplace_back([this, worker, seen = generation_] { loop(worker, seen); });
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
            {
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, [&] { return stopping_ || generation_ != seen; });
                if (stopping_) return;
                seen = generation_;
            }
            work(worker);
            const std::lock_guard<std::mutex> lock(mutex_);
            if (--running_ == 0) done_.notify_one();
        }
    }

    void work(int worker) {
        if (worker >= most_workers_) return;
        try {
            for (;;) {
                const int64_t begin = next_.fetch_add(grain_, std::memory_order_relaxed);
                if (begin >= total_) return;
                (*body_)(begin, std::min(begin + grain_, total_), worker);
            }
        } catch (...) {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (!error_) error_ = std::current_exception();
            next_.store(total_, std::memory_order_relaxed);
        }
    }

    std::mutex busy_;  // held by the one caller whose job runs
    std::mutex mutex_;
    std::condition_variable wake_, done_;
    std::vector<std::thread> workers_;
    int count_;
    bool stopping_ = false;
    uint64_t generation_ = 0;
    int running_ = 0, most_workers_ = 1;
    const Body* body_ = nullptr;
    int64_t total_ = 0, grain_ = 1;
    std::atomic<int64_t> next_{0};
    std::exception_ptr error_;
};

ThreadPool* the_pool = nullptr;
std::mutex pool_mutex;

ThreadPool& pool() {
    const std::lock_guard<std::mutex> lock(pool_mutex);
    if (!the_pool) {
        the_pool = new ThreadPool;
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

void set_num_threads(int count) { pool().resize(checked_count(std::to_string(count), "set_num_threads")); }

void parallel_for(int64_t count, int64_t grain, const Body& body, int most_workers) {
    if (count > 0) pool().run(count, std::max<int64_t>(grain, 1), body, most_workers);
}

}  // namespace lvm
