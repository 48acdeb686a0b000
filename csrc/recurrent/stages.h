// Work in stages, each shared out to the threads, with a light barrier between one stage and the next.
#pragma once

#include <cstdint>
#include <functional>

namespace lvm {

// Calls work(stage, share) for every stage in [0, stages) and every share in [0, shares); a stage begins when
// all of the one before is done. Share i goes to the same thread in every stage as long as that thread keeps
// up, so that what it reads stays in its core's cache; where a thread is late, asleep or elsewhere, others
// take its shares. `work` must not throw; poll() may end the whole between two stages.
void run_stages(int64_t stages, int shares, const std::function<void(int64_t stage, int share)>& work);

}  // namespace lvm
