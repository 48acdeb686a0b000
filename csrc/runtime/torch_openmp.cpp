#include "runtime/torch_openmp.h"

#if defined(__linux__)
#include <dlfcn.h>
#include <pthread.h>
#include <strings.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#endif

namespace lvm {

#if defined(__linux__)

namespace {

template <class Function>
bool find(void* library, const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library, name));
    return function != nullptr;
}

// Looked up through torch: other libraries bring runtimes of their own.
const OpenMp* found() {
    const char* policy = std::getenv("OMP_WAIT_POLICY");
    if (policy && strcasecmp(policy, "passive") == 0) return nullptr;
    static OpenMp openmp;
    void* torch = dlopen("libtorch_cpu.so", RTLD_LAZY | RTLD_NOLOAD);
    const bool is_complete = torch && find(torch, "GOMP_parallel", openmp.parallel) &&
                             find(torch, "omp_get_thread_num", openmp.thread_num) &&
                             find(torch, "omp_get_max_threads", openmp.max_threads);
    return is_complete ? &openmp : nullptr;
}

// Whether this process was forked off another and runs its program still, so that OpenMP threads which that
// one had are missing, even if it forked before it loaded this library: by the kernel's flags of the first
// thread. Flags of zero tell nothing: some sandboxes keep none.
bool may_be_fork() {
    constexpr unsigned long kForkedWithoutExec = 0x40;  // PF_FORKNOEXEC in Linux's sched.h
    std::ifstream file("/proc/self/stat");
    const std::string stat{std::istreambuf_iterator<char>(file), {}};
    const size_t end_of_name = stat.rfind(')');
    if (end_of_name == std::string::npos) return true;
    constexpr int kFlags = 7;  // the fields after the name: the state, five numbers, the flags
    std::istringstream fields(stat.substr(end_of_name + 1));
    std::string field;
    for (int i = 0; i < kFlags; ++i) fields >> field;
    const unsigned long flags = std::strtoul(field.c_str(), nullptr, 10);
    return flags == 0 || (flags & kForkedWithoutExec);
}

std::atomic<bool> is_fork{false};

const OpenMp* joined() {
    pthread_atfork(nullptr, nullptr, [] { is_fork.store(true); });
    return may_be_fork() ? nullptr : found();
}

}  // namespace

const OpenMp* torch_openmp() {
    thread_local const bool is_first_thread = gettid() == getpid();
    if (!is_first_thread || is_fork.load(std::memory_order_relaxed)) return nullptr;
    static const OpenMp* const openmp = joined();
    return openmp;
}

#else

const OpenMp* torch_openmp() { return nullptr; }

#endif

}  // namespace lvm
