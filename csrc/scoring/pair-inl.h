// The integer product of one query with one candidate. Included inside a level's own namespace, after its
// Ints (see product-inl.h).

namespace {

// Rows of codes, as code_offset tells; `candidate_sum` is the sum of the candidate's.
inline int32_t pair_product(const int8_t* query, const int8_t* candidate, float candidate_sum,
                            int64_t chunks) {
    constexpr int kBytes = 4 * kLanes32;
    Ints sum = all(0);
    for (int64_t c = 0; c < chunks; ++c, query += kTileBytes, candidate += kTileBytes) {
        for (int d = 0; d < kTileDims; d += kBytes) {
            sum = multiply_add(sum, queries(query + d), load_ints(candidate + d));
        }
    }
    int32_t lanes[kLanes32];
    store_ints(lanes, sum);
    int32_t total = -kSurplus * static_cast<int32_t>(candidate_sum);
    for (int32_t lane : lanes) total += lane;
    return total;
}

}  // namespace
