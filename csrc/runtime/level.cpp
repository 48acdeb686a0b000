#include "runtime/level.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace lvm {
namespace {

constexpr int kUnset = -1;
std::atomic<int> forced_level{kUnset};

Level level_from(const std::string& name, const std::string& where) {
    std::string names;
    for (Level level : available_levels()) {
        if (name == level_name(level)) return level;
        names += (names.empty() ? "" : ", ") + std::string(level_name(level));
    }
    throw std::invalid_argument(where + ": expected an instruction set of this CPU (" + names + "), got '" +
                                name + "'");
}

#if defined(__x86_64__)
// CPUID itself for what not every compiler's __builtin_cpu_supports knows: clang before 17 no f16c, none the
// newest names.
bool has_f16c() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    constexpr unsigned kF16c = 1u << 29;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & kF16c);
}

bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c(); }

// With the integer dot products that the scoring kernels live on.
bool has_avx512() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}

bool has_avxvnni() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    constexpr unsigned kAvxVnni = 1u << 4;
    return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & kAvxVnni);
}

bool has_avx512bf16() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    constexpr unsigned kAvx512Bf16 = 1u << 5;
    return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & kAvx512Bf16);
}

bool has_amx() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    constexpr unsigned kTiles = (1u << 22) | (1u << 24) | (1u << 25);  // bfloat16, tiles, int8
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || (edx & kTiles) != kTiles) return false;
#if defined(__linux__)
    // The kernel gives the tile registers only to a process that asks for them (arch/x86 "XSTATE").
    constexpr long kRequestPermission = 0x1023, kTileData = 18;
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
    return false;
#endif
}
#endif

#if defined(__aarch64__) && defined(__APPLE__)
bool has_dot_products() { return true; }  // every Apple chip

bool has_i8mm() {
    int has = 0;
    size_t size = sizeof(has);
    return sysctlbyname("hw.optional.arm.FEAT_I8MM", &has, &size, nullptr, 0) == 0 && has;
}
#elif defined(__aarch64__)
bool has_dot_products() {
    constexpr unsigned long kDotProducts = 1ul << 20;  // HWCAP_ASIMDDP
    return getauxval(AT_HWCAP) & kDotProducts;
}

bool has_i8mm() {
    constexpr unsigned long kMatrixProducts = 1ul << 13;  // HWCAP2_I8MM
    return getauxval(AT_HWCAP2) & kMatrixProducts;
}
#endif

std::vector<Level> detected_levels() {
    std::vector<Level> levels{Level::scalar};
#if defined(__x86_64__)
    if (!has_avx2()) return levels;
    levels.push_back(Level::avx2);
    if (has_avxvnni()) levels.push_back(Level::avxvnni);
    if (!has_avx512()) return levels;
    levels.push_back(Level::avx512);
    if (!has_avx512bf16()) return levels;
    levels.push_back(Level::avx512bf16);
    if (has_amx()) levels.push_back(Level::amx);
#elif defined(__aarch64__)
    if (!has_dot_products()) return levels;
    levels.push_back(Level::neon);
    if (has_i8mm()) levels.push_back(Level::i8mm);
#endif
    return levels;
}

}  // namespace

const char* level_name(Level level) {
    switch (level) {
        case Level::scalar:
            return "scalar";
        case Level::neon:
            return "neon";
        case Level::i8mm:
            return "i8mm";
        case Level::avx2:
            return "avx2";
        case Level::avxvnni:
            return "avxvnni";
        case Level::avx512:
            return "avx512";
        case Level::avx512bf16:
            return "avx512bf16";
        case Level::amx:
            return "amx";
    }
    return "unknown";
}

std::vector<Level> available_levels() {
    static const std::vector<Level> levels = detected_levels();
    return levels;
}

Level current_level() {
    int level = forced_level.load(std::memory_order_relaxed);
    if (level == kUnset) {
        const char* wanted = std::getenv("LVM_FAST_SIMD");
        level = static_cast<int>(wanted && *wanted ? level_from(wanted, "LVM_FAST_SIMD")
                                                   : available_levels().back());
        forced_level.store(level, std::memory_order_relaxed);
    }
    return static_cast<Level>(level);
}

void set_level(const std::string& name) {
    forced_level.store(static_cast<int>(level_from(name, "set_simd_level")), std::memory_order_relaxed);
}

}  // namespace lvm
