// Loops over the units of a recurrent layer, for one instruction set. Included by the kernels of each level,
// after its Vec.
#pragma once

#include <cstdint>
#include <cstring>

namespace lvm::LVM_LEVEL {
namespace {

// Calls each(load, store) over [0, count): whole vectors, then the rest through a padded buffer.
template <class Each>
void over(int64_t count, const Each& each) {
    int64_t i = 0;
    for (; i + W <= count; i += W) {
        each([i](const float* p) { return load(p + i); }, [i](float* p, Vec a) { store(p + i, a); });
    }
    if (i == count) return;
    const size_t bytes = static_cast<size_t>(count - i) * sizeof(float);
    each(
        [i, bytes](const float* p) {
            float part[W] = {};
            std::memcpy(part, p + i, bytes);
            return load(static_cast<const float*>(part));
        },
        [i, bytes](float* p, Vec a) {
            float part[W];
            store(static_cast<float*>(part), a);
            std::memcpy(p + i, part, bytes);
        });
}

}  // namespace
}  // namespace lvm::LVM_LEVEL
