#include "scoring/ints_avx512.h"
#include "scoring/screen.h"
#include "simd/vec_avx512.h"

namespace lvm::avx512 {

#include "scoring/pair-inl.h"
#include "scoring/product-inl.h"

}  // namespace lvm::avx512

#define LVM_LEVEL avx512
#include "scoring/screen-inl.h"
