#include "simd/openmp.h"

#if defined(__linux__)
#include <dlfcn.h>
#include <strings.h>
#include <unistd.h>

#include <cstdlib>
#endif

namespace lvm {

#if defined(__linux__)

namespace {

const pid_t kFirstThread = getpid();  // its id; a fork of this process has another

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

}  // namespace

const OpenMp* torch_openmp() {
    if (gettid() != kFirstThread) return nullptr;
    static const OpenMp* const openmp = found();
    return openmp;
}

#else

const OpenMp* torch_openmp() { return nullptr; }

#endif

}  // namespace lvm
