// Memory that calls reuse: fresh pages would cost more than the arithmetic.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "core/big_buffer.h"
#include "core/views.h"

namespace lvm::bf16 {

struct Workspace {
    BigBuffer weights, recurrent, slopes, left, right;

    static BF16* bf16_numbers(BigBuffer& buffer, int64_t count) {
        buffer.reserve(count * static_cast<int64_t>(sizeof(BF16)));
        return reinterpret_cast<BF16*>(buffer.data());
    }
};

// One that no other call has, for as long as this lives.
class Borrowed {
  public:
    Borrowed() {
        const std::unique_lock lock(mutex(), std::try_to_lock);
        if (!lock.owns_lock() || idle().empty()) {
            workspace_ = std::make_unique<Workspace>();
        } else {
            workspace_ = std::move(idle().back());
            idle().pop_back();
        }
    }
    ~Borrowed() {
        const std::unique_lock lock(mutex(), std::try_to_lock);
        if (lock.owns_lock()) idle().push_back(std::move(workspace_));
    }
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;
    Workspace& operator*() const { return *workspace_; }
    Workspace* operator->() const { return workspace_.get(); }

  private:
    static std::mutex& mutex() {  // tried, never waited for: a fork may leave it locked
        static std::mutex one;
        return one;
    }
    static std::vector<std::unique_ptr<Workspace>>& idle() {
        static std::vector<std::unique_ptr<Workspace>> all;
        return all;
    }
    std::unique_ptr<Workspace> workspace_;
};

}  // namespace lvm::bf16
