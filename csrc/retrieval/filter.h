// Which candidates the queries of a question may find.
#pragma once

#include <cstdint>
#include <vector>

#include "retrieval/query_block.h"

namespace lvm {

// What the caller leaves out; everything is allowed unless said otherwise. Bits: one a candidate, the first
// of eight the highest of its byte (as numpy.packbits has them), ceil(candidates / 8) bytes.
struct Filter {
    const uint8_t* allow = nullptr;    // bits
    int64_t allow_stride = 0;          // bytes from one query's bits to the next one's; 0: all share them
    const uint8_t* held = nullptr;     // bits of those that were not removed
    const int64_t* exclude = nullptr;  // [B][excluded] ids, -1: none
    int64_t excluded = 0;
    const int64_t* ranges = nullptr;  // [B][ranges_each][2]: ids from the first to before the second
    int64_t ranges_each = 0;

    bool is_none() const { return !allow && !held && excluded == 0 && ranges_each == 0; }
};

// The same for the queries of one block, ready to be asked for by panel and tile.
class BlockFilter {
  public:
    // Of a bank of `size` candidates; `first` is the block's first query.
    BlockFilter(const Filter& filter, int64_t size, int64_t first, int64_t count);

    bool is_none() const { return filter_.is_none(); }

    // allowed[i] gets the queries of panel p, one bit each, that may find candidate begin + i, for `count`
    // candidates rounded up to whole blocks; begin is a multiple of kBlockRows.
    void masks(const QueryPanels& panels, int64_t p, int64_t begin, int64_t count, uint32_t* allowed) const;

  private:
    struct Range {
        int64_t begin, end;
    };

    void gather_ranges(int64_t q);
    uint32_t word(const uint8_t* bits, int64_t begin) const;
    void allow_block(const QueryPanels& panels, int64_t p, int64_t begin, uint32_t* allowed) const;
    void clear_ranges(const QueryPanels& panels, int64_t p, int64_t begin, int64_t count,
                      uint32_t* allowed) const;

    Filter filter_;
    int64_t size_, first_;
    std::vector<std::vector<Range>>
        ranges_;  // of each query: those left out, in order, apart from each other
};

}  // namespace lvm
