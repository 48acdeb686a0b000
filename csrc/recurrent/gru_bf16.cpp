#include "recurrent/gru_bf16.h"

#include <stdexcept>

#include "runtime/level.h"
#if defined(__x86_64__)
#include "recurrent/gru_bf16_kernels.h"
#include "recurrent/gru_bf16_passes.h"
#endif

namespace lvm {
namespace {

[[noreturn]] void refuse() {
    throw std::runtime_error("the bfloat16 GRU needs the instruction set avx512bf16 or amx");
}

}  // namespace

bool has_bf16_gru() { return current_level() == Level::amx || current_level() == Level::avx512bf16; }

#if defined(__x86_64__)

const bf16::Bf16Kernels& bf16::bf16_kernels() {
    return current_level() == Level::amx ? Bf16Kernels::table<Level::amx>()
                                         : Bf16Kernels::table<Level::avx512bf16>();
}

void gru_bf16_forward(const RecurrentShape& shape, const Bf16GruForward& arrays) {
    if (!has_bf16_gru()) refuse();
    bf16::forward_pass(shape, arrays);
}
void gru_bf16_backward(const RecurrentShape& shape, const Bf16GruBackward& arrays) {
    if (!has_bf16_gru()) refuse();
    bf16::backward_pass(shape, arrays);
}

#else

void gru_bf16_forward(const RecurrentShape&, const Bf16GruForward&) { refuse(); }
void gru_bf16_backward(const RecurrentShape&, const Bf16GruBackward&) { refuse(); }

#endif

}  // namespace lvm
