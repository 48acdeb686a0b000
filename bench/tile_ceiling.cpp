// What the machine's int8 dot products can do at best: sums of products in registers, no memory. Prints
// TOP/s.
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

#if defined(__AMX_INT8__)
constexpr double kOpsARound = 8.0 * 2 * 16 * 16 * 64;

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
            _tile_dpbssd(0, 4, 6);
            _tile_dpbssd(1, 4, 7);
            _tile_dpbssd(2, 5, 6);
            _tile_dpbssd(3, 5, 7);
        }
    }
    _tile_release();
}
#else
constexpr int kSums = 16;
constexpr double kOpsARound = kSums * 2.0 * 64;

void work(int64_t rounds) {
    // In assembler, because a compiler that sees the sums thrown away would not keep them in registers.
    for (int64_t i = 0; i < rounds; ++i) {
        asm volatile(
            "vpdpbusd %%zmm16, %%zmm16, %%zmm0\n"
            "vpdpbusd %%zmm16, %%zmm16, %%zmm1\n"
            "vpdpbusd %%zmm16, %%zmm16, %%zmm2\n"
            "vpdpbusd %%zmm16, %%zmm16, %%zmm3\n"
            "vpdpbusd %%zmm16, %%zmm16, %%zmm4\n"
            "vpdpbusd %%zmm16, %%zmm16, %%zmm5\n"
            "vpdpbusd %%zmm16, %%zmm16, %%zmm6\n"
            "vpdpbusd %%zmm16, %%zmm16, %%zmm7\n"
            "vpdpbusd %%zmm16, %%zmm16, %%zmm8\n"
            "vpdpbusd %%zmm16, %%zmm16, %%zmm9\n"
            "vpdpbusd %%zmm16, %%zmm16, %%zmm10\n"
            "vpdpbusd %%zmm16, %%zmm16, %%zmm11\n"
            "vpdpbusd %%zmm16, %%zmm16, %%zmm12\n"
            "vpdpbusd %%zmm16, %%zmm16, %%zmm13\n"
            "vpdpbusd %%zmm16, %%zmm16, %%zmm14\n"
            "vpdpbusd %%zmm16, %%zmm16, %%zmm15\n" ::
                : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                  "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
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
