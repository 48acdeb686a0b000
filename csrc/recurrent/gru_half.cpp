#include "recurrent/gru_half.h"

#include <stdexcept>

#include "simd/level.h"
#if defined(__x86_64__)
#include "recurrent/gru_half_kernels.h"
#include "recurrent/gru_half_passes.h"
#endif

namespace lvm {
namespace {

[[noreturn]] void refuse() {
    throw std::runtime_error("the bfloat16 GRU needs the instruction set avx512bf16 or amx");
}

}  // namespace

bool has_half_gru() { return current_level() == Level::amx || current_level() == Level::avx512bf16; }

#if defined(__x86_64__)

const half::HalfKernels& half::half_kernels() {
    return current_level() == Level::amx ? HalfKernels::table<Level::amx>()
                                         : HalfKernels::table<Level::avx512bf16>();
}

void gru_half_forward(const GruShape& shape, const HalfGruForward& arrays) {
    if (!has_half_gru()) refuse();
    half::forward_pass(shape, arrays);
}
void gru_half_backward(const GruShape& shape, const HalfGruBackward& arrays) {
    if (!has_half_gru()) refuse();
    half::backward_pass(shape, arrays);
}

#else

void gru_half_forward(const GruShape&, const HalfGruForward&) { refuse(); }
void gru_half_backward(const GruShape&, const HalfGruBackward&) { refuse(); }

#endif

}  // namespace lvm
