// Work in phases, each shared out to the threads, with a light barrier between one phase and the next.
#pragma once

#include <cstdint>
#include <functional>

namespace lvm {

// Calls work(phase, share) for every phase in [0, phases) and every share in [0, shares); a phase begins when
// all of the one before is done. Share i goes to the same thread in every phase as long as that thread keeps
// up, so that what it reads stays in its core's cache; where a thread is late, asleep or elsewhere, others
// take its shares. `work` must not throw; poll() may end the whole between two phases.
void run_phases(int64_t phases, int shares, const std::function<void(int64_t phase, int share)>& work);

}  // namespace lvm
