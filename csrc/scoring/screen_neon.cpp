#include "scoring/ints_neon.h"
#include "scoring/screen.h"
#include "simd/vec_neon.h"

namespace lvm::neon {

#include "scoring/pair-inl.h"
#include "scoring/product-inl.h"

}  // namespace lvm::neon

#define LVM_LEVEL neon
#include "scoring/screen-inl.h"
