// What a unit of the machine can do at best: sums of products in registers, no memory. Prints TOP/s. The unit
// is UNIT: TILES_INT8, TILES_BF16, VECTORS_INT8, VECTORS_BF16, VECTORS_FP32 or HALF_VECTORS_FP32 (of AVX2).
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#define TILES_INT8 1
#define TILES_BF16 2
#define VECTORS_INT8 3
#define VECTORS_FP32 4
#define VECTORS_BF16 5
#define HALF_VECTORS_FP32 6

#if UNIT == TILES_INT8 || UNIT == TILES_BF16
#if UNIT == TILES_INT8
constexpr double kOpsARound = 8.0 * 2 * 16 * 16 * 64;
#define MULTIPLY _tile_dpbssd
#else
constexpr double kOpsARound = 8.0 * 2 * 16 * 16 * 32;
#define MULTIPLY _tile_dpbf16ps
#endif

void work(int64_t rounds) {
    struct alignas(64) Shape {
        uint8_t palette = 1, start_row = 0, reserved[14] = {};
        uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
        uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    };
    static const Shape shape;
    _tile_loadconfig(&shape);
    for (int64_t i = 0; i < rounds; ++i) {
        for (int half = 0; half < 2; ++half) {
            MULTIPLY(0, 4, 6);
            MULTIPLY(1, 4, 7);
            MULTIPLY(2, 5, 6);
            MULTIPLY(3, 5, 7);
        }
    }
    _tile_release();
}
#else
#if UNIT == HALF_VECTORS_FP32
constexpr int kSums = 12;
#define MORE_LINES
#else
constexpr int kSums = 16;
#define MORE_LINES LINE(12) LINE(13) LINE(14) LINE(15)
#endif
#if UNIT == HALF_VECTORS_FP32
constexpr double kOpsARound = kSums * 2.0 * 8;
#define LINE(sum) "vfmadd231ps %%ymm15, %%ymm15, %%ymm" #sum "\n"
#elif UNIT == VECTORS_INT8
constexpr double kOpsARound = kSums * 2.0 * 64;
#define LINE(sum) "vpdpbusd %%zmm16, %%zmm16, %%zmm" #sum "\n"
#elif UNIT == VECTORS_BF16
constexpr double kOpsARound = kSums * 2.0 * 32;
#define LINE(sum) "vdpbf16ps %%zmm16, %%zmm16, %%zmm" #sum "\n"
#else
constexpr double kOpsARound = kSums * 2.0 * 16;
#define LINE(sum) "vfmadd231ps %%zmm16, %%zmm16, %%zmm" #sum "\n"
#endif

void work(int64_t rounds) {
    // In assembler, because a compiler that sees the sums thrown away would not keep them in registers.
    for (int64_t i = 0; i < rounds; ++i) {
        asm volatile(LINE(0) LINE(1) LINE(2) LINE(3) LINE(4) LINE(5) LINE(6) LINE(7) LINE(8) LINE(9) LINE(10)
                         LINE(11) MORE_LINES::
                             : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                               "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    }
}
#endif

int main(int, char** arguments) {
    const int threads = std::atoi(arguments[1]);
    constexpr long kRequestPermission = 0x1023, kTileData = 18;
    syscall(SYS_arch_prctl, kRequestPermission, kTileData);
    constexpr int64_t kRounds = 400000;
    double best = 0;
    for (int turn = 0; turn < 5; ++turn) {
        const auto start = std::chrono::steady_clock::now();
        std::vector<std::thread> others;
        for (int i = 1; i < threads; ++i) others.emplace_back(work, kRounds);
        work(kRounds);
        for (std::thread& other : others) other.join();
        const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
        best = std::max(best, threads * kRounds * kOpsARound / spent.count() / 1e12);
    }
    std::printf("%.3f\n", best);
}
