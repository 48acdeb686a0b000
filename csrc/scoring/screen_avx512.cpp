#include "scoring/screen.h"
#include "simd/vec_avx512.h"

namespace lvm::avx512 {
namespace {

using Ints = __m512i;
constexpr int kLanes32 = 16, kRowsAtOnce = 8, kFewOpen = 48;

// The instruction takes the query as unsigned: 128 more a code, hence 128 x the candidate's sum too much.
inline Ints start(float row_sum) { return _mm512_set1_epi32(-128 * static_cast<int32_t>(row_sum)); }
inline Ints queries(const int8_t* p) {
    return _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(-128));
}
inline Ints candidate(int32_t four) { return _mm512_set1_epi32(four); }
inline Ints multiply_add(Ints sum, Ints q, Ints c) { return _mm512_dpbusd_epi32(sum, q, c); }
inline Ints add(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
inline Ints load_ints(const int32_t* p) { return _mm512_loadu_si512(p); }
inline void store_ints(int32_t* p, Ints a) { _mm512_storeu_si512(p, a); }

}  // namespace

#include "scoring/product-inl.h"

}  // namespace lvm::avx512

#define LVM_LEVEL avx512
#include "scoring/screen-inl.h"
